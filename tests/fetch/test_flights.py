"""What is left in a queue after its block has landed costs neither memory nor a place."""

from __future__ import annotations

import random

import pytest
import trio
from fakes import FakeFile, FakePeer, Hanging

from kacheryfs.core.model import BLOCK_BYTES
from kacheryfs.core.request import FileRequest
from kacheryfs.fetch import queues
from kacheryfs.fetch.flights import Urgency
from kacheryfs.fetch.scheduler import MAX_RUNS

MAX_AHEAD_RUNS = 8
"""Here, so that one peer's runs can take all places."""
FILE = FakeFile.of(random.Random(1).randbytes(20 * BLOCK_BYTES))
OTHERS = [FakeFile.of(bytes([i]) * 1000) for i in range(MAX_AHEAD_RUNS)]
REQUEST = FileRequest(FILE.sha1, FILE.binding.manifest, len(FILE.data))


@pytest.fixture
def crowded(start, monkeypatch):
    """An engine in which so many runs hang that nothing is begun for readahead, and a reader of ``FILE``."""

    monkeypatch.setitem(MAX_RUNS, Urgency.AHEAD, MAX_AHEAD_RUNS)

    async def crowd(engine, nursery, hanging):
        located = [await engine.locate(FileRequest(other.sha1, None, 1000)) for other in OTHERS]
        reader = (await engine.locate(REQUEST)).open()
        await trio.sleep(1)
        hanging.is_hanging = True
        for other in located:
            nursery.start_soon(other.open().read, 0, 10)
        await trio.sleep(0.1)
        assert len(engine.scheduler.fleet) == MAX_AHEAD_RUNS
        return reader

    return crowd


def ahead(engine):
    return engine.scheduler.queues.by_urgency[Urgency.AHEAD]


@pytest.mark.expects_warnings
async def test_a_flight_that_has_landed_holds_no_block_however_long_it_is_queued(jumping_clock, start, crowded):
    hanging = Hanging(FakePeer(OTHERS, url="fake://hanging"), is_hanging=False)
    peers = hanging, FakePeer([FILE], url="fake://good")
    async with start(*peers, min_free_fraction=1.0) as engine, trio.open_nursery() as nursery:
        reader = await crowded(engine, nursery, hanging)
        engine.scheduler.hint(reader._file, range(20))
        for offset in range(0, len(FILE.data), BLOCK_BYTES):
            assert bytes(await reader.read(offset, BLOCK_BYTES)) == FILE.data[offset:][:BLOCK_BYTES]
        assert ahead(engine)
        assert not [flight for _, flight in ahead(engine) if flight.landed]
        nursery.cancel_scope.cancel()


async def test_hints_that_came_with_other_runs_leave_their_places(jumping_clock, start, crowded, monkeypatch):
    monkeypatch.setattr(queues, "MAX_QUEUED_HINTS", 10)
    hanging = Hanging(FakePeer(OTHERS, url="fake://hanging"), is_hanging=False)
    async with start(hanging, FakePeer([FILE], url="fake://good")) as engine, trio.open_nursery() as nursery:
        reader = await crowded(engine, nursery, hanging)
        engine.scheduler.hint(reader._file, range(10))
        await reader.read(0, 10 * BLOCK_BYTES)
        assert len(ahead(engine)) == 10
        engine.scheduler.hint(reader._file, range(12, 20))
        assert {12, 19} <= reader._file.flights.keys()
        assert len(ahead(engine)) == 8
        nursery.cancel_scope.cancel()
