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

BATCH_BYTES = 1024 * 1024
"""Received between two hops to a thread (0.17 ms each) that verifies and stores."""

BATCH_S = 0.05

Landing = Callable[[int, VerifiedBlock | None], None]
"""Told each block that has landed, with the block itself where the store could not keep it."""


class Buffers:
    """Receive buffers of ``BATCH_BYTES``, used again: a run each, as many as there are runs at once."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def take(self, n_bytes: int) -> bytearray:
        if n_bytes > BATCH_BYTES:
            return bytearray(n_bytes)  # a legacy chunk, or a small file that is proven whole
        return self._free.pop() if self._free else bytearray(BATCH_BYTES)

    def give_back(self, buffer: bytearray) -> None:
        if len(buffer) == BATCH_BYTES and len(self._free) < 8:
            self._free.append(buffer)


class Transfer:
    """Carries runs; knows nothing of flights or of choosing."""

    def __init__(self, metadata: Metadata, buffers: Buffers) -> None:
        self._metadata = metadata
        self._buffers = buffers

    async def carry(self, file: OpenFile, provider: Provider, blocks: BlockRange, landing: Landing) -> None:
        """Fetch ``blocks`` in order and land each; PeerError (with all before it landed) where it breaks off."""
        self._metadata.request_group(file, blocks.start, provider.peer)
        if provider.is_partial:
            blocks = await self._cut_to_present(file, provider, blocks)
        layout = file.layout
        n_batch = max(batch_bytes(provider) // layout.block_bytes, 1)
        buffer = self._buffers.take(min(layout.block_bytes * min(n_batch, len(blocks)), layout.size_bytes))
        try:
            span = layout.bytes_of(blocks)
            async with provider.peer.open_range(
                file.binding, span, is_partial=provider.is_partial, size_bytes=layout.size_bytes
            ) as stream:
                start = blocks.start
                while start < blocks.stop:
                    batch = BlockRange(start, min(start + n_batch, blocks.stop))
                    await self._carry_batch(file, provider, stream, batch, memoryview(buffer), landing)
                    start = batch.stop
        except PeerLacksError:
            provider.presence.pop(blocks.start // GROUP_BLOCKS, None)  # what it said is no longer so
            raise
        finally:
            self._buffers.give_back(buffer)

    async def _carry_batch(
        self,
        file: OpenFile,
        provider: Provider,
        stream: RangeStream,
        batch: BlockRange,
        buffer: memoryview,
        landing: Landing,
    ) -> None:
        view = buffer[: len(file.layout.bytes_of(batch))]
        await _receive_exactly(stream, view, provider)
        for block in (batch.start, batch.stop - 1):
            await self._metadata.wait_for_group(file, block, provider.peer)
        landed, error = await trio.to_thread.run_sync(verify_and_store, file, batch, view)
        for block, unstored in zip(batch, landed, strict=False):
            landing(block, unstored)
        if error is not None:
            raise PeerLiedError(f"{provider.peer.url}: {error}") from error

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


async def _receive_exactly(stream: RangeStream, view: memoryview, provider: Provider) -> None:
    n_received = 0
    while n_received < len(view):
        n = await stream.receive_into(view[n_received:])
        if n == 0:
            raise PeerUnreachableError(f"{provider.peer.url}: broke off after {n_received} of {len(view)} bytes")
        n_received += n


def verify_and_store(
    file: OpenFile, batch: BlockRange, view: memoryview
) -> tuple[list[VerifiedBlock | None], ProofError | None]:
    """Verify and store a batch, in a thread; return what landed before the first false block, and that error."""
    landed: list[VerifiedBlock | None] = []
    block_bytes = file.layout.block_bytes
    for block in batch:
        at = (block - batch.start) * block_bytes
        data = view[at : at + file.layout.block_size(block)]
        try:
            verified = file.proof.verify(block, data)
        except ProofError as exc:
            return landed, exc
        is_stored = file.stored.put(verified)
        # The buffer is used again: what the store can't keep is verified anew on a copy of its own.
        landed.append(None if is_stored else file.proof.verify(block, bytes(data)))
    return landed, None
