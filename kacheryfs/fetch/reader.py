"""One open handle: bytes out of the store, and what is missing from the scheduler first."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from ..core.manifest import VerifiedBlock
from ..core.model import BlockRange, ByteRange
from ..core.readahead import FAULT_BYTES, ReadPattern, snippet_after
from ..core.request import Trust
from ..errors import PeerLackedGroupError, StoreError
from .counters import Counters
from .memory import MemoryBlocks
from .metadata import Metadata
from .openfile import OpenFile
from .scheduler import Scheduler
from .waits import Waits

NOW_BUFFER_BYTES = 1024 * 1024
"""The kernel asks for 1 MiB at most."""
STEPS_OF_ONE = 2
"""In which the window moves on: one provider gets runs of 8 MiB, so that a GB costs few requests."""
STEPS_OF_SEVERAL = 4
"""One of several may be behind by a run when the next step comes: with half a window its line would fall idle."""


@dataclass(frozen=True, slots=True)
class Engines:
    """What every reader works with."""

    scheduler: Scheduler
    metadata: Metadata
    memory: MemoryBlocks
    waits: Waits
    counters: Counters
    readahead_bytes: int
    now_buffer: memoryview
    """One for all readers: a read that is answered without an await is over before the next one begins."""


class FileReader:
    """Reads one file, verified; ``close`` when done."""

    def __init__(self, file: OpenFile, engines: Engines, trust: Trust) -> None:
        """``trust`` is what the name gives under which the file was opened."""
        self._file = file
        self._trust = trust
        self._engines = engines
        self._pattern = ReadPattern(engines.readahead_bytes)
        self._ahead = range(0)  # what ``read_now`` found worth fetching, for the ``read`` that follows it
        self._is_open = True
        self._used = BlockRange(0, 0)
        file.n_readers += 1

    @property
    def size_bytes(self) -> int:
        return self._file.layout.size_bytes

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._file.n_readers -= 1

    async def read(self, offset: int, n_bytes: int) -> bytes | memoryview:
        """Return the bytes of ``[offset, offset + n_bytes)``, fewer only at the end of the file.

        What is returned is valid until the caller's next await. TimedOutError, CancelledError, ClaimError.
        """
        found = self.read_now(offset, n_bytes)
        if found is not None:
            return found
        span = self._file.layout.clip(offset, n_bytes)
        if not span:
            return await self._read_nothing(n_bytes)
        ahead, self._ahead = self._ahead, range(0)
        blocks = self._file.layout.blocks_of(span)
        return await self._read_waiting(span, blocks, self._find_snippet(span, blocks), ahead)

    def read_now(self, offset: int, n_bytes: int) -> memoryview | None:
        """Return the same where nothing has to be waited for, None where it has, or where nothing is left to read."""
        file = self._file
        file.check_readable(self._trust)
        stop = min(offset + n_bytes, file.layout.size_bytes)
        if offset >= stop:
            return None
        span = ByteRange(offset, stop)
        self._note_use(file.layout.blocks_of(span))
        ahead = self._find_ahead(span)
        found = self._find_recent(span)
        if found is not None:
            self._engines.counters.from_memory.add(len(found))
        elif (found := self._find_stored(span)) is not None:
            self._engines.counters.from_store.add(len(found))
        if found is None:
            self._ahead = ahead or self._ahead
        elif ahead:
            self._engines.scheduler.hint(file, ahead)
        return found

    def _note_use(self, blocks: BlockRange) -> None:
        """Keep what is read from being evicted; a block that is read in pieces is noted once."""
        if blocks != self._used:
            self._used = blocks
            self._file.stored.note_use(blocks)

    def _find_recent(self, span: ByteRange) -> memoryview | None:
        """Return ``span`` where it was fetched just now: out of one batch as it lies, out of two put together."""
        recent, block_bytes = self._file.recent, self._file.layout.block_bytes
        batch = recent.get(span.start // block_bytes)
        if batch is None:
            return None
        if span.stop <= batch.span.stop:
            return batch.view(span)
        following = recent.get(batch.blocks.stop)
        if following is None or span.stop > following.span.stop or len(span) > NOW_BUFFER_BYTES:
            return None
        n_first = batch.span.stop - span.start
        view = self._engines.now_buffer[: len(span)]
        view[:n_first] = batch.view(ByteRange(span.start, batch.span.stop))
        view[n_first:] = following.view(
            ByteRange(batch.span.stop, span.stop)
        )  # it may have begun before, in another run
        return view

    def _find_stored(self, span: ByteRange) -> memoryview | None:
        stored = self._file.stored
        if len(span) > NOW_BUFFER_BYTES or not all(map(stored.is_checked, self._file.layout.blocks_of(span))):
            return None
        view = self._engines.now_buffer[: len(span)]
        return view if stored.read_now(span, view) else None

    async def _read_nothing(self, n_bytes: int) -> bytes:
        """Return that the file has ended; where its size is only claimed, once that is proven."""
        file = self._file
        if n_bytes > 0 and self._trust is Trust.CLAIMED and file.proof.manifest is None and file.layout.n_blocks:
            await self._read_waiting(ByteRange(0, 1), BlockRange(0, 1))
        return b""

    def _find_ahead(self, span: ByteRange) -> range:
        """Take note of a read; return the whole blocks after those that it demands which should be fetched too."""
        ahead = self._pattern.observe(span, STEPS_OF_ONE if len(self._file.providers) < 2 else STEPS_OF_SEVERAL)
        if ahead is None or self._file.stored.is_full():
            return range(0)
        layout = self._file.layout
        wanted = layout.blocks_of(layout.clip(ahead.start, len(ahead)))
        return range(max(wanted.start, layout.blocks_of(span).stop), wanted.stop)

    def _find_snippet(self, span: ByteRange, blocks: BlockRange) -> range:
        """Return the blocks that a snippet goes on to read, where one costs less time than the round trip it saves.

        A snippet reads the same blocks in one round trip instead of two; a lone fault costs up to twice the bytes.
        """
        layout = self._file.layout
        if len(span) != FAULT_BYTES or not self._pattern.is_at_start:
            return range(0)
        if not self._file.providers.is_faster_than_asking(layout.block_bytes):
            return range(0)
        after = snippet_after(span)
        return range(blocks.stop, max(layout.blocks_of(layout.clip(after.start, len(after))).stop, blocks.stop))

    async def _read_waiting(
        self, span: ByteRange, blocks: BlockRange, behind: range = range(0), ahead: range = range(0)
    ) -> memoryview:
        began, is_fetched = trio.current_time(), False
        with self._engines.waits.waiting(self._file, blocks, self._trust):
            while True:
                unstored, missing = await self._make_present(blocks, behind, ahead)
                is_fetched = is_fetched or bool(missing)
                found = self._find_recent(span) or await self._copy(span, blocks, unstored)
                self._file.check_readable(self._trust)
                if found is not None:
                    self._count(len(span), began, is_fetched=is_fetched)
                    return found
                behind = ahead = range(0)
        raise AssertionError("waiting() raises when its scope ends early")

    def _count(self, n_bytes: int, began: float, *, is_fetched: bool) -> None:
        counters = self._engines.counters
        if is_fetched:
            counters.from_network.add(n_bytes)
            counters.waited.add(trio.current_time() - began)
        else:
            counters.from_store.add(n_bytes)

    async def _make_present(
        self, blocks: BlockRange, behind: range, ahead: range
    ) -> tuple[dict[int, VerifiedBlock], list[int]]:
        """Return once every block is in the store and checked: those that can't be stored, and which had been missing.

        ``behind`` is fetched with what is missing, in the same request; ``ahead`` too, or by itself.
        """
        stored, memory, binding = self._file.stored, self._engines.memory, self._file.binding
        missing: list[int] = []
        unstored = {}
        for block in blocks:
            if stored.is_checked(block) or (stored.is_present(block) and await self._check(block)):
                continue
            if found := memory.find(binding, block):
                unstored[block] = found
            else:
                missing.append(block)
        if missing:
            unstored.update(await self._engines.scheduler.ensure(self._file, missing, behind, ahead))
        else:
            self._engines.scheduler.hint(self._file, ahead)
        return unstored, missing

    async def _check(self, block: int) -> bool:
        """Verify a block that is present from before; False where it is wrong, or nobody can tell now.

        Without its group it counts as missing, so that providers are looked for as for any missing block.
        """
        try:
            await self._engines.metadata.wait_for_group(self._file, block, None)
        except PeerLackedGroupError:
            return False
        return await trio.to_thread.run_sync(self._file.stored.check, block)

    async def _copy(self, span: ByteRange, blocks: BlockRange, unstored: dict[int, VerifiedBlock]) -> memoryview | None:
        """Return a copy of the span, out of the store and of what it could not keep; None where a block is gone.

        What was fetched just now is still in memory, even where a tiny cache has evicted it again.
        """
        buffer = memoryview(bytearray(len(span)))
        stored = self._file.stored
        if not unstored and all(stored.is_checked(block) for block in blocks):
            return buffer if await self._copy_stored(span, buffer) else None
        layout = self._file.layout
        for block in blocks:
            whole = layout.bytes_of(BlockRange(block, block + 1))
            part = ByteRange(max(whole.start, span.start), min(whole.stop, span.stop))
            target = buffer[part.start - span.start : part.stop - span.start]
            if block in unstored:
                target[:] = unstored[block].data[part.start - whole.start : part.stop - whole.start]
            elif (batch := self._file.recent.get(block)) is not None:
                target[:] = batch.view(part)
            elif not stored.is_checked(block) or not await self._copy_stored(part, target):
                return None
        return buffer

    async def _copy_stored(self, span: ByteRange, target: memoryview) -> bool:
        try:
            if not self._file.stored.read_now(span, target):
                await trio.to_thread.run_sync(self._file.stored.read_into, span, target)
        except StoreError:
            await trio.sleep(0.1)  # a disk that fails: the block is missing now, the deadline bounds the tries
            return False
        return True
