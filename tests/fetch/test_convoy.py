"""A thread that carries several batches: each lands by itself and in order, and a false one ends it at that block."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field

import pytest
import trio
from fakes import FakeFile, FakePeer, Wrapper

from kacheryfs.core.model import BLOCK_BYTES, Binding, BlockRange, ByteRange
from kacheryfs.core.request import FileRequest
from kacheryfs.errors import ProofError
from kacheryfs.fetch import convoy as convoys
from kacheryfs.fetch.convoy import MAX_BATCHES, Checking, Convoy
from kacheryfs.fetch.recent import BATCH_BYTES, Recent
from kacheryfs.peers.peer import RangeStream, WhenFull
from kacheryfs.peers.stats import PeerStats

N_BLOCKS = 40
BATCH_BLOCKS = BATCH_BYTES // BLOCK_BYTES
FILE = FakeFile.of(random.Random(5).randbytes(N_BLOCKS * BLOCK_BYTES))
REQUEST = FileRequest(FILE.sha1, FILE.binding.manifest, len(FILE.data))


@dataclass(slots=True)
class _Threaded(Wrapper):
    """Its bodies are received in a thread, as those of a transport are; ``data`` takes the place of the file's."""

    data: bytearray = field(default_factory=lambda: bytearray(FILE.data))
    hop_bytes: list[int] = field(default_factory=list)
    pause: Callable[[int], None] = lambda at: None

    @asynccontextmanager
    async def _open(
        self, binding: Binding, span: ByteRange, is_partial: bool, size_bytes: int, wait_s: float
    ) -> AsyncIterator[RangeStream]:
        await trio.lowlevel.checkpoint()
        yield _ThreadedStream(self, span)


class _ThreadedStream:
    def __init__(self, peer: _Threaded, span: ByteRange) -> None:
        self._peer = peer
        self._at = span.start

    async def receive_into(self, buffer: memoryview, when_full: WhenFull | None = None) -> int:
        n_bytes = await trio.to_thread.run_sync(self._receive, buffer, when_full)
        self._peer.hop_bytes.append(n_bytes)
        return n_bytes

    def _receive(self, buffer: memoryview, when_full: WhenFull | None) -> int:
        first, following = self._at, buffer
        while following is not None:
            following[:] = self._peer.data[self._at : self._at + len(following)]
            self._at += len(following)
            self._peer.pause(self._at)
            following = when_full() if when_full else None  # type: ignore[assignment]
        return self._at - first


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every peer is thought to be fast, and takes what runs there are."""
    monkeypatch.setattr(PeerStats, "rate_bytes_per_s", property(lambda stats: 1e9))


async def _read(engine, n_bytes: int) -> bytes:
    with trio.fail_after(30):
        located = await engine.locate(REQUEST)
        with closing(located.open()) as reader:
            return bytes(await reader.read(0, n_bytes))


async def test_a_thread_carries_several_batches_without_coming_back(fast, start):
    peer = _Threaded(FakePeer([FILE]))
    async with start(peer) as engine:
        assert await _read(engine, 10 * BATCH_BYTES) == FILE.data[: 10 * BATCH_BYTES]
    assert max(peer.hop_bytes) >= 3 * BATCH_BYTES
    assert max(peer.hop_bytes) <= MAX_BATCHES * BATCH_BYTES


async def test_it_comes_back_after_a_while(fast, start, monkeypatch):
    monkeypatch.setattr(convoys, "LONGEST_HOP_S", -1.0)
    peer = _Threaded(FakePeer([FILE]))
    async with start(peer) as engine:
        assert await _read(engine, 4 * BATCH_BYTES) == FILE.data[: 4 * BATCH_BYTES]
    assert max(peer.hop_bytes) <= BATCH_BYTES


async def test_what_is_checked_lands_while_the_thread_goes_on(fast, start):
    read = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def wait_for_reader(at: int) -> None:
        if at == 2 * BATCH_BYTES:
            trio.from_thread.run(_wait, trio_token=token)

    async def _wait() -> None:
        with trio.fail_after(10):
            await read.wait()

    async with start(_Threaded(FakePeer([FILE]), pause=wait_for_reader)) as engine, trio.open_nursery() as nursery:
        nursery.start_soon(_read, engine, 8 * BATCH_BYTES)
        assert await _read(engine, BATCH_BYTES) == FILE.data[:BATCH_BYTES]
        read.set()


@pytest.mark.expects_warnings
async def test_a_false_block_ends_it_and_what_came_before_it_stays(fast, start):
    liar = _Threaded(FakePeer([FILE], url="fake://liar"))
    liar.data[(2 * BATCH_BLOCKS + 1) * BLOCK_BYTES] ^= 1
    honest = _Threaded(FakePeer([FILE], url="fake://honest"))
    async with start(liar) as engine:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read, engine, 8 * BATCH_BYTES)
            located = await engine.locate(REQUEST)
            with trio.fail_after(10):
                while located.present_bytes() < (2 * BATCH_BLOCKS + 1) * BLOCK_BYTES:
                    await trio.sleep(0.01)
            engine.add_peer(honest)
        assert await _read(engine, len(FILE.data)) == FILE.data
        received = {url: peer.n_bytes for url, peer in engine.counters.received.items()}
        assert received["fake://liar"] == 3 * BATCH_BYTES


async def _convoy(engine, recent: Recent, **calls) -> Convoy:
    file = (await engine.locate(REQUEST)).file
    checkings = [Checking(file, BlockRange(at, at + 1), recent.lend(BLOCK_BYTES)) for at in range(2)]
    return Convoy(checkings, **calls)


async def test_what_its_listeners_raise_comes_out_of_it_and_not_of_trio(start):
    def fail(checking: Checking) -> None:
        raise ValueError("a defect")

    async with start(FakePeer([FILE])) as engine:
        reader = (await engine.locate(REQUEST)).open()
        await reader.read(0, 1)  # the group is here
        convoy = await _convoy(engine, Recent(), on_received=lambda n_bytes: None, on_checked=fail)
        convoy.begin_hop()
        for _ in range(2):
            convoy.rest[:] = FILE.data[: len(convoy.rest)]
            await trio.to_thread.run_sync(convoy.advance)
        await trio.testing.wait_all_tasks_blocked()
        convoy.tell()
        with pytest.raises(ValueError, match="a defect"):
            convoy.raise_error()
        reader.close()


async def test_bytes_are_told_once_and_before_the_batch_that_they_belong_to(start):
    told: list[object] = []
    async with start(FakePeer([FILE])) as engine:
        reader = (await engine.locate(REQUEST)).open()
        await reader.read(0, 1)
        convoy = await _convoy(
            engine, Recent(), on_received=told.append, on_checked=lambda checking: told.append(checking.blocks.start)
        )
        convoy.note_received(100)
        assert len(convoy.rest) == BLOCK_BYTES - 100
        convoy.rest[:] = bytes(len(convoy.rest))  # a false one
        await trio.to_thread.run_sync(convoy.advance)
        convoy.note_received(BLOCK_BYTES - 100)
        assert told == [100, BLOCK_BYTES - 100, 0]
        with pytest.raises(ProofError, match="another digest"):
            convoy.raise_error()
        reader.close()


def test_who_takes_several_buffers_leaves_some_to_others():
    recent = Recent()
    first = recent.n_spare
    lent = [recent.lend(BLOCK_BYTES) for _ in range(first + 5)]  # one is lent in any case
    assert recent.n_spare == 0
    for buffer in lent:
        recent.give_back(buffer)
    assert recent.n_spare == first
