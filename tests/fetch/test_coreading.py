"""Mounts that read one file at once fetch each block from the origin about once, and the rest from each other."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from coreading import Reader
from fakes import Capped, FakeFile, FakePeer, Hanging
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.model import BLOCK_BYTES
from kacheryfs.core.request import FileRequest
from kacheryfs.fetch.coreaders import find_wanted

MIB = 1024 * 1024
READ_BYTES = 128 * 1024
ORIGIN_RATE = 10e6


@pytest.fixture(scope="module")
def file() -> FakeFile:
    return FakeFile.of(random.Random(8).randbytes(64 * MIB))


@dataclass
class Lab:
    """Engines that know an origin and each other."""

    file: FakeFile
    origin: Capped
    engines: list = field(default_factory=list)
    readers: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    longest_s: float = 0.0

    @property
    def origin_share(self):
        return self.origin.sent_bytes / len(self.file.data)

    async def read(self, i, after_s=0.0):
        await trio.sleep(after_s)
        file = self.file
        located = await self.engines[i].locate(FileRequest(file.sha1, file.binding.manifest, len(file.data)))
        self.readers[i].watch(located.file.stored)
        reader = located.open()
        for offset in range(0, len(file.data), READ_BYTES):
            began = trio.current_time()
            assert bytes(await reader.read(offset, READ_BYTES)) == file.data[offset : offset + READ_BYTES]
            self.longest_s = max(self.longest_s, trio.current_time() - began)
        reader.close()


@asynccontextmanager
async def lab_of(start, file, n, wrap=lambda i, line: line) -> AsyncIterator[Lab]:
    lab = Lab(file, Capped(FakePeer([file], url="fake://origin"), rate_bytes_per_s=ORIGIN_RATE))
    async with AsyncExitStack() as stack:
        for i in range(n):
            peer_id = bytes([i + 1]) * 16
            lab.engines.append(await stack.enter_async_context(start(lab.origin, folder=f"lab{i}", peer_id=peer_id)))
            lab.readers.append(Reader(url=f"fake://reader{i}", file=file, peer_id=peer_id, engine=lab.engines[i]))
            lab.lines.append(wrap(i, Capped(lab.readers[i], latency_s=0.002, rate_bytes_per_s=200e6)))
        for i, engine in enumerate(lab.engines):
            for j, line in enumerate(lab.lines):
                if i != j:
                    engine.add_peer(line)
        await trio.sleep(1)
        yield lab


@pytest.mark.parametrize("lag_s", [0.0, 0.3, 2.0])
async def test_the_origin_sends_little_more_than_the_file(jumping_clock, start, file, lag_s):
    n = 3
    async with lab_of(start, file, n) as lab:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for i in range(n):
                nursery.start_soon(lab.read, i, i * lag_s)
        assert lab.origin_share <= 1.5
        alone_s = n * len(file.data) / ORIGIN_RATE
        assert trio.current_time() - began - n * lag_s <= 0.6 * alone_s


async def test_who_comes_later_gets_what_is_there_from_the_other_reader(jumping_clock, start, file):
    async with lab_of(start, file, 2) as lab:
        await lab.read(0)
        began = trio.current_time()
        await lab.read(1)
        assert lab.origin_share <= 1.2  # its line adds to the other
        assert len(file.data) / (trio.current_time() - began) >= 4 * ORIGIN_RATE


async def test_a_reader_that_freezes_holds_the_other_up_once_and_briefly(jumping_clock, start, file):
    async with lab_of(start, file, 2, lambda i, line: Hanging(line, is_hanging=False)) as lab:
        async with trio.open_nursery() as nursery:
            for i in range(2):
                nursery.start_soon(lab.read, i)
            await trio.sleep(3)
            lab.lines[1].is_hanging = True
            lab.longest_s = 0.0
        assert lab.longest_s <= 2
        lab.lines[1].resume()


async def test_an_owner_is_asked_for_much_of_a_unit_at_once_however_slow_the_origin(jumping_clock, start):
    n, file = 4, FakeFile.of(random.Random(8).randbytes(24 * MIB))
    async with lab_of(start, file, n) as lab:
        lab.origin.rate_bytes_per_s = 1e6
        async with trio.open_nursery() as nursery:
            for i in range(n):
                nursery.start_soon(lab.read, i)
        n_requests = sum(name == "partial range" for reader in lab.readers for name, _ in reader.requests)
        assert sum(line.sent_bytes for line in lab.lines) / n_requests >= 0.33 * MIB


@pytest.mark.parametrize("n_bytes", [1000, READ_BYTES])
async def test_who_reads_here_and_there_waits_for_no_other_reader(jumping_clock, start, file, n_bytes):
    async with lab_of(start, file, 2) as lab:
        readers = []
        for i, engine in enumerate(lab.engines):
            located = await engine.locate(FileRequest(file.sha1, file.binding.manifest, len(file.data)))
            lab.readers[i].watch(located.file.stored)
            readers.append(located.open())
        lab.origin.peer.stats.round_trip_s = 0.1  # so that a snippet's blocks are fetched together
        rng = random.Random(1)
        for block in rng.sample(range(256), 60):
            began = trio.current_time()
            await rng.choice(readers).read(block * BLOCK_BYTES + 200_000, n_bytes)
            assert trio.current_time() - began < 0.2
        assert not any(reader.n_held or reader.wanted_at for reader in lab.readers)


async def test_we_are_no_provider_of_what_we_lack(jumping_clock, start, file):
    peer_id = b"1" * 16
    async with start(Capped(FakePeer([file], url="fake://origin")), peer_id=peer_id) as engine:
        ourselves = Reader(url="fake://ourselves", file=file, peer_id=peer_id, engine=engine)
        engine.add_peer(ourselves)
        located = await engine.locate(FileRequest(file.sha1, file.binding.manifest, len(file.data)))
        reader = located.open()
        for offset in range(0, 20 * MIB, READ_BYTES):
            await reader.read(offset, READ_BYTES)
        reader.close()
        assert not [what for what, _ in ourselves.requests if "range" in what]


@given(st.sets(st.integers(0, 1000), min_size=1), st.integers(1, 1001))
def test_what_is_noted_as_wanted_is_near_what_is_under_way(blocks, n_blocks):
    blocks = {block for block in blocks if block < n_blocks}
    noted = [block for wanted in find_wanted(blocks, n_blocks) for block in wanted]
    assert blocks <= set(noted)
    assert len(noted) == len(set(noted))
    assert all(block < n_blocks and {block // 64, block // 64 - 1} & {b // 64 for b in blocks} for block in noted)
