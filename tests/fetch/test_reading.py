"""A verified read without a kernel: what comes, from whom, and what happens when it doesn't."""

from __future__ import annotations

import gc
import random

import pytest
import trio
from fakes import Dropping, FakeFile, FakePeer, Flaky, Hanging, Lying, Refusing, Slow

from kacheryfs.core.model import BLOCK_BYTES
from kacheryfs.core.request import FileRequest, Trust
from kacheryfs.errors import CancelledError, NotFoundError, TimedOutError, TrustRefusedError, UnreachableError
from kacheryfs.fetch.files import KEPT_S
from kacheryfs.fetch.revival import CLOSE_EVERY_S

FILE = FakeFile.of(random.Random(1).randbytes(10 * BLOCK_BYTES + 1000))
LARGE = FakeFile.of(random.Random(2).randbytes(66 * 1024 * 1024))
SMALL = FakeFile.of(b"small" * 1000)


def linked(file):
    return FileRequest(file.sha1, file.binding.manifest, len(file.data))


async def read_all(engine, request, step=128 * 1024):
    reader = (await engine.locate(request)).open()
    parts = []
    offset = 0
    while part := bytes(await reader.read(offset, step)):
        parts.append(part)
        offset += len(part)
    reader.close()
    return b"".join(parts)


@pytest.mark.parametrize("file", [FILE, SMALL, FakeFile.of(b"")], ids=["blocks", "one block", "empty"])
async def test_a_linked_file_reads_as_it_is(jumping_clock, start, file):
    async with start(FakePeer([file])) as engine:
        located = await engine.locate(linked(file))
        assert (located.size_bytes, located.trust) == (len(file.data), Trust.LINKED)
        assert await read_all(engine, linked(file)) == file.data


async def test_a_read_fetches_only_the_blocks_that_it_touches(jumping_clock, start):
    peer = FakePeer([FILE])
    async with start(peer) as engine:
        reader = (await engine.locate(linked(FILE))).open()
        assert bytes(await reader.read(3 * BLOCK_BYTES + 5, 10)) == FILE.data[3 * BLOCK_BYTES + 5 :][:10]
        spans = [subject[1] for what, subject in peer.requests if what == "range"]
        assert [(span.start, span.stop) for span in spans] == [(3 * BLOCK_BYTES, 4 * BLOCK_BYTES)]


async def test_what_is_present_is_read_without_a_peer(jumping_clock, start):
    async with start(FakePeer([FILE])) as engine:
        await read_all(engine, linked(FILE))
    async with start() as engine:
        assert await read_all(engine, linked(FILE)) == FILE.data


async def test_part_of_a_file_is_served_by_a_peer_that_has_that_part(jumping_clock, start):
    halves = (
        FakePeer(partial=[(FILE, range(5))], url="fake://a"),
        FakePeer(partial=[(FILE, range(5, 11))], url="fake://b"),
    )
    async with start(*halves) as engine:
        assert await read_all(engine, linked(FILE)) == FILE.data


@pytest.mark.expects_warnings
@pytest.mark.parametrize(
    "bad",
    [
        lambda peer: Refusing(peer, is_failing=True),
        lambda peer: Flaky(peer, is_failing=True),
        lambda peer: Dropping(peer, n_bytes=300_000),
        lambda peer: Lying(peer, flips_bodies=True),
        lambda peer: Lying(peer, flips_parts=True),
        lambda peer: Hanging(peer),
        lambda peer: Slow(peer, rate_bytes_per_s=1.0),
    ],
    ids=["refuses", "breaks", "drops", "lies", "lies about the manifest", "hangs", "one byte a second"],
)
async def test_a_bad_provider_is_passed_over(jumping_clock, start, bad):
    good, other = FakePeer([FILE], url="fake://good"), FakePeer([FILE], url="fake://bad")
    async with start(bad(other), Slow(good, latency_s=0.05)) as engine:
        with trio.fail_after(60):
            assert await read_all(engine, linked(FILE)) == FILE.data


@pytest.mark.expects_warnings
async def test_a_lying_peer_alone_gives_an_error_and_nothing_in_the_store(jumping_clock, start):
    async with start(Lying(FakePeer([FILE]), flips_bodies=True), read_timeout_s=5) as engine:
        located = await engine.locate(linked(FILE))
        with pytest.raises(TimedOutError, match="not asked"):
            await located.open().read(0, 10)
        assert located.present_bytes() == 0


async def test_a_waiting_read_succeeds_when_a_peer_comes_back(jumping_clock, start):
    peer = Flaky(FakePeer([FILE]))
    async with start(peer) as engine, trio.open_nursery() as nursery:
        reader = (await engine.locate(linked(FILE))).open()
        peer.is_failing = True
        got = []

        async def read():
            got.append(bytes(await reader.read(0, 100)))

        nursery.start_soon(read)
        await trio.sleep(60)
        assert not got
        peer.is_failing = False
        with trio.fail_after(10):
            while not got:
                await trio.sleep(0.1)
        assert got == [FILE.data[:100]]


async def test_a_peer_that_is_added_while_a_read_waits_is_used(jumping_clock, start):
    one, two = Flaky(FakePeer([FILE], url="fake://one")), FakePeer([FILE], url="fake://two")
    async with start(one) as engine, trio.open_nursery() as nursery:
        reader = (await engine.locate(linked(FILE))).open()
        one.is_failing = True
        nursery.start_soon(reader.read, 0, 100)
        await trio.sleep(10)
        engine.add_peer(two)
        with trio.fail_after(5):
            assert bytes(await reader.read(0, 100)) == FILE.data[:100]


