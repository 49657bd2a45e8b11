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
from .recent import BATCH_BYTES, Recent

BATCH_S = 0.05

Landing = Callable[[int, VerifiedBlock | None], None]
"""Told each block that has landed, with the block itself where the store could not keep it."""


class Transfer:
    """Carries runs; knows nothing of flights or of choosing."""

    def __init__(self, metadata: Metadata, recent: Recent) -> None:
        self._metadata = metadata
        self._recent = recent

    async def carry(
        self, file: OpenFile, provider: Provider, blocks: BlockRange, n_awaited: int, landing: Landing
    ) -> None:
        """Fetch ``blocks`` in order and land each; PeerError (with all before it landed) where it breaks off.

        Somebody waits for the first ``n_awaited``: they land without what comes behind them.
        """
        self._metadata.request_group(file, blocks.start, provider.peer)
        if provider.is_partial:
            blocks = await self._cut_to_present(file, provider, blocks)
        layout = file.layout
        n_batch = max(batch_bytes(provider) // layout.block_bytes, 1)
        try:
            span = layout.bytes_of(blocks)
            async with provider.peer.open_range(
                file.binding, span, is_partial=provider.is_partial, size_bytes=layout.size_bytes
            ) as stream:
                start, stop = blocks.start, blocks.start + min(n_awaited or n_batch, n_batch, len(blocks))
                while start < blocks.stop:
                    batch = BlockRange(start, stop)
                    await self._carry_batch(file, provider, stream, batch, landing)
                    start, stop = stop, min(stop + n_batch, blocks.stop)
        except PeerLacksError:
            provider.presence.pop(blocks.start // GROUP_BLOCKS, None)  # what it said is no longer so
            raise

    async def _carry_batch(
        self, file: OpenFile, provider: Provider, stream: RangeStream, blocks: BlockRange, landing: Landing
    ) -> None:
        buffer = self._recent.lend(len(file.layout.bytes_of(blocks)))
        try:
            checking = _Checking(file, blocks, memoryview(buffer)[: len(file.layout.bytes_of(blocks))])
            await _receive_exactly(stream, checking, provider)
            if checking.landed is None:
                for block in (blocks.start, blocks.stop - 1):
                    await self._metadata.wait_for_group(file, block, provider.peer)
                await trio.to_thread.run_sync(checking)
        except BaseException:
            self._recent.give_back(buffer)
            raise
        assert checking.landed is not None
        self._keep(file, blocks, buffer, len(checking.landed))
        for block, unstored in zip(blocks, checking.landed, strict=False):
            landing(block, unstored)
        if checking.error is not None:
            raise PeerLiedError(f"{provider.peer.url}: {checking.error}") from checking.error

    def _keep(self, file: OpenFile, blocks: BlockRange, buffer: bytearray, n_landed: int) -> None:
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


def batch_bytes(provider: Provider) -> int:
    """Return how much to receive before it is verified and stored: of a slow provider one block, somebody waits."""
    rate = provider.peer.stats.rate_bytes_per_s or 0.0
    return min(int(rate * BATCH_S), BATCH_BYTES)


async def _receive_exactly(stream: RangeStream, checking: _Checking, provider: Provider) -> None:
    view, n_received = checking.view, 0
    when_full = checking if checking.is_ready else None
    while n_received < len(view):
        n = await stream.receive_into(view[n_received:], when_full)
        if n == 0:
            raise PeerUnreachableError(f"{provider.peer.url}: broke off after {n_received} of {len(view)} bytes")
        n_received += n


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
