"""Several providers of one file: their lines add up, and one that fails in the middle costs a moment.

The clock jumps, so that each rate is exact and the same in every run; ``scripts/bench`` measures the real thing.
"""

from __future__ import annotations

import random

import pytest
import trio
from fakes import Capped, FakeFile, FakePeer, Lying

from kacheryfs.core.request import FileRequest

MIB = 1024 * 1024
READ_BYTES = 128 * 1024


@pytest.fixture(scope="module")
def file() -> FakeFile:
    return FakeFile.of(random.Random(4).randbytes(96 * MIB))


def providers(file, n, rate, **options):
    return [Capped(FakePeer([file], url=f"fake://{i}"), rate_bytes_per_s=rate, **options) for i in range(n)]


async def open_file(engine, file):
    return (await engine.locate(FileRequest(file.sha1, file.binding.manifest, len(file.data)))).open()


class Reading:
    """A sequential read of a whole file, timed."""

    def __init__(self, file):
        self.file = file
        self.done_at = []
        self.longest_s = 0.0

    async def run(self, engine):
        reader = await open_file(engine, self.file)
        for offset in range(0, len(self.file.data), READ_BYTES):
            began = trio.current_time()
            assert bytes(await reader.read(offset, READ_BYTES)) == self.file.data[offset : offset + READ_BYTES]
            self.longest_s = max(self.longest_s, trio.current_time() - began)
            self.done_at.append(trio.current_time())
        reader.close()

    @property
    def settled_rate(self):
        """Bytes a second in the middle of it: past the small windows of the start, before the last runs."""
        start, stop = 40 * MIB // READ_BYTES, 88 * MIB // READ_BYTES
        return (stop - start) * READ_BYTES / (self.done_at[stop] - self.done_at[start])

    def rate(self, start, stop):
        """Bytes a second between two times."""
        n_reads = sum(start <= at < stop for at in self.done_at)
        return n_reads * READ_BYTES / (min(stop, self.done_at[-1]) - start)


async def read_whole(engine, file) -> Reading:
    reading = Reading(file)
    await reading.run(engine)
    return reading


def sent(peers) -> int:
    return sum(peer.sent_bytes for peer in peers)


@pytest.mark.parametrize(("n", "rate"), [(1, 25e6), (2, 25e6), (4, 25e6), (8, 12e6), (3, 1e6)])
async def test_the_lines_of_all_providers_add_up(jumping_clock, start, file, n, rate):
    peers = providers(file, n, rate)
    async with start(*peers) as engine:
        assert (await read_whole(engine, file)).settled_rate >= 0.95 * n * rate
        assert sent(peers) <= 1.01 * len(file.data)


async def test_who_has_a_part_and_reads_nothing_changes_nothing_for_the_others(jumping_clock, start, file):
    peers = providers(file, 4, 25e6)
    part = Capped(FakePeer(partial=[(file, range(4))], url="fake://part", peer_id=b"p" * 16), rate_bytes_per_s=25e6)
    async with start(*peers, part) as engine:
        assert (await read_whole(engine, file)).settled_rate >= 0.95 * 100e6


async def test_unequal_lines_add_up_too(jumping_clock, start, file):
    peers = [
        *providers(file, 1, 60e6),
        *[Capped(FakePeer([file], url=f"fake://b{i}"), rate_bytes_per_s=10e6) for i in (1, 2)],
    ]
    async with start(*peers) as engine:
        assert (await read_whole(engine, file)).settled_rate >= 0.95 * 80e6
        assert sent(peers) <= 1.05 * len(file.data)


async def read_while(engine, file, after_s, change) -> tuple[Reading, float]:
    """Read the file, and call ``change`` in the middle."""
    reading = Reading(file)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reading.run, engine)
        await trio.sleep(after_s)
        changed_at = trio.current_time()
        change()
    return reading, changed_at


async def test_a_provider_that_slows_to_a_hundredth_costs_little_of_the_others(jumping_clock, start, file):
    peers = providers(file, 3, 4e6)

    def slow_down():
        peers[1].rate_bytes_per_s /= 100

    async with start(*peers) as engine:
        reading, changed_at = await read_while(engine, file, 1.5, slow_down)
        assert reading.rate(changed_at, changed_at + 10) >= 0.8 * 2 * 4e6
        assert reading.longest_s <= 2
        assert sent(peers) <= 1.15 * len(file.data)


async def test_a_provider_that_slows_to_a_tenth_costs_little_of_the_others(jumping_clock, start, file):
    peers = providers(file, 3, 25e6)

    def slow_down():
        peers[1].rate_bytes_per_s /= 10

    async with start(*peers) as engine:
        reading, changed_at = await read_while(engine, file, 0.3, slow_down)
        assert reading.rate(changed_at, changed_at + 10) >= 0.8 * 2 * 25e6
        assert reading.longest_s <= 1


async def test_a_provider_that_freezes_costs_less_than_two_seconds_once(jumping_clock, start, file):
    peers = providers(file, 3, 25e6)

    def freeze():
        peers[0].rate_bytes_per_s = 0.0

    async with start(*peers) as engine:
        reading, changed_at = await read_while(engine, file, 0.3, freeze)
        assert reading.longest_s <= 1
        assert reading.rate(changed_at, changed_at + 10) >= 0.7 * 2 * 25e6
        peers[0].rate_bytes_per_s = 25e6  # or its streams wait for ever


async def test_a_provider_that_dies_costs_nobody_an_error(jumping_clock, start, file):
    peers = providers(file, 3, 25e6)

    def die():
        peers[2].peer.is_closed = True

    async with start(*peers) as engine:
        reading, changed_at = await read_while(engine, file, 0.3, die)
        assert reading.longest_s <= 0.5
        assert reading.rate(changed_at, changed_at + 10) >= 0.8 * 2 * 25e6


@pytest.mark.expects_warnings
async def test_a_provider_that_lies_in_every_block_costs_a_moment(jumping_clock, start, file):
    liar = Lying(Capped(FakePeer([file], url="fake://liar"), rate_bytes_per_s=25e6), flips_bodies=True)
    async with start(liar, *providers(file, 2, 25e6)) as engine:
        began = trio.current_time()
        reading = await read_whole(engine, file)
        assert reading.longest_s <= 0.5
        assert len(file.data) / (trio.current_time() - began) >= 0.8 * 2 * 25e6


async def test_a_provider_that_is_fast_again_is_used_again(jumping_clock, start, file):
    peers = providers(file, 2, 4e6)

    def slow_down():
        peers[1].rate_bytes_per_s = 4e4

    async with start(*peers) as engine:
        reading = Reading(file)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reading.run, engine)
            await trio.sleep(2)
            slow_down()
            await trio.sleep(4)
            peers[1].rate_bytes_per_s = 4e6
            back_at = trio.current_time()
        assert reading.rate(back_at + 3, back_at + 30) >= 0.85 * 2 * 4e6


async def test_all_providers_on_slow_lines_duplicate_nothing(jumping_clock, start, file):
    peers = providers(file, 3, 0.3e6, latency_s=0.2)
    async with start(*peers) as engine:
        reader = await open_file(engine, file)
        n_bytes = 12 * MIB
        for offset in range(0, n_bytes, READ_BYTES):
            await reader.read(offset, READ_BYTES)
        assert engine.counters.wasted_bytes <= 0.05 * n_bytes
