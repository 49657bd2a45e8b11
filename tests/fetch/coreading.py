"""Engines that read one file at once and serve each other: each as the others see it, over a line of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio
from fakes import FakeFile, FakePeer, _FakeStream

from kacheryfs.core.manifest import GROUP_BLOCKS
from kacheryfs.core.model import Binding, BlockRange, ByteRange, Sha1
from kacheryfs.errors import PeerLacksError, PeerUnreachableError
from kacheryfs.fetch.engine import Engine
from kacheryfs.peers.peer import RangeStream
from kacheryfs.store.blocks import StoredFile

WANTED_S = 3.0


@dataclass(slots=True)
class Reader(FakePeer):
    """What the server beside an engine answers out of its store: what is there, and what it has under way."""

    engine: Engine | None = None
    file: FakeFile | None = None
    wanted_at: dict[int, float] = field(default_factory=dict)
    n_held: int = 0

    def watch(self, stored: StoredFile) -> None:
        """Note on the clock that jumps what a real store notes by the wall's clock, for extents of 64 blocks."""

        def note_wanted(blocks: BlockRange) -> None:
            for block in blocks:
                self.wanted_at[block // 64] = trio.current_time()

        stored.note_wanted = note_wanted  # type: ignore[method-assign]

    def _is_present(self, block: int) -> bool:
        assert self.engine is not None
        return any(file.stored.is_present(block) for file in self.engine.files)

    def _is_wanted(self, block: int) -> bool:
        return trio.current_time() < self.wanted_at.get(block // 64, -1e9) + WANTED_S

    async def have(self, sha1s: Sequence[Sha1]) -> list[bool]:
        await self._note("have", tuple(sha1s))
        assert self.engine is not None
        return [any(file.stored.present_count() for file in self.engine.files)] * len(sha1s)

    async def presence(self, binding: Binding, group: int, n_blocks: int) -> list[bool]:
        await self._note("presence", (binding, group))
        return [self._is_present(group * GROUP_BLOCKS + i) for i in range(n_blocks)]

    @asynccontextmanager
    async def open_range(
        self, binding: Binding, span: ByteRange, *, is_partial: bool, size_bytes: int, wait_s: float = 0.0
    ) -> AsyncIterator[RangeStream]:
        await self._note("partial range" if is_partial else "range", (binding, span))
        assert self.file is not None
        blocks = self.file.layout.blocks_of(span)
        self.n_held += bool(wait_s)
        if not is_partial or not await self._comes(blocks.start, wait_s):
            raise PeerLacksError(f"{self.url}: block {blocks.start} is neither here nor on its way")
        for block in blocks:
            if not self._is_present(block) and not (wait_s and self._is_wanted(block)):
                raise PeerLacksError(f"{self.url}: block {block} is neither here nor on its way")
        yield _HeldStream(self, memoryview(self.file.data), span.start, span.stop, wait_s)

    async def _comes(self, block: int, wait_s: float) -> bool:
        with trio.move_on_after(wait_s):
            while not self._is_present(block) and self._is_wanted(block):
                await trio.sleep(0.02)
        return self._is_present(block)


@dataclass(slots=True)
class _HeldStream:
    peer: Reader
    data: memoryview
    at: int
    stop: int
    wait_s: float

    async def receive_into(self, buffer: memoryview, when_full: object = None) -> int:
        assert self.peer.file is not None
        block = self.at // self.peer.file.layout.block_bytes
        if self.at < self.stop and not await self.peer._comes(block, self.wait_s):
            raise PeerUnreachableError(f"{self.peer.url}: block {block} did not come")
        stop = min(self.stop, (block + 1) * self.peer.file.layout.block_bytes)
        rest = _FakeStream(self.peer, self.data[self.at : stop])
        n_bytes = await rest.receive_into(buffer)
        self.at += n_bytes
        return n_bytes
