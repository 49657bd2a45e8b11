"""Prefetch: a span brought into the store because somebody asked for it, behind everything that somebody reads."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator

import trio

from ..core.model import BlockRange, ByteRange
from ..core.request import Trust
from ..errors import StoreError
from .flights import Flight, Urgency
from .openfile import OpenFile
from .scheduler import Scheduler
from .waits import Waits

WINDOW_BYTES = 64 * 1024 * 1024
"""Under way at once, so that every provider has runs of 8 MiB; a terabyte's flights would be 2 GB of memory."""

HORIZON_BLOCKS = 4096
"""A GiB: within it the rare blocks go first, and no more is looked at in one go."""
UNIT_BLOCKS = 4
"""Blocks that stay together, so that runs don't fall to pieces."""


class Prefetch:
    """Fetches one span of one file, a window at a time."""

    def __init__(
        self, file: OpenFile, trust: Trust, scheduler: Scheduler, waits: Waits, on_progress: Callable[[int], None]
    ) -> None:
        self._file = file
        self._trust = trust
        self._scheduler = scheduler
        self._waits = waits
        self._on_progress = on_progress
        self._n_present = 0

    async def run(self, span: ByteRange) -> None:
        """Return once every block of ``span`` is present."""
        layout = self._file.layout
        blocks = layout.blocks_of(layout.clip(span.start, len(span)))
        under_way: deque[Flight] = deque()
        self._file.n_readers += 1
        try:
            await self._count_present(blocks)
            await self._fetch(self._missing(blocks), under_way)
        finally:
            self._file.n_readers -= 1
            for flight in under_way:
                flight.leave()

    async def _count_present(self, blocks: BlockRange) -> None:
        for start in range(blocks.start, blocks.stop, HORIZON_BLOCKS):
            horizon = range(start, min(start + HORIZON_BLOCKS, blocks.stop))
            self._n_present += sum(self._file.layout.block_size(b) for b in horizon if self._file.stored.is_present(b))
            await trio.lowlevel.checkpoint()
        self._on_progress(self._n_present)

    def _missing(self, blocks: BlockRange) -> Iterator[int]:
        """Yield the blocks that are missing, of each horizon those first that the fewest providers have."""
        for start in range(blocks.start, blocks.stop, HORIZON_BLOCKS):
            stop = min(start + HORIZON_BLOCKS, blocks.stop)
            units = [BlockRange(at, min(at + UNIT_BLOCKS, stop)) for at in range(start, stop, UNIT_BLOCKS)]
            for unit in sorted(units, key=lambda unit: self._file.providers.count_partial(unit.start)):
                yield from (block for block in unit if not self._file.stored.is_present(block))

    async def _fetch(self, missing: Iterator[int], under_way: deque[Flight]) -> None:
        self._top_up(missing, under_way)
        while under_way:
            block = under_way[0].block
            with self._waits.waiting(self._file, BlockRange(block, block + 1), self._trust):
                await under_way[0].done.wait()
            self._take_landed(under_way)
            self._top_up(missing, under_way)

    def _top_up(self, missing: Iterator[int], under_way: deque[Flight]) -> None:
        """Join more flights once half of the window has landed: a run should find many blocks in a row."""
        window = max(WINDOW_BYTES // self._file.layout.block_bytes, 1)
        if len(under_way) > window // 2:
            return
        for block in itertools.islice(missing, window - len(under_way)):
            under_way.append(self._scheduler.join(self._file, block, Urgency.PREFETCH, window))
        self._scheduler.pump()

    def _take_landed(self, under_way: deque[Flight]) -> None:
        while under_way and under_way[0].done.is_set():
            flight = under_way.popleft()
            unstored = flight.landed
            flight.leave()
            if unstored is not None:
                why = self._file.retired or self._file.stored.trouble.reason
                raise StoreError(
                    f"sha1 {self._file.proof.sha1.short}: the store can't keep block {flight.block}: {why}"
                )
            self._n_present += self._file.layout.block_size(flight.block)
            self._on_progress(self._n_present)


def ignore_progress(_: int) -> None:
    """Tell nobody."""
