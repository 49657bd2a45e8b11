"""What was just fetched, still in memory: a sequential reader is answered from here, without asking the kernel for it.

Reading a block back from the store costs a copy and a system call, 0.25 s a GB. A batch stays in its receive buffer
until newer ones have taken all room; then the buffer receives again.
"""

from __future__ import annotations

import mmap
import weakref
from collections import deque
from dataclasses import dataclass

from ..core.model import BlockRange, ByteRange
from .openfile import OpenFile

BATCH_BYTES = 1024 * 1024
"""Received between two hops to a thread that verifies and stores."""
MAX_BATCHES = 32
"""Twice the window of one sequential reader, where they are full: a block that is waited for is a batch of its own."""
_MAX_FREE = 8
_MAX_LENT = 16
"""So many are lent to runs that take several; each may have one in any case."""


Buffer = bytearray | mmap.mmap


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Verified bytes of one file, ``span`` of it."""

    span: ByteRange
    blocks: BlockRange
    buffer: Buffer

    def view(self, span: ByteRange) -> memoryview:
        """Return a part of it, good until the event loop's next turn."""
        return memoryview(self.buffer)[span.start - self.span.start : span.stop - self.span.start]


class Recent:
    """The latest batches of all files, and the buffers that are free.

    Invariant: a buffer is in a batch, free, or lent; all three change in the event loop alone, so that what a reader
    was given isn't received into before its reply is written.
    """

    def __init__(self) -> None:
        self._batches: deque[tuple[weakref.ref[OpenFile], Batch]] = deque()
        self._free: list[Buffer] = []
        self._n_lent = 0

    @property
    def n_spare(self) -> int:
        """How many buffers a run that could do with one may be lent now."""
        return max(_MAX_LENT - self._n_lent, 0)

    def lend(self, n_bytes: int) -> Buffer:
        """Return a buffer of at least ``n_bytes``; its borrower calls ``keep`` or ``give_back``."""
        self._n_lent += 1
        if n_bytes > BATCH_BYTES:
            return bytearray(n_bytes)  # a legacy chunk, or a small file that is proven whole
        if not self._free and len(self._batches) >= MAX_BATCHES:
            self._drop_oldest()
        return self._free.pop() if self._free else _new_batch_buffer()

    def give_back(self, buffer: Buffer) -> None:
        self._n_lent -= 1
        self._free_up(buffer)

    def _free_up(self, buffer: Buffer) -> None:
        if len(buffer) == BATCH_BYTES and len(self._free) < _MAX_FREE:
            self._free.append(buffer)

    def keep(self, file: OpenFile, blocks: BlockRange, buffer: Buffer) -> None:
        """Take back a buffer that begins with the verified bytes of ``blocks``."""
        self._n_lent -= 1
        if len(buffer) != BATCH_BYTES:
            return
        batch = Batch(file.layout.bytes_of(blocks), blocks, buffer)
        for block in blocks:
            file.recent[block] = batch
        self._batches.append((weakref.ref(file), batch))
        if len(self._batches) > MAX_BATCHES:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        reference, batch = self._batches.popleft()
        file = reference()
        for block in batch.blocks if file else ():
            if file is not None and file.recent.get(block) is batch:
                del file.recent[block]
        self._free_up(batch.buffer)


def _new_batch_buffer() -> mmap.mmap:
    """Return memory that is taken page by page as bytes come into it.

    A ``bytearray`` is filled with zeros at once: 0.9 ms for 1 MiB, in the event loop, also where one block comes.
    """
    return mmap.mmap(-1, BATCH_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
