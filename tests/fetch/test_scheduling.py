"""Who is asked for what, when, and how often."""

from __future__ import annotations

import random

import pytest
import trio
from fakes import Dropping, FakeFile, FakePeer, Flaky, Hanging, Slow, Wrapper
from settling import assert_settled

from kacheryfs.core.model import BLOCK_BYTES
from kacheryfs.core.request import FileRequest
from kacheryfs.errors import TimedOutError
from kacheryfs.fetch.flights import Urgency
from kacheryfs.fetch.loads import MAX_PEER_RUNS
from kacheryfs.fetch.queues import MAX_QUEUED_HINTS
from kacheryfs.fetch.scheduler import MAX_RUNS

FILE = FakeFile.of(random.Random(1).randbytes(10 * BLOCK_BYTES + 1000))
LARGE = FakeFile.of(random.Random(2).randbytes(40 * 1024 * 1024))


def linked(file):
    return FileRequest(file.sha1, file.binding.manifest, len(file.data))


def small_files(n, size=1000):
    return [FakeFile.of(i.to_bytes(4, "big") * (size // 4)) for i in range(n)]


def ranges(peer):
    return [subject[1] for what, subject in peer.requests if what in ("range", "partial range")]


def blocks_asked(peer):
    return [block for span in ranges(peer) for block in FILE.layout.blocks_of(span)]


async def open_file(engine, file):
    return (await engine.locate(linked(file))).open()


async def test_two_readers_of_one_block_make_one_request(jumping_clock, start):
    peer = FakePeer([FILE])
    async with start(Slow(peer, latency_s=0.5)) as engine, trio.open_nursery() as nursery:
        readers = [await open_file(engine, FILE) for _ in range(20)]
        for i, reader in enumerate(readers):
            nursery.start_soon(reader.read, i * 100, 100)
        await trio.sleep(5)
        assert blocks_asked(peer) == [0]


async def test_demand_goes_before_readahead(jumping_clock, start):
    peer = FakePeer([LARGE, FILE])
    async with start(Slow(peer, latency_s=1.0)) as engine:
        large, reader = await open_file(engine, LARGE), await open_file(engine, FILE)
        engine.scheduler.hint(large._file, range(large._file.layout.n_blocks))
        began = trio.current_time()
        await reader.read(0, 100)
        assert trio.current_time() - began < 1.5  # its own run, and its group with it, behind nobody


async def test_every_waiter_gets_an_exception_of_its_own(jumping_clock, start):
    peer = Flaky(FakePeer([FILE]))
    async with start(peer, read_timeout_s=5) as engine, trio.open_nursery() as nursery:
        reader = await open_file(engine, FILE)
        peer.is_failing = True
        errors = []

        async def read():
            with pytest.raises(TimedOutError) as caught:
                await reader.read(0, 100)
            errors.append(caught.value)

        for _ in range(10):
            nursery.start_soon(read)
        await trio.sleep(6)
        assert len(set(map(id, errors))) == 10


@pytest.mark.parametrize("is_slow_first", [True, False])
async def test_a_peer_a_hundred_times_slower_costs_a_bounded_delay(jumping_clock, start, is_slow_first):
    slow = Slow(FakePeer([FILE], url="fake://a" if is_slow_first else "fake://z"), rate_bytes_per_s=5e4)
    fast = Slow(FakePeer([FILE], url="fake://m"), rate_bytes_per_s=5e6)
    async with start(slow, fast) as engine:
        reader = await open_file(engine, FILE)
        await trio.sleep(1)
        began = trio.current_time()
        assert bytes(await reader.read(0, len(FILE.data))) == FILE.data
        assert trio.current_time() - began < 5


async def test_a_provider_known_to_be_slow_is_overdue_too_when_another_comes(jumping_clock, start):
    slow = Slow(FakePeer([FILE], url="fake://a"), rate_bytes_per_s=1000.0)
    slow.stats.rate.begin(-100.0)
    slow.stats.rate.note(100_000, 0.0)
    slow.stats.rate.end(0.0)
    async with start(slow) as engine, trio.open_nursery() as nursery:
        reader = await open_file(engine, FILE)
        nursery.start_soon(reader.read, 0, 1)
        await trio.sleep(1)
        engine.add_peer(FakePeer([FILE], url="fake://b"))
        await trio.sleep(15)
        assert not list(engine.waits)


async def test_a_thousand_files_that_wait_are_served_when_a_peer_comes(jumping_clock, start):
    files = small_files(1000)
    peer = Flaky(FakePeer(files))
    async with start(peer) as engine, trio.open_nursery() as nursery:
        readers = [await open_file(engine, file) for file in files]
        peer.is_failing = True
        right = []

        async def read(reader, file):
            assert bytes(await reader.read(0, len(file.data))) == file.data
            reader.close()
            right.append(file)

        for reader, file in zip(readers, files, strict=True):
            nursery.start_soon(read, reader, file)
        await trio.sleep(30)
        assert not right
        peer.is_failing = False
        await trio.sleep(15)
        assert len(right) == 1000
        await assert_settled(engine)


async def test_a_peer_on_a_thin_line_does_not_hold_up_what_another_has(jumping_clock, start):
    files = small_files(2 * MAX_RUNS[Urgency.DEMAND], size=BLOCK_BYTES)
    thin = Slow(FakePeer(files, url="fake://thin"), rate_bytes_per_s=1e4)
    async with start(thin, FakePeer([FILE], url="fake://good")) as engine, trio.open_nursery() as nursery:
        reader = await open_file(engine, FILE)
        for file in files:
            nursery.start_soon((await open_file(engine, file)).read, 0, 100)
        await trio.sleep(1)
        assert len(engine.scheduler.fleet) == MAX_PEER_RUNS[Urgency.DEMAND]
        with trio.fail_after(1):
            assert bytes(await reader.read(0, 100)) == FILE.data[:100]
        await trio.sleep(600)
        assert not list(engine.waits)  # those that were parked had their turn


async def test_what_is_parked_goes_to_a_provider_that_comes(jumping_clock, start):
    files = small_files(2 * MAX_PEER_RUNS[Urgency.DEMAND])
    thin = Hanging(FakePeer(files, url="fake://thin"), is_hanging=False)
    async with start(thin) as engine, trio.open_nursery() as nursery:
        readers = [await open_file(engine, file) for file in files]
        await trio.sleep(1)
        thin.is_hanging = True
        for reader in readers:
            nursery.start_soon(reader.read, 0, 100)
        await trio.sleep(0.2)
        assert len(list(engine.waits)) == len(files)
        engine.add_peer(FakePeer(files, url="fake://good"))
        await trio.sleep(0.3)
        assert len(list(engine.waits)) <= MAX_PEER_RUNS[Urgency.DEMAND]  # the others wait for nobody's end
        await trio.sleep(10)
        assert not list(engine.waits)
        thin.resume()


async def test_what_is_parked_with_a_peer_is_not_forgotten_when_its_last_run_ends(jumping_clock, start, monkeypatch):
    busy = Slow(FakePeer([FILE], url="fake://busy"), latency_s=1)
    async with start(busy, FakePeer([LARGE], url="fake://idle")) as engine, trio.open_nursery() as nursery:
        scheduler, reader = engine.scheduler, await open_file(engine, FILE)
        other = await open_file(engine, LARGE)
        await trio.sleep(2)
        nursery.start_soon(reader.read, 0, 100)
        await trio.sleep(0.5)
        (run,) = scheduler.fleet
        flight = scheduler.join(run.file, FILE.layout.n_blocks - 1, Urgency.DEMAND, 1)
        scheduler.queues.by_urgency[Urgency.DEMAND].clear()
        scheduler.queues.park(busy.url, run.file, flight)
        with monkeypatch.context() as full:
            full.setitem(MAX_RUNS, Urgency.DEMAND, 0)  # others have all places when the last run of this peer ends
            await trio.sleep(5)
            assert not len(scheduler.fleet)
        await other.read(0, 100)
        with trio.fail_after(10):
            await flight.done.wait()
        flight.leave()


async def test_huge_blocks_on_a_thin_line_do_not_hold_up_small_ones(jumping_clock, start):
    huge = [FakeFile.of(bytes([i]) * 30_000_000) for i in range(5)]
    thin = Slow(FakePeer(huge, url="fake://thin"), rate_bytes_per_s=1e5)
    async with start(thin, FakePeer([FILE], url="fake://good")) as engine, trio.open_nursery() as nursery:
        reader = await open_file(engine, FILE)
        for file in huge:
            located = await engine.locate(FileRequest(file.sha1, None, len(file.data)))
            nursery.start_soon(located.open().read, 0, 100)
        await trio.sleep(1)
        with trio.fail_after(1):
            assert bytes(await reader.read(0, 100)) == FILE.data[:100]
        nursery.cancel_scope.cancel()


@pytest.mark.expects_warnings
async def test_a_late_end_of_a_hedged_run_leaves_the_next_flight_of_its_block_alone(jumping_clock, start):
    slow = Hanging(FakePeer([FILE], url="fake://a"), is_hanging=False)
    fast = Flaky(FakePeer([FILE], url="fake://b"))
    async with start(slow, min_free_fraction=1.0) as engine:
        reader = await open_file(engine, FILE)
        await reader.read(5 * BLOCK_BYTES, 1)
        slow.is_hanging = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.read, 0, 1)  # hangs, until a second provider lands the block
            await trio.sleep(0.1)
            engine.add_peer(fast)
        engine.scheduler._memory._blocks.clear()  # the disk is full, and memory has forgotten it
        fast.is_failing = True
        with trio.move_on_after(0.01):
            await reader.read(0, 1)
        slow.resume()
        fast.is_failing = False
        await trio.sleep(10)
        with trio.fail_after(10):
            assert bytes(await reader.read(0, 1)) == FILE.data[:1]
        reader.close()
        await assert_settled(engine)


async def test_a_run_that_others_have_overtaken_is_ended(jumping_clock, start):
    slow = Slow(FakePeer([FILE], url="fake://a"), rate_bytes_per_s=1000.0)
    async with start(slow) as engine, trio.open_nursery() as nursery:
        reader = await open_file(engine, FILE)
        nursery.start_soon(reader.read, 0, 1)
        await trio.sleep(0.1)
        engine.add_peer(FakePeer([FILE], url="fake://b"))
        await trio.sleep(20)
        assert not len(engine.scheduler.fleet)


class Stopping(Wrapper):
    """Bodies never end."""

    def wrap(self, stream):
        return self

    async def receive_into(self, buffer, when_full=None):
        await trio.sleep_forever()


async def test_a_peer_without_limits_of_its_own_holds_no_run_for_ever(jumping_clock, start):
    async with start(Stopping(FakePeer([FILE])), read_timeout_s=5) as engine:
        reader = await open_file(engine, FILE)
        with pytest.raises(TimedOutError):
            await reader.read(0, 1)
        reader.close()
        await assert_settled(engine)


async def test_who_lacks_one_block_is_asked_for_the_others_at_once(jumping_clock, start):
    peers = [FakePeer(partial=[(FILE, range(i, 11, 2))], url=f"fake://{i}") for i in range(2)]
    async with start(*peers) as engine:
        reader = await open_file(engine, FILE)
        began = trio.current_time()
        assert bytes(await reader.read(0, len(FILE.data))) == FILE.data
        assert trio.current_time() - began < 1


async def test_a_partial_provider_is_asked_once_what_it_has(jumping_clock, start):
    peer = FakePeer(partial=[(FILE, range(11))])
    async with start(peer) as engine:
        reader = await open_file(engine, FILE)
        for block in range(11):
            await reader.read(block * BLOCK_BYTES, 1)
        assert [what for what, _ in peer.requests].count("presence") == 1


async def test_what_a_partial_provider_has_lost_does_not_hide_what_it_has(jumping_clock, start):
    peer = FakePeer(partial=[(FILE, range(11))])
    async with start(peer) as engine, trio.open_nursery() as nursery:
        reader = await open_file(engine, FILE)
        await reader.read(0, 1)
        peer.blocks[FILE.binding][1].discard(7)
        nursery.start_soon(reader.read, 6 * BLOCK_BYTES, 3 * BLOCK_BYTES)
        await trio.sleep(10)
        assert [reader._file.stored.is_present(block) for block in (6, 7, 8)] == [True, False, True]
        peer.blocks[FILE.binding][1].add(7)
        await trio.sleep(5)
        assert not list(engine.waits)


async def test_hints_beyond_the_queue_are_dropped_and_demand_is_not(jumping_clock, start):
    files = [FakeFile.of(random.Random(i).randbytes(300 * BLOCK_BYTES)) for i in range(2)]
    peer = FakePeer(files)
    async with start(Slow(peer, latency_s=0.1)) as engine:
        readers = [await open_file(engine, file) for file in files]
        for _ in range(10):
            for reader in readers:
                engine.scheduler.hint(reader._file, range(300))
        assert len(engine.scheduler.queues.by_urgency[Urgency.AHEAD]) <= min(MAX_QUEUED_HINTS, 600)
        with trio.fail_after(3):
            assert bytes(await readers[1].read(299 * BLOCK_BYTES, 9)) == files[1].data[299 * BLOCK_BYTES :][:9]


async def test_a_broken_body_is_gone_on_with_where_it_broke(jumping_clock, start):
    peer = FakePeer([FILE])
    async with start(Dropping(peer, n_bytes=3 * BLOCK_BYTES, n_drops=1)) as engine:
        reader = await open_file(engine, FILE)
        with trio.fail_after(10):
            assert bytes(await reader.read(0, len(FILE.data))) == FILE.data
        assert sum(len(span) for span in ranges(peer)) <= len(FILE.data) + BLOCK_BYTES


# -- a full disk -------------------------------------------------------------------------------------------------


@pytest.mark.expects_warnings
async def test_with_a_full_disk_each_block_is_fetched_about_once(jumping_clock, start):
    peer = FakePeer([LARGE])
    async with start(peer, min_free_fraction=1.0) as engine:
        reader = await open_file(engine, LARGE)
        for offset in range(0, len(LARGE.data), 128 * 1024):
            assert bytes(await reader.read(offset, 128 * 1024)) == LARGE.data[offset : offset + 128 * 1024]
        assert sum(len(span) for span in ranges(peer)) <= 1.02 * len(LARGE.data)
        assert reader._file.stored.present_count() == 0


@pytest.mark.expects_warnings
async def test_what_is_in_memory_is_not_read_ahead_again(jumping_clock, start):
    peer = FakePeer([FILE])
    async with start(peer, min_free_fraction=1.0) as engine:
        for _ in range(3):
            reader = await open_file(engine, FILE)
            for offset in range(0, len(FILE.data), 128 * 1024):
                assert bytes(await reader.read(offset, 128 * 1024)) == FILE.data[offset : offset + 128 * 1024]
            reader.close()
        assert sorted(blocks_asked(peer)) == list(range(FILE.layout.n_blocks))
