"""What was asked for in advance comes behind what is read, once, and whole or with a word why not."""

from __future__ import annotations

import errno
import os
import random

import pytest
import trio
from fakes import Capped, FakeFile, FakePeer, Flaky
from settling import assert_settled

from kacheryfs.core.model import BLOCK_BYTES, ByteRange
from kacheryfs.core.request import FileRequest
from kacheryfs.errors import StoreError, TimedOutError

FILE = FakeFile.of(random.Random(5).randbytes(100 * BLOCK_BYTES + 1000))
SMALL = FakeFile.of(random.Random(6).randbytes(5 * BLOCK_BYTES))
WHOLE = ByteRange(0, len(FILE.data))


def linked(file):
    return FileRequest(file.sha1, file.binding.manifest, len(file.data))


def asked_bytes(peer):
    return sum(len(subject[1]) for what, subject in peer.requests if what in ("range", "partial range"))


async def test_all_of_a_span_is_present_afterwards_and_progress_was_told(jumping_clock, start):
    told = []
    async with start(FakePeer([FILE])) as engine:
        located = await engine.locate(linked(FILE))
        await engine.prefetch(located, ByteRange(10 * BLOCK_BYTES + 5, 50 * BLOCK_BYTES + 5), on_progress=told.append)
        assert all(map(located.file.stored.is_present, range(10, 51)))
        assert not located.file.stored.is_present(9)
        assert told == sorted(told)
        assert (told[0], told[-1]) == (0, 41 * BLOCK_BYTES)
        await assert_settled(engine)


async def test_what_is_present_is_not_fetched_again(jumping_clock, start):
    peer = FakePeer([FILE])
    async with start(peer) as engine:
        located = await engine.locate(linked(FILE))
        for _ in range(2):
            await engine.prefetch(located, ByteRange(0, 30 * BLOCK_BYTES))
            await engine.prefetch(located, WHOLE)
        assert asked_bytes(peer) == len(FILE.data)


async def test_a_reader_goes_first(jumping_clock, start):
    peer = Capped(FakePeer([FILE, SMALL]), rate_bytes_per_s=1e6)
    async with start(peer) as engine, trio.open_nursery() as nursery:
        located = await engine.locate(linked(FILE))
        nursery.start_soon(engine.prefetch, located, WHOLE)
        await trio.sleep(5)
        reader = (await engine.locate(linked(SMALL))).open()
        began = trio.current_time()
        await reader.read(0, 1000)
        assert trio.current_time() - began < 3  # its share of the line, and not the end of 26 MB
        reader.close()


async def test_a_reader_of_a_block_that_is_prefetched_makes_it_urgent(jumping_clock, start):
    peer = Capped(FakePeer([FILE]), rate_bytes_per_s=1e6)
    async with start(peer) as engine, trio.open_nursery() as nursery:
        located = await engine.locate(linked(FILE))
        nursery.start_soon(engine.prefetch, located, WHOLE)
        await trio.sleep(1)
        reader = located.open()
        began = trio.current_time()
        assert bytes(await reader.read(99 * BLOCK_BYTES, 10)) == FILE.data[99 * BLOCK_BYTES :][:10]
        assert trio.current_time() - began < 3
        reader.close()


async def test_rare_blocks_go_first(jumping_clock, start):
    common = FakePeer(partial=[(FILE, range(50))], url="fake://common")
    rare = FakePeer(partial=[(FILE, range(101))], url="fake://rare")
    async with start(common, rare) as engine:
        located = await engine.locate(linked(FILE))
        await trio.sleep(1)
        for provider in located.file.providers:
            provider.note_presence(0, await provider.peer.presence(FILE.binding, 0, 101), trio.current_time())
        landed = []
        land = located.file.stored.put_all
        located.file.stored.put_all = lambda blocks: landed.extend(block.index for block in blocks) or land(blocks)
        await engine.prefetch(located, WHOLE)
        assert min(landed[:20]) >= 50


@pytest.mark.expects_warnings
async def test_a_store_that_can_keep_nothing_is_an_error(jumping_clock, start):
    async with start(FakePeer([FILE]), min_free_fraction=1.0) as engine:
        located = await engine.locate(linked(FILE))
        with pytest.raises(StoreError, match="can't keep block 0: the disk is nearly full; free it"):
            await engine.prefetch(located, WHOLE)
        await assert_settled(engine)


@pytest.mark.expects_warnings
async def test_why_a_store_can_keep_nothing_is_said(jumping_clock, start, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    async with start(FakePeer([FILE])) as engine:
        located = await engine.locate(linked(FILE))
        monkeypatch.setattr(os, "pwritev", refuse)
        monkeypatch.setattr(os, "pwrite", refuse)
        with pytest.raises(StoreError, match="can't keep block 0: Read-only file system; name another with --store"):
            await engine.prefetch(located, WHOLE)
        await assert_settled(engine)


async def test_where_nobody_gives_a_block_it_ends_with_who_said_what(jumping_clock, start):
    peer = Flaky(FakePeer([FILE]))
    async with start(peer, read_timeout_s=20) as engine:
        located = await engine.locate(linked(FILE))
        peer.is_failing = True
        with pytest.raises(TimedOutError, match="flaky"):
            await engine.prefetch(located, WHOLE)
        await assert_settled(engine)


async def test_a_provider_that_fails_for_a_while_costs_no_error(jumping_clock, start):
    peer = Flaky(FakePeer([FILE]))
    async with start(peer) as engine, trio.open_nursery() as nursery:
        located = await engine.locate(linked(FILE))
        peer.is_failing = True
        nursery.start_soon(engine.prefetch, located, WHOLE)
        await trio.sleep(30)
        peer.is_failing = False
        await trio.sleep(20)
        assert located.file.stored.is_full()


async def test_what_is_cancelled_goes_on_where_it_was(jumping_clock, start):
    peer = Capped(FakePeer([FILE]), rate_bytes_per_s=5e6)
    async with start(peer) as engine:
        located = await engine.locate(linked(FILE))
        for _ in range(20):
            with trio.move_on_after(1) as scope:
                await engine.prefetch(located, WHOLE)
            if not scope.cancelled_caught:
                break
        assert located.file.stored.is_full()
        assert peer.sent_bytes <= 1.2 * len(FILE.data)
        await assert_settled(engine)
