"""What a running engine tells of itself: the reads that wait, who was asked, and the numbers that ``top`` lives on."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from fakes import FakeFile, FakePeer, Flaky, Hanging

from kacheryfs.app.explaining import explain
from kacheryfs.app.report import report_cache, report_engine
from kacheryfs.core.model import BLOCK_BYTES, Sha1
from kacheryfs.core.request import FileRequest
from kacheryfs.fetch.engine import Engine, EngineLimits, open_engine
from kacheryfs.peers.peer import Peer
from kacheryfs.store.blocks import Store
from kacheryfs.store.catalog import Catalog

FILE = FakeFile.of(random.Random(1).randbytes(40 * BLOCK_BYTES))
LABELS = {FILE.sha1: "rec.dat"}
BLOCK = 30
"""Far from what was read before, so that no readahead has brought it."""


@asynccontextmanager
async def engine_of(folder: Path, *peers: Peer) -> AsyncIterator[Engine]:
    async with open_engine(Store(folder / "store"), Catalog(folder / "data"), EngineLimits()) as engine:
        for peer in peers:
            engine.add_peer(peer)
        yield engine


async def wait_for(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not is_so():
            await trio.sleep(0.01)


def hang(peer: Hanging) -> Callable[[], None]:
    return lambda: setattr(peer, "is_hanging", True)


def fail(peer: Flaky) -> Callable[[], None]:
    return lambda: setattr(peer, "is_failing", True)


@asynccontextmanager
async def waiting(engine: Engine, begin: Callable[[], None]) -> AsyncIterator[None]:
    """Let a read wait whose file was opened, and read a little, before the trouble began."""
    reader = (await engine.locate(FileRequest(FILE.sha1, FILE.binding.manifest, len(FILE.data)))).open()
    await reader.read(0, 100)
    begin()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.read, BLOCK * BLOCK_BYTES, 100)
        await wait_for(lambda: bool(list(engine.waits)))
        try:
            yield
        finally:
            nursery.cancel_scope.cancel()
            reader.close()


async def test_a_waiting_read_tells_its_block_and_the_run_that_carries_it(tmp_path: Path) -> None:
    peer = Hanging(FakePeer([FILE]), is_hanging=False)
    async with engine_of(tmp_path, peer) as engine, waiting(engine, hang(peer)):
        found = explain(engine, {FILE.sha1}, LABELS)
        (wait,) = found["waits"]
        (block,) = wait["blocks"]
        (run,) = block["runs"]
        assert (block["block"], block["state"], block["n_waiters"]) == (BLOCK, "running", 1)
        assert (wait["label"], found["files"][0]["label"]) == ("rec.dat", "rec.dat")
        assert (run["url"], run["received_bytes"]) == (peer.url, 0)
        assert run["n_bytes"] >= BLOCK_BYTES
        assert 0 <= run["asked_s"] <= wait["waiting_s"]
        assert 0 < wait["gives_up_in_s"] <= found["read_timeout_s"]
        assert json.loads(json.dumps(found)) == found


async def test_a_peer_that_failed_is_told_with_what_it_said(tmp_path: Path) -> None:
    peer = Flaky(FakePeer([FILE]))
    async with engine_of(tmp_path, peer) as engine, waiting(engine, fail(peer)):
        await wait_for(lambda: explain(engine, {FILE.sha1}, LABELS)["waits"][0]["blocks"][0]["state"] == "stalled")
        found = explain(engine, {FILE.sha1}, LABELS)
        assert "flaky" in found["waits"][0]["blocks"][0]["tried"].get(peer.url, found["files"][0]["providers"][0])


async def test_a_name_that_is_looked_up_tells_who_has_answered(tmp_path: Path) -> None:
    silent = Hanging(FakePeer([FILE], url="fake://silent"), is_hanging=False)
    quick = FakePeer([], url="fake://quick")
    async with engine_of(tmp_path, silent, quick) as engine, trio.open_nursery() as nursery:
        await wait_for(lambda: engine.peers.last_word(silent) == "answers")
        silent.is_hanging = True
        nursery.start_soon(engine.locate, FileRequest(FILE.sha1))
        await wait_for(lambda: bool(said_of(engine).get(quick.url)))
        assert said_of(engine) == {silent.url: None, quick.url: f"{quick.url}: does not have it"}
        (lookup,) = explain(engine, {FILE.sha1}, LABELS)["lookups"]
        assert 0 <= lookup["waiting_s"] < lookup["waiting_s"] + lookup["gives_up_in_s"]
        nursery.cancel_scope.cancel()
    assert said_of(engine) == {}


def said_of(engine: Engine) -> dict[str, str | None]:
    lookups = explain(engine, {FILE.sha1}, LABELS)["lookups"]
    return lookups[0]["said"] if lookups else {}


async def test_of_other_files_nothing_is_told(tmp_path: Path) -> None:
    peer = Hanging(FakePeer([FILE]), is_hanging=False)
    async with engine_of(tmp_path, peer) as engine, waiting(engine, hang(peer)):
        found = explain(engine, {Sha1.of(b"another")}, LABELS)
        assert (found["files"], found["waits"], found["n_waits"]) == ([], [], 0)


async def test_numbers_grow_with_reads(tmp_path: Path) -> None:
    peer = FakePeer([FILE])
    async with engine_of(tmp_path, peer) as engine:
        before = report_engine(engine, LABELS)
        reader = (await engine.locate(FileRequest(FILE.sha1, FILE.binding.manifest, len(FILE.data)))).open()
        await reader.read(0, 100)
        await reader.read(0, 100)
        reader.close()
        await wait_for(
            lambda: report_engine(engine, LABELS)["received_bytes"] >= BLOCK_BYTES
        )  # counted when the run ends
        found = report_engine(engine, LABELS)
    assert sum(kind["n_reads"] for kind in before["reads"].values()) == 0
    assert found["reads"]["from_network"] == {"n_reads": 1, "n_bytes": 100}
    assert sum(kind["n_reads"] for kind in found["reads"].values()) == 2
    assert sum(found["waited"]["bins"]) == 1
    assert len(found["waited"]["bins"]) == len(found["waited"]["bounds_s"]) + 1
    assert found["peers"][0]["n_bans"] == 0
    assert json.loads(json.dumps(found)) == found


def test_the_cache_tells_its_bound_and_what_it_takes(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    found = report_cache(store)
    assert found is not None
    assert found["limit_bytes"] > 0
    assert found["used_bytes"] >= 0
    store.close()
