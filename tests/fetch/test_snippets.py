"""A waveform snippet through the kernel is three reads of 128 KiB, the later ones asked for when the first has come."""

from __future__ import annotations

import random

import pytest
import trio
from fakes import Capped, FakeFile, FakePeer

from kacheryfs.core.model import BLOCK_BYTES
from kacheryfs.core.readahead import FAULT_BYTES
from kacheryfs.core.request import FileRequest

FILE = FakeFile.of(random.Random(3).randbytes(60 * BLOCK_BYTES))
ROUND_TRIP_S = 0.02


async def open_known(engine, peer):
    """Open the file once the peer's rate and round trip are known; forget what it was asked until then."""
    located = await engine.locate(FileRequest(FILE.sha1, FILE.binding.manifest, len(FILE.data)))
    reader = located.open()
    for block in (0, 3, 6, 9):
        await reader.read(block * BLOCK_BYTES, 1000)
    peer.stats.round_trip_s = ROUND_TRIP_S
    reader.close()
    peer.requests.clear()
    return located.open()


def blocks_asked(peer):
    spans = [subject[1] for what, subject in peer.requests if "range" in what]
    return [(span.start // BLOCK_BYTES, -(-span.stop // BLOCK_BYTES)) for span in spans]


async def test_a_snippet_costs_one_request_and_its_first_fault_waits_for_no_more_than_its_own_block(
    jumping_clock, start
):
    peer = FakePeer([FILE])
    line = Capped(peer, latency_s=ROUND_TRIP_S, rate_bytes_per_s=100e6)
    async with start(line) as engine:
        reader = await open_known(engine, peer)
        offset, began = 20 * BLOCK_BYTES + 70_000, trio.current_time()
        for i in range(3):
            span = slice(offset + i * FAULT_BYTES, offset + (i + 1) * FAULT_BYTES)
            assert bytes(await reader.read(span.start, FAULT_BYTES)) == FILE.data[span]
            if i == 0:
                assert trio.current_time() - began < ROUND_TRIP_S + 1.5 * BLOCK_BYTES / 100e6
        assert trio.current_time() - began < ROUND_TRIP_S + 2.5 * BLOCK_BYTES / 100e6
        assert blocks_asked(peer) == [(20, 22)]
        reader.close()


@pytest.mark.parametrize("rate_bytes_per_s", [1e6, 5e6])
async def test_on_a_thin_line_a_fault_fetches_its_own_block_alone(jumping_clock, start, rate_bytes_per_s):
    peer = FakePeer([FILE])
    line = Capped(peer, latency_s=ROUND_TRIP_S, rate_bytes_per_s=rate_bytes_per_s)
    async with start(line) as engine:
        reader = await open_known(engine, peer)
        await reader.read(20 * BLOCK_BYTES + 70_000, FAULT_BYTES)
        await trio.sleep(5)
        assert blocks_asked(peer) == [(20, 21)]
        reader.close()


async def test_a_small_read_fetches_its_own_block_alone(jumping_clock, start):
    peer = FakePeer([FILE])
    async with start(Capped(peer, latency_s=ROUND_TRIP_S, rate_bytes_per_s=100e6)) as engine:
        reader = await open_known(engine, peer)
        await reader.read(20 * BLOCK_BYTES + 170_000, 64 * 1024)
        await trio.sleep(5)
        assert blocks_asked(peer) == [(20, 21)]
        reader.close()


async def test_the_end_of_the_file_bounds_what_a_fault_brings(jumping_clock, start):
    peer = FakePeer([FILE])
    async with start(Capped(peer, latency_s=ROUND_TRIP_S, rate_bytes_per_s=100e6)) as engine:
        reader = await open_known(engine, peer)
        offset = len(FILE.data) - FAULT_BYTES
        assert bytes(await reader.read(offset, FAULT_BYTES)) == FILE.data[offset:]
        assert blocks_asked(peer) == [(59, 60)]
        reader.close()
