"""The BLAKE3 of a file's blocks, in a thread beside the one that runs SHA-1 over the same bytes; both release the GIL.

Either thread may be the one that reads: bytes that another core has just had are dear to take over on some processors
and free on others. ``Arrangement`` measures which is faster here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue

from blake3 import blake3

from ..core.model import BLOCK_BYTES, ByteRange
from ..errors import ChangedError

BUFFER_BYTES = 2 * BLOCK_BYTES
"""512 KiB: what is read stays in the core's own cache for SHA-1 (0.9 of hashlib alone; 0.87 with 256 KiB or 1 MiB)."""
N_BUFFERS = 4
STRETCH_BYTES = 64 * BUFFER_BYTES
"""32 MiB, 20 to 50 ms: read by one thread and timed."""
_LEAST_BYTES = STRETCH_BYTES // 4
"""The end of a file, or all of a small one, tells little."""
_TRIED_EVERY = 32
"""The slower arrangement is tried again after so many stretches, 1 GiB: what else runs here changes."""


class Arrangement:
    """Which thread reads the next stretch of a file: the one that runs SHA-1, or the one beside it."""

    def __init__(self) -> None:
        self._s_per_byte: dict[bool, float] = {}  # by whether the thread beside read
        self._n_stretches = 0

    def choose(self, n_bytes: int) -> bool:
        """Tell whether the thread beside is to read so much: each is tried once, then the faster one goes on."""
        is_beside_faster = min(self._s_per_byte, key=self._s_per_byte.__getitem__, default=False)
        if n_bytes < _LEAST_BYTES:
            return is_beside_faster
        if len(self._s_per_byte) < 2:
            return bool(self._s_per_byte)
        return is_beside_faster is not (self._n_stretches % _TRIED_EVERY == 0)

    def note(self, is_beside: bool, n_bytes: int, seconds: float) -> None:
        if n_bytes >= _LEAST_BYTES:
            self._s_per_byte[is_beside] = seconds / n_bytes
            self._n_stretches += 1


@dataclass(frozen=True, slots=True)
class _Job:
    """A buffer to hash; ``offset`` where it is to be filled from the file first, else None."""

    view: memoryview
    offset: int | None


class BesideHasher:
    """Hashes blocks in a thread, in order; every buffer comes back through one queue when that is done with it."""

    def __init__(self, fd: int, buffers: list[memoryview], digests: list[bytes]) -> None:
        self._fd = fd
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._done: SimpleQueue[memoryview | BaseException] = SimpleQueue()
        self._digests = digests
        self._is_dropped = False
        self.error: BaseException | None = None
        for buffer in buffers:
            self._done.put(buffer)

    def read_here(self, span: ByteRange) -> Iterator[memoryview]:
        """Yield the bytes of ``span``, read in this thread; blocks are hashed once the next piece is asked for.

        After it: two cores that read the same bytes at once hinder each other.
        """
        for offset in range(span.start, span.stop, BUFFER_BYTES):
            view = self._take()[: min(BUFFER_BYTES, span.stop - offset)]
            read_full(self._fd, view, offset)
            yield view
            self._jobs.put(_Job(view, None))

    def read_beside(self, span: ByteRange) -> Iterator[memoryview]:
        """Yield the bytes of ``span``, read and hashed in the thread before."""
        free = [self._take() for _ in range(N_BUFFERS)]
        waiting = iter(range(span.start, span.stop, BUFFER_BYTES))
        n_under_way = 0
        while True:
            while free and (offset := next(waiting, None)) is not None:
                self._jobs.put(_Job(free.pop()[: min(BUFFER_BYTES, span.stop - offset)], offset))
                n_under_way += 1
            if not n_under_way:
                break
            view = self._take_done()
            n_under_way -= 1
            yield view
            free.append(_whole(view))
        for buffer in free:
            self._done.put(buffer)

    def _take(self) -> memoryview:
        """Return a free buffer."""
        return _whole(self._take_done())

    def _take_done(self) -> memoryview:
        view = self._done.get()
        if isinstance(view, BaseException):
            raise view
        return view

    def run(self) -> None:
        try:
            while (job := self._jobs.get()) is not None and not self._is_dropped:
                if job.offset is not None:
                    read_full(self._fd, job.view, job.offset)
                self._digests.extend(block_digests(job.view))
                self._done.put(job.view)
        except BaseException as exc:  # whatever it is belongs to the thread that runs SHA-1
            self.error = exc
            self._done.put(exc)

    def end(self) -> None:
        self._jobs.put(None)

    def drop(self) -> None:
        """End without what waits: a read from a slow disk takes its time."""
        self._is_dropped = True


@contextmanager
def hashing_beside(fd: int, buffers: list[memoryview], digests: list[bytes]) -> Iterator[BesideHasher]:
    """Hash blocks in a thread until the end of the block; then all of them are in ``digests``."""
    hasher = BesideHasher(fd, buffers, digests)
    thread = threading.Thread(target=hasher.run, name="kacheryfs-hash", daemon=True)
    try:
        thread.start()
        yield hasher
    except BaseException:
        hasher.drop()
        raise
    finally:
        hasher.end()
        if thread.ident is not None:
            thread.join()
    if hasher.error is not None:
        raise hasher.error


def _whole(view: memoryview) -> memoryview:
    """Return the buffer that ``view`` is the start of."""
    assert isinstance(view.obj, bytearray)
    return memoryview(view.obj)


def read_full(fd: int, buffer: memoryview, offset: int) -> None:
    """Fill ``buffer``; ChangedError where the file ends before."""
    done = 0
    while done < len(buffer):
        n_bytes = os.preadv(fd, [buffer[done:]], offset + done)
        if n_bytes == 0:
            raise ChangedError("the file became shorter while it was read")
        done += n_bytes


def block_digests(view: memoryview) -> Iterator[bytes]:
    for start in range(0, len(view), BLOCK_BYTES):
        yield blake3(view[start : start + BLOCK_BYTES]).digest()
