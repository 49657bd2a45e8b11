"""One run from one provider: bytes from the wire, verified and stored a few blocks at a time."""

from __future__ import annotations

from collections.abc import Callable

import trio

from ..core.manifest import GROUP_BLOCKS, VerifiedBlock
from ..core.model import BlockRange
from ..core.wire import group_blocks
from ..errors import PeerLacksError, PeerLiedError, PeerUnreachableError, ProofError
from ..peers.peer import RangeStream
from .metadata import Metadata
from .openfile import OpenFile
from .providers import Provider
from .recent import BATCH_BYTES, Buffer, Recent
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
                stop = min(start + min(n_awaited or n_batch, n_batch), blocks.stop)
                await self._carry_batch(run, stream, BlockRange(start, stop), landing)
                start, n_awaited = stop, 0
        finally:
            rate.end(trio.current_time())

    async def _carry_held(self, run: Run, stream: RangeStream, blocks: BlockRange, landing: Landing) -> None:
        """Receive what comes as it comes to its sender, at once what is waited for; it tells nothing of its line."""
        n_batch = max(BATCH_BYTES // run.file.layout.block_bytes, 1)
        start = blocks.start
        while start < blocks.stop:
            stop = start + 1 if run.is_awaited else min(start + n_batch, blocks.stop)
            await self._carry_batch(run, stream, BlockRange(start, stop), landing)
            start = stop

    async def _carry_batch(self, run: Run, stream: RangeStream, blocks: BlockRange, landing: Landing) -> None:
        file, peer = run.file, run.provider.peer
        buffer = self._recent.lend(len(file.layout.bytes_of(blocks)))
        try:
            checking = _Checking(file, blocks, memoryview(buffer)[: len(file.layout.bytes_of(blocks))])
            await self._receive_exactly(run, stream, checking)
            if checking.landed is None:
                for block in (blocks.start, blocks.stop - 1):
                    await self._metadata.wait_for_group(file, block, peer)
                await trio.to_thread.run_sync(checking)
        except BaseException:
            self._recent.give_back(buffer)
            raise
        assert checking.landed is not None
        self._keep(file, blocks, buffer, len(checking.landed))
        for block, unstored in zip(blocks, checking.landed, strict=False):
            landing(block, unstored)
        if checking.error is not None:
            raise PeerLiedError(f"{peer.url}: {checking.error}") from checking.error

    async def _receive_exactly(self, run: Run, stream: RangeStream, checking: _Checking) -> None:
        view, n_received = checking.view, 0
        peer = run.provider.peer
        while n_received < len(view):
            n_allowed = await self.throttle.take(len(view) - n_received)
            rest = view[n_received : n_received + n_allowed]
            is_last = n_received + n_allowed == len(view)
            n = await stream.receive_into(rest, checking if is_last and checking.is_ready else None)
            self.throttle.give_back(n_allowed - n)
            if n == 0:
                raise PeerUnreachableError(f"{peer.url}: broke off after {n_received} of {len(view)} bytes")
            n_received += n
            run.note_received(n, trio.current_time())

    def _keep(self, file: OpenFile, blocks: BlockRange, buffer: Buffer, n_landed: int) -> None:
        if n_landed and not file.retired:
            self._recent.keep(file, BlockRange(blocks.start, blocks.start + n_landed), buffer)
        else:
            self._recent.give_back(buffer)

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


class _Checking:
    """Verifies and stores a batch that was received; called once, in a thread."""

    def __init__(self, file: OpenFile, blocks: BlockRange, view: memoryview) -> None:
        self.view = view
        self.landed: list[VerifiedBlock | None] | None = None
        """What came before the first false block: None each, or the block itself where the store can't keep it."""
        self.error: ProofError | None = None
        self._file = file
        self._blocks = blocks

    @property
    def is_ready(self) -> bool:
        """Whether all that it verifies by is there."""
        proof = self._file.proof
        return all(proof.missing_group(block) is None for block in (self._blocks.start, self._blocks.stop - 1))

    def __call__(self) -> None:
        verified = []
        for block in self._blocks:
            try:
                verified.append(self._file.proof.verify(block, self._data_of(block)))
            except ProofError as exc:
                self.error = exc
                break
        if verified and self._file.stored.put_all(verified):
            self.landed = [None] * len(verified)
        else:
            self.landed = [self._put(block) for block in verified]

    def _data_of(self, block: int) -> memoryview:
        layout = self._file.layout
        at = (block - self._blocks.start) * layout.block_bytes
        return self.view[at : at + layout.block_size(block)]

    def _put(self, block: VerifiedBlock) -> VerifiedBlock | None:
        if self._file.stored.put(block):
            return None
        # The buffer is used again: what the store can't keep is verified anew on a copy of its own.
        return self._file.proof.verify(block.index, bytes(block.data))
