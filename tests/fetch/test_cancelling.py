"""A reader that is cancelled, at whatever moment, leaves nothing behind and spoils nothing for the next."""

from __future__ import annotations

import itertools
import random

import pytest
import trio
from fakes import Dropping, FakeFile, FakePeer, Flaky, Slow
from settling import assert_settled

from kacheryfs.core.model import BLOCK_BYTES
from kacheryfs.core.request import FileRequest
from kacheryfs.core.tree import FileEntry, Tree, encode_tree

FILE = FakeFile.of(random.Random(1).randbytes(3 * BLOCK_BYTES + 1000))
JSON = FakeFile.of(encode_tree(Tree({}, {"a": FileEntry(len(FILE.data), FILE.sha1, FILE.binding.manifest)})))
LINKED = FileRequest(FILE.sha1, FILE.binding.manifest)


class CancelAt(trio.abc.Instrument):
    """Cancels a scope at the k-th step of any task: whatever the engine is about then."""

    def __init__(self, k):
        self.k = k
        self.scope = trio.CancelScope()

    def before_task_step(self, task):
        self.k -= 1
        if self.k == 0:
            self.scope.cancel()


async def read_linked(engine):
    reader = (await engine.locate(LINKED)).open()
    try:
        assert bytes(await reader.read(1000, len(FILE.data))) == FILE.data[1000:]
    finally:
        reader.close()


async def read_bare(engine):
    reader = (await engine.locate(FileRequest(FILE.sha1))).open()
    try:
        assert bytes(await reader.read(0, len(FILE.data))) == FILE.data
    finally:
        reader.close()


async def read_in_tree(engine):
    assert (await engine.get_tree(JSON.sha1)).files["a"].size_bytes == len(FILE.data)
    await read_linked(engine)


def peers_of(kind):
    good = Slow(FakePeer([FILE, JSON], url="fake://good"), latency_s=0.01)
    if kind == "breaks":
        return [Dropping(FakePeer([FILE, JSON], url="fake://bad"), n_bytes=300_000, n_drops=1), good]
    if kind == "partial":
        parts = [(FILE, [0, 2])], [(FILE, [1, 3])]
        return [FakePeer([JSON], partial, url=f"fake://{i}") for i, partial in enumerate(parts)]
    return [good]


@pytest.mark.parametrize("operation", [read_linked, read_bare, read_in_tree])
@pytest.mark.parametrize("kind", ["good", "breaks", "partial"])
async def test_a_reader_cancelled_at_any_step_leaves_nothing_behind(jumping_clock, start, operation, kind):
    if operation is read_bare and kind == "partial":
        pytest.skip("nobody claims a bare name")
    for k in itertools.count(1, 3):
        async with start(*peers_of(kind), folder=f"bob{k}") as engine:
            instrument = CancelAt(k)
            trio.lowlevel.add_instrument(instrument)
            with instrument.scope:
                await operation(engine)
            trio.lowlevel.remove_instrument(instrument)
            was_cancelled = instrument.scope.cancelled_caught
            await assert_settled(engine)
            with trio.fail_after(10):
                await operation(engine)
        if not was_cancelled and k > 50:
            break


async def test_a_reader_cancelled_while_nobody_can_serve_leaves_nothing_behind(jumping_clock, start):
    peer = Flaky(FakePeer([FILE]))
    async with start(peer) as engine:
        reader = (await engine.locate(LINKED)).open()
        peer.is_failing = True
        for after_s in (0.01, 0.3, 2.5, 7):
            with trio.move_on_after(after_s) as scope:
                await reader.read(0, 100)
            assert scope.cancelled_caught
        reader.close()
        await assert_settled(engine)
        peer.is_failing = False
        await trio.sleep(6)
        with trio.fail_after(1):
            await read_linked(engine)


async def test_a_lookup_that_is_cancelled_goes_on_for_who_still_asks(jumping_clock, start):
    peer = Slow(FakePeer([FILE]), latency_s=1.0)
    async with start(peer) as engine, trio.open_nursery() as nursery:

        async def give_up():
            with trio.move_on_after(0.5):
                await engine.locate(LINKED)

        nursery.start_soon(give_up)
        assert (await engine.locate(LINKED)).size_bytes == len(FILE.data)
