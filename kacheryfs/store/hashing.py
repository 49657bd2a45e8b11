"""A file's SHA-1 and its manifest in one pass, at the speed of SHA-1 alone.

One thread reads and runs BLAKE3 (5 GB/s), the caller's runs SHA-1 (0.7 to 1.5 GB/s); both release the GIL. Four
buffers go round between them, so memory stays bounded and a slow disk is read ahead of the hashing. Files are never
mapped: a file that is cut short under a mapping kills the reader with SIGBUS.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from queue import SimpleQueue

from blake3 import blake3

from ..core.manifest import Root, build
from ..core.model import BLOCK_BYTES, ManifestDigest, Sha1
from ..errors import ChangedError

BUFFER_BYTES = 4 * BLOCK_BYTES
"""1 MiB: four of them stay in the processor's cache; larger ones are slower, smaller ones cost more thread switches."""
N_BUFFERS = 4


@dataclass(frozen=True, slots=True)
class HashedFile:
    """What one pass over a file found; a file of at most one block has no root (its SHA-1 proves it)."""

    sha1: Sha1
    size_bytes: int
    root: Root | None
    groups: list[bytes]

    @property
    def manifest(self) -> ManifestDigest | None:
        return self.root.digest if self.root else None


class FileHasher:
    """Hashes one file after another with the same buffers: new ones cost 2 ms a file, more than a small SHA-1."""

    def __init__(self) -> None:
        self._buffers: list[memoryview] = []

    def hash(self, fd: int, size_bytes: int, on_progress: Callable[[int], None] | None = None) -> HashedFile:
        """Do what ``hash_file`` does."""
        sha1 = hashlib.sha1()
        digests: list[bytes] = []
        with closing(self._views(fd, size_bytes, digests)) as views:
            for view in views:
                sha1.update(view)
                if on_progress:
                    on_progress(len(view))
        if os.pread(fd, 1, size_bytes):
            raise ChangedError("the file is longer than it was when it was opened")
        return _hashed_file(size_bytes, Sha1(sha1.digest()), digests)

    def _views(self, fd: int, size_bytes: int, digests: list[bytes]) -> Generator[memoryview, None, None]:
        if size_bytes > BUFFER_BYTES:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            return _read_ahead(fd, size_bytes, digests, self._take_buffers(N_BUFFERS))
        return _read_whole(fd, self._take_buffers(1)[0][:size_bytes], digests)

    def _take_buffers(self, n: int) -> list[memoryview]:
        while len(self._buffers) < n:
            self._buffers.append(memoryview(bytearray(BUFFER_BYTES)))
        return self._buffers[:n]


def hash_file(fd: int, size_bytes: int, *, on_progress: Callable[[int], None] | None = None) -> HashedFile:
    """Hash the first ``size_bytes`` of an open file, from its start; the file's position is neither used nor moved.

    ``on_progress`` is called in this thread with the number of bytes hashed since its last call. ChangedError: the
    file ends before ``size_bytes`` or goes on after it. OSError: it could not be read.
    """
    return FileHasher().hash(fd, size_bytes, on_progress)


def hash_bytes(data: bytes) -> HashedFile:
    """Return what ``hash_file`` would of a file with this content."""
    digests = list(_block_digests(memoryview(data))) if len(data) > BLOCK_BYTES else []
    return _hashed_file(len(data), Sha1.of(data), digests)


def _hashed_file(size_bytes: int, sha1: Sha1, digests: list[bytes]) -> HashedFile:
    if size_bytes <= BLOCK_BYTES:
        return HashedFile(sha1, size_bytes, None, [])
    root, groups = build(size_bytes, sha1, digests)
    return HashedFile(sha1, size_bytes, root, groups)


def _read_full(fd: int, buffer: memoryview, offset: int) -> None:
    done = 0
    while done < len(buffer):
        n_bytes = os.preadv(fd, [buffer[done:]], offset + done)
        if n_bytes == 0:
            raise ChangedError("the file became shorter while it was read")
        done += n_bytes


def _read_whole(fd: int, view: memoryview, digests: list[bytes]) -> Generator[memoryview, None, None]:
    """Yield a small file's bytes at once; a thread would cost more than it saves."""
    _read_full(fd, view, 0)
    if len(view) > BLOCK_BYTES:
        digests.extend(_block_digests(view))
    yield view


def _read_ahead(
    fd: int, size_bytes: int, digests: list[bytes], buffers: list[memoryview]
) -> Generator[memoryview, None, None]:
    """Yield the file's bytes in order, each view valid until the next; the blocks' BLAKE3 go into ``digests``."""
    free: SimpleQueue[memoryview | None] = SimpleQueue()
    filled: SimpleQueue[memoryview | BaseException] = SimpleQueue()
    for buffer in buffers:
        free.put(buffer)

    def fill() -> None:
        for offset in range(0, size_bytes, BUFFER_BYTES):
            buffer = free.get()
            if buffer is None:
                return
            view = buffer[: min(BUFFER_BYTES, size_bytes - offset)]
            _read_full(fd, view, offset)
            digests.extend(_block_digests(view))
            filled.put(view)

    def fill_or_tell() -> None:
        try:
            fill()
        except BaseException as exc:  # whatever it is belongs to the thread that waits for the bytes
            filled.put(exc)

    thread = threading.Thread(target=fill_or_tell, name="kacheryfs-hash", daemon=True)
    thread.start()
    try:
        yield from _take(filled, free, size_bytes)
    finally:
        free.put(None)
        thread.join()


def _take(
    filled: SimpleQueue[memoryview | BaseException], free: SimpleQueue[memoryview | None], size_bytes: int
) -> Iterator[memoryview]:
    done = 0
    while done < size_bytes:
        view = filled.get()
        if isinstance(view, BaseException):
            raise view
        yield view
        done += len(view)
        assert isinstance(view.obj, bytearray)
        free.put(memoryview(view.obj))


def _block_digests(view: memoryview) -> Iterator[bytes]:
    for start in range(0, len(view), BLOCK_BYTES):
        yield blake3(view[start : start + BLOCK_BYTES]).digest()
