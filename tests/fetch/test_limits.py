"""The limits that people set: how fast, and whether at all."""

from __future__ import annotations

import random

import pytest
import trio
from fakes import Capped, FakeFile, FakePeer

from kacheryfs.core.model import BLOCK_BYTES
from kacheryfs.core.request import FileRequest
from kacheryfs.errors import OfflineError

FILE = FakeFile.of(random.Random(7).randbytes(80 * BLOCK_BYTES))
LINKED = FileRequest(FILE.sha1, FILE.binding.manifest, len(FILE.data))


SIZE = len(FILE.data)


async def read_all(engine, n_bytes=SIZE):
    reader = (await engine.locate(LINKED)).open()
    for offset in range(0, n_bytes, 128 * 1024):
        assert bytes(await reader.read(offset, 128 * 1024)) == FILE.data[offset : offset + 128 * 1024]
    reader.close()


@pytest.mark.parametrize("limit", [0.5e6, 3e6, 40e6])
async def test_the_download_limit_holds_within_a_tenth_over_all_providers(jumping_clock, start, limit):
    peers = [Capped(FakePeer([FILE], url=f"fake://{i}"), rate_bytes_per_s=100e6) for i in range(3)]
    async with start(*peers, download_bytes_per_s=limit) as engine:
        await trio.sleep(1)
        began = trio.current_time()
        await read_all(engine)
        rate = len(FILE.data) / (trio.current_time() - began)
        assert rate <= 1.1 * limit
        if limit < 10e6:
            assert rate >= 0.9 * limit
        assert engine.counters.wasted_bytes <= 0.05 * len(FILE.data)  # who is slow for our own limit isn't overdue


async def test_offline_what_is_here_is_read_and_what_is_not_fails_at_once(jumping_clock, start):
    peer = FakePeer([FILE])
    async with start(peer) as engine:
        await read_all(engine, 10 * BLOCK_BYTES)
    n_requests = len(peer.requests)
    async with start(peer, is_offline=True) as engine:
        began = trio.current_time()
        await read_all(engine, 10 * BLOCK_BYTES)
        reader = (await engine.locate(LINKED)).open()
        with pytest.raises(OfflineError, match="offline"):
            await reader.read(79 * BLOCK_BYTES, 10)
        reader.close()
        for request in (FileRequest(FILE.sha1), FileRequest(FakeFile.of(b"other").sha1)):
            with pytest.raises(OfflineError, match="offline"):
                await engine.locate(request)
        assert trio.current_time() == began
        await trio.sleep(60)
    assert len(peer.requests) == n_requests


async def test_a_block_under_way_can_be_described(jumping_clock, start):
    peers = [Capped(FakePeer([FILE], url=f"fake://{i}"), rate_bytes_per_s=0.2e6) for i in range(2)]
    async with start(*peers) as engine, trio.open_nursery() as nursery:
        located = await engine.locate(LINKED)
        reader = located.open()
        nursery.start_soon(reader.read, 5 * BLOCK_BYTES, 10)
        await trio.sleep(0.5)
        report = engine.scheduler.describe(located.file, 5)
        assert (report.state.value, report.n_waiters) == ("running", 1)
        (run,) = report.runs
        assert run.url in ("fake://0", "fake://1")
        assert 0 < run.received_bytes < run.n_bytes == BLOCK_BYTES
        assert run.overdue_at is not None
        assert engine.scheduler.describe(located.file, 6).state.value == "missing"
        await trio.sleep(5)
        assert engine.scheduler.describe(located.file, 5).state.value == "present"


async def test_reads_are_counted_by_where_they_came_from(jumping_clock, start):
    async with start(FakePeer([FILE])) as engine:
        await read_all(engine)
        counters = engine.counters
        assert counters.from_network.n_reads + counters.from_memory.n_reads + counters.from_store.n_reads == 160
        assert counters.from_network.n_reads == sum(counters.waited.bins) > 0
        assert counters.received_bytes == len(FILE.data)
        assert counters.wasted_bytes == 0
        assert counters.received["fake://peer"].n_bytes == len(FILE.data)
    async with start(FakePeer([FILE])) as engine:
        await read_all(engine)
        assert engine.counters.from_network.n_reads == 0