async def test_a_thousand_waiting_reads_are_each_answered_in_their_time(jumping_clock, start):
    peer = Flaky(FakePeer([FILE]))
    async with start(peer, read_timeout_s=30) as engine:
        located = await engine.locate(linked(FILE))
        peer.is_failing = True
        ends = []

        async def read(i):
            with pytest.raises(TimedOutError, match="flaky"):
                await located.open().read(i * 2000, 100)
            ends.append(trio.current_time())

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for i in range(1000):
                nursery.start_soon(read, i)
        assert len(ends) == 1000
        assert all(29 <= end - began <= 32 for end in ends)


async def test_cancel_ends_waiting_reads_now(jumping_clock, start):
    peer = Flaky(FakePeer([FILE]))
    async with start(peer) as engine, trio.open_nursery() as nursery:
        reader = (await engine.locate(linked(FILE))).open()
        peer.is_failing = True

        async def read():
            with pytest.raises(CancelledError):
                await reader.read(0, 100)

        nursery.start_soon(read)
        await trio.sleep(3)
        assert engine.cancel() == 1


async def test_a_cancelled_reader_does_not_kill_the_flight(jumping_clock, start):
    peer = Slow(FakePeer([FILE]), latency_s=2.0)
    async with start(peer) as engine, trio.open_nursery() as nursery:
        reader = (await engine.locate(linked(FILE))).open()
        with trio.move_on_after(1.0):
            await reader.read(0, 100)
        nursery.start_soon(trio.sleep, 0)
        assert bytes(await reader.read(0, 100)) == FILE.data[:100]
        ranges = [what for what, _ in peer.peer.requests if what == "range"]
        assert len(ranges) == 1


async def test_a_name_that_everybody_lacks_is_not_found(jumping_clock, start):
    async with start(FakePeer([SMALL])) as engine:
        with pytest.raises(NotFoundError, match="fake://peer"):
            await engine.locate(FileRequest(FILE.sha1))


async def test_a_name_that_somebody_silent_may_have_is_unreachable(jumping_clock, start):
    silent = Hanging(FakePeer([FILE], url="fake://silent"))
    async with start(FakePeer([SMALL]), silent) as engine:
        began = trio.current_time()
        with pytest.raises(UnreachableError, match="fake://silent"):
            await engine.locate(FileRequest(FILE.sha1))
        assert trio.current_time() - began <= 6


async def test_a_bare_name_is_proven_before_its_first_byte(jumping_clock, start):
    async with start(FakePeer([FILE])) as engine:
        located = await engine.locate(FileRequest(FILE.sha1))
        assert located.trust is Trust.CLAIMED
        assert bytes(await located.open().read(0, 5)) == FILE.data[:5]
        assert located.present_bytes() == len(FILE.data)
        assert (await engine.locate(FileRequest(FILE.sha1))).trust is Trust.PROVEN


async def test_claims_are_refused_where_manifests_are_required(jumping_clock, start):
    async with start(FakePeer([FILE]), require_manifest=True) as engine:
        with pytest.raises(TrustRefusedError):
            await engine.locate(FileRequest(FILE.sha1))
        assert await read_all(engine, linked(FILE)) == FILE.data


async def test_a_small_file_of_a_tree_is_read_as_soon_as_a_provider_is_found(jumping_clock, start):
    async with start(Slow(FakePeer([SMALL]))) as engine:
        began = trio.current_time()
        assert await read_all(engine, FileRequest(SMALL.sha1, None, len(SMALL.data))) == SMALL.data
        assert trio.current_time() - began < 1  # of the clock that jumps: no wait for the next round of looking


async def test_a_file_that_nobody_reads_any_more_is_closed_after_a_while(jumping_clock, start):
    async with start(FakePeer([FILE])) as engine:
        reader = (await engine.locate(linked(FILE))).open()
        await trio.sleep(100)
        assert len(list(engine.files)) == 1
        await reader.read(0, 100)
        reader.close()
        del reader
        await trio.sleep(KEPT_S - 1)
        assert len(list(engine.files)) == 1
        await trio.sleep(2 * CLOSE_EVERY_S + 2)
        gc.collect()
        assert not list(engine.files)
        reader = (await engine.locate(linked(FILE))).open()
        assert bytes(await reader.read(0, 100)) == FILE.data[:100]
        reader.close()


async def test_what_is_read_is_noted_in_the_store_and_what_it_costs_to_fetch(jumping_clock, start):
    async with start(Slow(FakePeer([FILE]), rate_bytes_per_s=1e6)) as engine:
        located = await engine.locate(linked(FILE))
        reader = located.open()
        await reader.read(0, 3 * BLOCK_BYTES)
        noted = []
        located.file.stored.note_use = noted.append  # from now on: nothing is put any more
        for offset in range(0, 3 * BLOCK_BYTES, BLOCK_BYTES // 2):
            await reader.read(offset, BLOCK_BYTES // 2)
        assert [blocks.start for blocks in noted] == [0, 1, 2]
        assert 0.5 < located.file.stored.refetch_s_per_mib < 1.2
        reader.close()
