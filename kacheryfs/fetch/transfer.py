"""One run from one provider: bytes from the wire, verified and stored a few blocks at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import trio

from ..core.manifest import GROUP_BLOCKS, VerifiedBlock
from ..core.model import BlockRange
from ..core.wire import group_blocks
from ..errors import PeerLacksError, PeerLiedError, PeerUnreachableError, ProofError
from ..peers.peer import Peer, RangeStream
from .convoy import LONGEST_HOP_S, MAX_BATCHES, Checking, Convoy
from .metadata import Metadata
from .openfile import OpenFile
from .providers import Provider
from .recent import BATCH_BYTES, Recent
from .runs import Run
from .throttle import Throttle

BATCH_S = 0.05
"""In which a batch should come: of a slow provider one block."""
DEMANDED_BATCH_S = 0.004
"""Where a reader asked for it: on a line of 100 MB/s one block, which is verified and stored while the next one comes.
With 1 MiB at once 5 blocks took 2.5 ms longer."""

Landing = Callable[[int, VerifiedBlock | None], None]
"""Told each block that has landed, with the block itself where the store could not keep it."""


class Transfer:
    """Carries runs; knows nothing of flights or of choosing."""

    def __init__(self, metadata: Metadata, recent: Recent, throttle: Throttle) -> None:
        self._metadata = metadata
        self._recent = recent
        self.throttle = throttle

    async def carry(self, run: Run, landing: Landing) -> None:
        """Fetch a run's blocks in order and land each; PeerError (with all before it landed) where it breaks off.

        Those first blocks that somebody waits for land without what comes behind them.
        """
        file, provider, blocks = run.file, run.provider, run.blocks
        self._metadata.request_group(file, blocks.start, provider.peer)
        if provider.is_partial and not run.hold_s:
            blocks = await self._cut_to_present(file, provider, blocks)
        layout = file.layout
        try:
            span = layout.bytes_of(blocks)
            async with provider.peer.open_range(
                file.binding, span, is_partial=provider.is_partial, size_bytes=layout.size_bytes, wait_s=run.hold_s
            ) as stream:
                await self._carry_body(run, stream, blocks, landing)
        except PeerLacksError:
            if run.hold_s:
                provider.note_held_nothing(blocks.start, trio.current_time())
            provider.presence.pop(blocks.start // GROUP_BLOCKS, None)  # what it said is no longer so
            raise

    async def _carry_body(self, run: Run, stream: RangeStream, blocks: BlockRange, landing: Landing) -> None:
        if run.hold_s:
            await self._carry_held(run, stream, blocks, landing)
            return
        n_batch = batch_blocks(run, BATCH_S if run.flights[0].is_guessed else DEMANDED_BATCH_S)
        rate = run.provider.peer.stats.rate
        rate.begin(trio.current_time())
        try:
            start, n_awaited = blocks.start, run.n_awaited
            while start < blocks.stop:
                batches = _cut(BlockRange(start, blocks.stop), n_awaited, n_batch, self._n_at_once(run, n_batch))
                await self._carry_batches(run, stream, batches, landing)
                start, n_awaited = batches[-1].stop, 0
        finally:
            rate.end(trio.current_time())

    async def _carry_held(self, run: Run, stream: RangeStream, blocks: BlockRange, landing: Landing) -> None:
        """Receive what comes as it comes to its sender, at once what is waited for; it tells nothing of its line."""
        n_batch = max(BATCH_BYTES // run.file.layout.block_bytes, 1)
        start = blocks.start
        while start < blocks.stop:
            stop = start + 1 if run.is_awaited else min(start + n_batch, blocks.stop)
            await self._carry_batches(run, stream, [BlockRange(start, stop)], landing)
            start = stop

    def _n_at_once(self, run: Run, n_batch: int) -> int:
        """Return how many batches a thread may be given at once: what comes while it stays, if buffers are there."""
        if self.throttle.bytes_per_s is not None:
            return 1
        rate = run.provider.peer.stats.rate_bytes_per_s or 0.0
        n_coming = int(rate * LONGEST_HOP_S) // (n_batch * run.file.layout.block_bytes)
        return max(min(n_coming, MAX_BATCHES, self._recent.n_spare), 1)

    async def _carry_batches(
        self, run: Run, stream: RangeStream, batches: Sequence[BlockRange], landing: Landing
    ) -> None:
        file, peer = run.file, run.provider.peer
        lent = deque(Checking(file, blocks, self._recent.lend(len(file.layout.bytes_of(blocks)))) for blocks in batches)

        def land(checking: Checking) -> None:
            lent.remove(checking)
            self._keep(file, checking)
            for block, unstored in zip(checking.blocks, checking.landed, strict=False):
                landing(block, unstored)

        convoy = Convoy(
            list(lent), on_received=lambda n_bytes: run.note_received(n_bytes, trio.current_time()), on_checked=land
        )
        try:
            while convoy.front is not None:
                await self._receive_some(run, stream, convoy)
                if convoy.front is not None and not convoy.rest:
                    await self._check_front(file, peer, convoy)
                convoy.raise_error()
        except ProofError as exc:
            raise PeerLiedError(f"{peer.url}: {exc}") from exc
        finally:
            convoy.tell()
            for checking in lent:
                self._recent.give_back(checking.buffer)

    async def _receive_some(self, run: Run, stream: RangeStream, convoy: Convoy) -> None:
        front, rest = convoy.front, convoy.rest
        assert front is not None
        n_allowed = await self.throttle.take(len(rest))
        may_advance = n_allowed == len(rest) and front.is_ready
        convoy.begin_hop()
        n_bytes = await stream.receive_into(rest[:n_allowed], convoy.advance if may_advance else None)
        self.throttle.give_back(n_allowed - n_bytes)
        if n_bytes == 0:
            raise PeerUnreachableError(f"{run.provider.peer.url}: broke off after {run.received_bytes} bytes")
        convoy.note_received(n_bytes)

    async def _check_front(self, file: OpenFile, peer: Peer, convoy: Convoy) -> None:
        """Check a batch that is full, once all is there to verify it by."""
        assert convoy.front is not None
        for block in (convoy.front.blocks.start, convoy.front.blocks.stop - 1):
            await self._metadata.wait_for_group(file, block, peer)
        await trio.to_thread.run_sync(convoy.advance)
        convoy.tell()

    def _keep(self, file: OpenFile, checking: Checking) -> None:
        n_landed = len(checking.landed)
        if n_landed and not file.retired:
            blocks = BlockRange(checking.blocks.start, checking.blocks.start + n_landed)
            self._recent.keep(file, blocks, checking.buffer)
        else:
            self._recent.give_back(checking.buffer)

    async def _cut_to_present(self, file: OpenFile, provider: Provider, blocks: BlockRange) -> BlockRange:
        cut = provider.cut_to_present(blocks)
        if len(cut) < len(blocks):  # blocks come, and seldom go: what it was said to have is not asked about again
            group = blocks.start // GROUP_BLOCKS
            present = await provider.peer.presence(file.binding, group, len(group_blocks(file.layout, group)))
            provider.note_presence(group, present, trio.current_time())
            cut = provider.cut_to_present(blocks)
        if not cut:
            raise PeerLacksError(f"{provider.peer.url}: has sha1 {file.proof.sha1.short} without block {blocks.start}")
        return cut


def batch_blocks(run: Run, seconds: float) -> int:
    """Return how many blocks to receive before they are verified and stored: what the provider sends in this time."""
    rate = run.provider.peer.stats.rate_bytes_per_s or 0.0
    return max(min(int(rate * seconds), BATCH_BYTES) // run.file.layout.block_bytes, 1)


def _cut(blocks: BlockRange, n_awaited: int, n_batch: int, n_at_once: int) -> list[BlockRange]:
    """Return the first batches of ``blocks``; what is awaited comes without what follows it."""
    batches: list[BlockRange] = []
    start, n_first = blocks.start, min(n_awaited or n_batch, n_batch)
    while start < blocks.stop and len(batches) < n_at_once:
        stop = min(start + (n_batch if batches else n_first), blocks.stop)
        batches.append(BlockRange(start, stop))
        start = stop
    return batches
