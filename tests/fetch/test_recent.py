"""What was just fetched is answered from memory: the right bytes, a bounded number of buffers, nothing of a lie."""

from __future__ import annotations

import random

from fakes import FakeFile, FakePeer

from kacheryfs.core.model import BLOCK_BYTES, BlockRange, ByteRange
from kacheryfs.core.request import FileRequest
from kacheryfs.fetch.recent import BATCH_BYTES, MAX_BATCHES, Recent

FILE = FakeFile.of(random.Random(3).randbytes(40 * BLOCK_BYTES + 1000))
REQUEST = FileRequest(FILE.sha1, FILE.binding.manifest, len(FILE.data))


def keep(recent, file, blocks, fill):
    buffer = recent.lend(len(file.layout.bytes_of(blocks)))
    buffer[:] = bytes([fill]) * len(buffer)
    recent.keep(file, blocks, buffer)
    return buffer


async def test_a_sequential_reader_is_answered_from_memory(jumping_clock, start, monkeypatch):
    async with start(FakePeer([FILE])) as engine:
        located = await engine.locate(REQUEST)
        reader = located.open()
        first = bytes(await reader.read(0, 3 * BLOCK_BYTES))
        monkeypatch.setattr(located.file.stored, "read_now", None)  # it would fail with a TypeError
        assert bytes(reader.read_now(1000, BLOCK_BYTES)) == first[1000:][:BLOCK_BYTES]
        reader.close()


async def test_reads_across_two_batches_are_put_together(jumping_clock, start):
    async with start(FakePeer([FILE])) as engine:
        located = await engine.locate(REQUEST)
        reader = located.open()
        for offset in range(0, len(FILE.data), BATCH_BYTES):
            await reader.read(offset, BATCH_BYTES)
        for offset in range(5, len(FILE.data), 100_001):
            found = reader.read_now(offset, 300_000)
            assert found is not None
            assert bytes(found) == FILE.data[offset:][:300_000]
        reader.close()


async def test_a_read_across_two_batches_that_overlap_gets_each_byte_once(jumping_clock, start):
    async with start(FakePeer([FILE])) as engine:
        located = await engine.locate(REQUEST)
        reader, recent = located.open(), Recent()
        for blocks in (BlockRange(0, 4), BlockRange(2, 6), BlockRange(0, 3)):  # as when an overdue run lands after all
            span = located.file.layout.bytes_of(blocks)
            buffer = recent.lend(len(span))
            buffer[: len(span)] = FILE.data[span.start : span.stop]
            recent.keep(located.file, blocks, buffer)
        found = reader.read_now(1000, 4 * BLOCK_BYTES)
        assert found is not None
        assert bytes(found) == FILE.data[1000:][: 4 * BLOCK_BYTES]
        reader.close()


async def test_buffers_are_bounded_and_used_again(jumping_clock, start):
    async with start(FakePeer([FILE])) as engine:
        file = (await engine.locate(REQUEST)).file
        recent = Recent()
        buffers = {id(keep(recent, file, BlockRange(i % 40, i % 40 + 1), 1)) for i in range(10 * MAX_BATCHES)}
        assert len(buffers) <= MAX_BATCHES + 1
        assert len({id(batch) for batch in file.recent.values()}) <= MAX_BATCHES


async def test_dropping_an_old_batch_leaves_the_newer_one_of_the_same_block(jumping_clock, start):
    async with start(FakePeer([FILE])) as engine:
        file = (await engine.locate(REQUEST)).file
        recent = Recent()
        keep(recent, file, BlockRange(0, 1), 1)
        newer = keep(recent, file, BlockRange(0, 2), 2)
        for block in range(2, 1 + MAX_BATCHES):
            keep(recent, file, BlockRange(block, block + 1), 3)
        assert file.recent[0].buffer is newer
        assert bytes(file.recent[1].view(ByteRange(BLOCK_BYTES, BLOCK_BYTES + 2))) == b"\2\2"


async def test_what_is_larger_than_a_batch_is_not_kept(jumping_clock, start):
    async with start(FakePeer([FILE])) as engine:
        file = (await engine.locate(REQUEST)).file
        recent = Recent()
        recent.keep(file, BlockRange(0, 8), recent.lend(2 * BATCH_BYTES))
        assert not file.recent


async def test_a_retired_file_answers_nothing_from_memory(jumping_clock, start):
    async with start(FakePeer([FILE])) as engine:
        file = (await engine.locate(REQUEST)).file
        keep(Recent(), file, BlockRange(0, 1), 1)
        file.retire("its manifest was false")
        assert not file.recent
