"""A file's SHA-1 and its manifest in one pass, at the speed of SHA-1 alone.

The caller's thread reads and runs SHA-1 (0.7 to 1.7 GB/s), on bytes that its own core has just read: taken from
another core's cache they cost a third more. A second thread runs BLAKE3 (5 GB/s) over the same bytes; both release the
GIL. Four buffers go round between them, so memory stays bounded. Files are never mapped: a file that is cut short under
a mapping kills the reader with SIGBUS.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

from blake3 import blake3

from ..core.manifest import Root, build
from ..core.model import BLOCK_BYTES, ManifestDigest, Sha1
from ..errors import ChangedError

BUFFER_BYTES = 2 * BLOCK_BYTES
"""512 KiB: what is read stays in the core's own cache for SHA-1 (0.9 of hashlib alone; 0.87 with 256 KiB or 1 MiB)."""
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
        if size_bytes > BUFFER_BYTES:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        with self._hashing_blocks(size_bytes, digests) as blocks:
            for offset in range(0, size_bytes, BUFFER_BYTES):
                view = blocks.take_buffer()[: min(BUFFER_BYTES, size_bytes - offset)]
                _read_full(fd, view, offset)
                sha1.update(view)
                blocks.hash(view)  # after it: two cores that read the same bytes at once hinder each other
                if on_progress:
                    on_progress(len(view))
        if os.pread(fd, 1, size_bytes):
            raise ChangedError("the file is longer than it was when it was opened")
        return _hashed_file(size_bytes, Sha1(sha1.digest()), digests)

    def _hashing_blocks(self, size_bytes: int, digests: list[bytes]) -> AbstractContextManager[_BlockHasher]:
        if size_bytes > BUFFER_BYTES:
            return _hashing_beside(self._take_buffers(N_BUFFERS), digests)
        return nullcontext(_HereHasher(self._take_buffers(1)[0], digests, is_wanted=size_bytes > BLOCK_BYTES))

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


class _BlockHasher(Protocol):
    """Where the blocks' BLAKE3 are computed."""

    def take_buffer(self) -> memoryview:
        """Return a buffer for the next bytes; what was handed over before the last one isn't read any more."""

    def hash(self, view: memoryview) -> None:
        """Hash the blocks of ``view``, whose bytes stay as they are until its buffer is taken again."""


@dataclass(frozen=True, slots=True)
class _HereHasher:
    """For a small file: a thread would cost more than it saves."""

    buffer: memoryview
    digests: list[bytes]
    is_wanted: bool

    def take_buffer(self) -> memoryview:
        return self.buffer

    def hash(self, view: memoryview) -> None:
        if self.is_wanted:
            self.digests.extend(_block_digests(view))


class _BesideHasher:
    """Hashes in a thread; a buffer is taken again only when both threads are done with it."""

    def __init__(self, buffers: list[memoryview], digests: list[bytes]) -> None:
        self._free: SimpleQueue[memoryview | BaseException] = SimpleQueue()
        self._filled: SimpleQueue[memoryview | None] = SimpleQueue()
        self._digests = digests
        self.error: BaseException | None = None
        for buffer in buffers:
            self._free.put(buffer)

    def take_buffer(self) -> memoryview:
        buffer = self._free.get()
        if isinstance(buffer, BaseException):
            raise buffer
        return buffer

    def hash(self, view: memoryview) -> None:
        self._filled.put(view)

    def end(self) -> None:
        self._filled.put(None)

    def run(self) -> None:
        try:
            while (view := self._filled.get()) is not None:
                self._digests.extend(_block_digests(view))
                assert isinstance(view.obj, bytearray)
                self._free.put(memoryview(view.obj))
        except BaseException as exc:  # whatever it is belongs to the thread that reads
            self.error = exc
            self._free.put(exc)


@contextmanager
def _hashing_beside(buffers: list[memoryview], digests: list[bytes]) -> Iterator[_BesideHasher]:
    """Hash blocks in a thread until the end of the block; then all of them are in ``digests``."""
    hasher = _BesideHasher(buffers, digests)
    thread = threading.Thread(target=hasher.run, name="kacheryfs-hash", daemon=True)
    thread.start()
    try:
        yield hasher
    finally:
        hasher.end()
        thread.join()
    if hasher.error is not None:
        raise hasher.error


def _block_digests(view: memoryview) -> Iterator[bytes]:
    for start in range(0, len(view), BLOCK_BYTES):
        yield blake3(view[start : start + BLOCK_BYTES]).digest()
