"""From names to files: asked once, answered always, and closed when nobody refers to them any more."""

from __future__ import annotations

import gc
import os
import random
import threading

import pytest
import trio
from blake3 import blake3
from fakes import FakeFile, FakePeer, Flaky, Hanging, Lying, Slow
from settling import assert_settled

from kacheryfs.core.manifest import GroupedProof, Root
from kacheryfs.core.model import BLOCK_BYTES, Blake3, Sha1
from kacheryfs.core.request import FileRequest, Trust
from kacheryfs.core.tree import FileEntry, Tree, encode_tree
from kacheryfs.errors import CancelledError, CatalogError, NotFoundError, PeerUnreachableError, ProofError, StoreError
from kacheryfs.fetch.files import MAX_KEPT_FILES
from kacheryfs.fetch.located import OriginalReader
from kacheryfs.fetch.peerset import MAX_BANS
from kacheryfs.fetch.trees import Trees
from kacheryfs.store.blocks import Store
from kacheryfs.store.presence import EXTENT_BLOCKS
from kacheryfs.store.sharing import share

FILE = FakeFile.of(random.Random(1).randbytes(4 * BLOCK_BYTES + 1000))
LINKED = FileRequest(FILE.sha1, FILE.binding.manifest, len(FILE.data))


def small_files(n):
    return [FakeFile.of(i.to_bytes(4, "big") * 100) for i in range(n)]


def n_fds():
    return len(os.listdir("/proc/self/fd"))


# -- asked once --------------------------------------------------------------------------------------------------


async def test_a_hundred_lookups_of_one_name_at_once_ask_the_peers_once(jumping_clock, start):
    peer = FakePeer([FILE])
    async with start(Slow(peer)) as engine, trio.open_nursery() as nursery:
        await trio.sleep(1)
        peer.requests.clear()
        for _ in range(100):
            nursery.start_soon(engine.locate, LINKED)
        await trio.sleep(1)
        asked = [what for what, _ in peer.requests]
        assert asked.count("manifest") == 1
        assert asked.count("have") <= 2  # the lookup's, and the look for more


async def test_each_asker_of_one_name_gets_an_exception_of_its_own(jumping_clock, start):
    async with start(Slow(FakePeer())) as engine, trio.open_nursery() as nursery:
        errors = []

        async def ask():
            with pytest.raises(NotFoundError) as caught:
                await engine.locate(LINKED)
            errors.append(caught.value)

        for _ in range(10):
            nursery.start_soon(ask)
        await trio.sleep(1)
        assert len(set(map(id, errors))) == 10


async def test_many_names_on_dead_peers_are_each_answered_within_the_timeout(jumping_clock, start):
    dead = [Hanging(FakePeer(url=f"fake://{i}")) for i in range(5)]
    async with start(*dead) as engine, trio.open_nursery() as nursery:
        began, ends = trio.current_time(), []

        async def ask(file):
            with pytest.raises(Exception, match="fake://0"):
                await engine.locate(FileRequest(file.sha1))
            ends.append(trio.current_time() - began)

        for file in small_files(300):
            nursery.start_soon(ask, file)
        await trio.sleep(30)
        assert len(ends) == 300
        assert max(ends) < 7


# -- answered always ---------------------------------------------------------------------------------------------


async def test_a_link_to_what_is_no_manifest_is_an_error_and_no_wait(jumping_clock, start):
    garbage = b"this is no manifest"
    digest = Blake3(blake3(garbage).digest())
    peer = FakePeer([FILE])
    peer.parts[digest] = garbage
    async with start(peer) as engine:
        with trio.fail_after(10), pytest.raises(ProofError, match="not a manifest"):
            await engine.locate(FileRequest(FILE.sha1, digest))


@pytest.mark.expects_warnings
@pytest.mark.parametrize("method", ["have", "describe", "get_manifest_part"])
async def test_a_defect_in_asking_one_peer_leaves_the_others_answers(jumping_clock, start, monkeypatch, method):
    async def fail(*args):
        raise ValueError("a defect")

    broken = FakePeer([FILE], url="fake://broken")
    good = Slow(FakePeer([FILE], url="fake://good"))
    monkeypatch.setattr(FakePeer, method, _unless(broken, getattr(FakePeer, method), fail))
    async with start(broken, good) as engine:
        with trio.fail_after(2):  # sooner than a lookup times out
            for request in (LINKED, FileRequest(FILE.sha1)):
                reader = (await engine.locate(request)).open()
                assert bytes(await reader.read(0, 100)) == FILE.data[:100]


def _unless(broken, method, fail):
    def called(self, *args):
        return fail(*args) if self is broken else method(self, *args)

    return called


@pytest.mark.expects_warnings
async def test_a_defect_in_looking_after_stalled_reads_does_not_end_it(jumping_clock, start, monkeypatch):
    peer = Flaky(FakePeer([FILE]))
    async with start(peer) as engine, trio.open_nursery() as nursery:
        reader = (await engine.locate(LINKED)).open()
        peer.is_failing = True
        nursery.start_soon(reader.read, 0, 100)
        await trio.sleep(5)
        with monkeypatch.context() as patch:
            patch.setattr(engine.scheduler.stalled, "files", lambda: 1 // 0)
            await trio.sleep(5)
        peer.is_failing = False
        await trio.sleep(10)
        assert not list(engine.waits)


async def test_a_disk_that_fails_is_one_of_our_errors(jumping_clock, start, monkeypatch):
    def fail(*args):
        raise OSError(5, "Input/output error")

    async with start(FakePeer([FILE])) as engine:
        monkeypatch.setattr(engine._locator._local, "find_proven", fail)
        with pytest.raises(StoreError, match="Input/output"):
            await engine.locate(LINKED)


async def test_a_bare_name_finds_what_is_left_of_a_file_that_was_proven_here(jumping_clock, start, tmp_path):
    large = FakeFile.of(random.Random(2).randbytes((EXTENT_BLOCKS + 1) * BLOCK_BYTES))
    store = Store(tmp_path / "bob" / "store", min_free_fraction=0)
    for digest, part in large.parts.items():
        store.put_manifest_part(digest, part)
    proof = GroupedProof(large.root)
    for number, group in enumerate(large.groups):
        proof.add_group(number, group)
    file = store.open(proof)
    for block in range(EXTENT_BLOCKS + 1):
        file.put(proof.verify(block, large.data[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]))
    assert file.prove()
    assert store.cache.evict([large.sha1], 1)
    kept = next(block for block in range(EXTENT_BLOCKS + 1) if file.is_present(block))
    file.close()
    store.close()
    async with start(require_manifest=True) as engine:
        located = await engine.locate(FileRequest(large.sha1))
        assert located.trust is Trust.PROVEN
        reader = located.open()
        start_byte = kept * BLOCK_BYTES
        assert await reader.read(start_byte, 100) == large.data[start_byte : start_byte + 100]
        reader.close()
        engine.add_peer(FakePeer([large]))
        reader = (await engine.locate(FileRequest(large.sha1))).open()
        missing = 0 if kept else EXTENT_BLOCKS
        assert await reader.read(missing * BLOCK_BYTES, 100) == large.data[missing * BLOCK_BYTES :][:100]
        reader.close()


# -- groups ------------------------------------------------------------------------------------------------------


class Withholding(Hanging):
    """Groups never come, all else does."""

    async def get_manifest_part(self, digest, max_bytes):
        if digest in FILE.root.groups:
            await trio.sleep_forever()
        return await self.peer.get_manifest_part(digest, max_bytes)


async def test_a_peer_that_holds_a_group_back_delays_it_by_little(jumping_clock, start):
    first = Withholding(FakePeer([FILE], url="fake://a"), is_hanging=False)
    async with start(first, FakePeer([FILE], url="fake://b")) as engine:
        reader = (await engine.locate(LINKED)).open()
        await trio.sleep(1)
        began = trio.current_time()
        assert bytes(await reader.read(0, 100)) == FILE.data[:100]
        assert trio.current_time() - began < 2


async def test_two_files_with_a_group_in_common_both_get_it(jumping_clock, start):
    names = [Sha1(bytes([i]) * 20) for i in range(2)]
    twins = [FakeFile(FILE.data, name, Root(len(FILE.data), name, FILE.root.groups), FILE.groups) for name in names]
    peer = FakePeer(twins)
    async with start(Slow(peer, latency_s=0.1), whole_file_limit_bytes=1) as engine:
        readers = [(await engine.locate(FileRequest(twin.sha1, twin.binding.manifest))).open() for twin in twins]
        async with trio.open_nursery() as nursery:
            for reader in readers:
                nursery.start_soon(reader.read, 0, 100)
        asked = [what for what, _ in peer.requests]
        assert asked.count("range") == 2
        assert asked.count("manifest") == 3


async def test_a_present_block_whose_group_was_lost_is_read_once_a_peer_comes(jumping_clock, start, tmp_path):
    async with start(FakePeer([FILE])) as engine:
        reader = (await engine.locate(LINKED)).open()
        await reader.read(0, 100)
    for group in FILE.root.groups:
        for path in tmp_path.rglob(group.hex):
            path.unlink()
    async with start() as engine, trio.open_nursery() as nursery:
        reader = (await engine.locate(LINKED)).open()
        nursery.start_soon(reader.read, 0, 100)
        await trio.sleep(10)
        engine.add_peer(FakePeer([FILE]))
        await trio.sleep(5)
        assert not list(engine.waits)


# -- closed when nobody refers to them ---------------------------------------------------------------------------


async def test_a_located_file_can_be_opened_however_many_were_opened_since(jumping_clock, start):
    others = small_files(2 * MAX_KEPT_FILES)
    async with start(FakePeer([FILE, *others])) as engine:
        located = await engine.locate(LINKED)
        for file in others:
            (await engine.locate(FileRequest(file.sha1, None, len(file.data)))).open().close()
        gc.collect()
        reader = located.open()
        assert bytes(await reader.read(0, len(FILE.data))) == FILE.data
        assert [file for file in engine.files if file.binding == located.binding] == [located.file]


async def test_few_files_are_kept_open(jumping_clock, start):
    files = small_files(3 * MAX_KEPT_FILES)
    async with start(FakePeer(files)) as engine:
        began = n_fds()
        for file in files:
            reader = (await engine.locate(FileRequest(file.sha1, None, len(file.data)))).open()
            await reader.read(0, 10)
            reader.close()
        gc.collect()
        assert n_fds() - began <= MAX_KEPT_FILES + 20
        await assert_settled(engine)
    assert n_fds() <= began


async def test_a_reader_closed_while_it_reads_reads_to_its_end(start):
    async with start(FakePeer([FILE])) as engine, trio.open_nursery() as nursery:
        reader = (await engine.locate(LINKED)).open()
        got = []

        async def read():
            got.append(bytes(await reader.read(0, len(FILE.data))))

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        reader.close()
        while not got:
            await trio.testing.wait_all_tasks_blocked()
        assert got == [FILE.data]


def test_trees_are_kept_by_their_size():
    trees = Trees(max_json_bytes=100)
    names = [Sha1(bytes([i]) * 20) for i in range(4)]
    for name, size in zip(names, (40, 40, 40, 1000), strict=True):
        trees.put(name, Tree({}, {}), size)
        assert trees.find(name) is not None  # the latest always
    assert [trees.find(name) is not None for name in names] == [False, False, False, True]


@pytest.mark.expects_warnings
async def test_a_tree_is_held_against_its_sha1_whatever_whole_file_limit_is(jumping_clock, start):
    entries = {f"{i:05}": FileEntry(i, Sha1(i.to_bytes(20, "big")), None) for i in range(5000)}
    right = FakeFile.of(encode_tree(Tree({}, entries)))
    wrong = FakeFile.of(right.data.replace(b"00000", b"99999"))
    lie = FakeFile(wrong.data, right.sha1, Root(len(wrong.data), right.sha1, wrong.root.groups), wrong.groups)
    # The disk is full: the file is never complete, and so not held against its SHA-1 in the background.
    async with start(FakePeer([lie]), whole_file_limit_bytes=1000, min_free_fraction=1.0) as engine:
        with pytest.raises(ProofError, match="another SHA-1"):
            await engine.get_tree(right.sha1)


# -- originals ---------------------------------------------------------------------------------------------------


@pytest.fixture
def original(tmp_path):
    path = tmp_path / "original.bin"
    path.write_bytes(FILE.data)
    return path


async def locate_original(engine, path):
    share(engine._locator._local._catalog, path)
    return await engine.locate(LINKED)


async def test_an_original_closed_while_a_thread_reads_it_is_closed_after(start, original, monkeypatch):
    async with start() as engine, trio.open_nursery() as nursery:
        reader = (await locate_original(engine, original)).open()
        gate, inside = threading.Event(), trio.Event()
        token = trio.lowlevel.current_trio_token()
        real, got = OriginalReader._read, []

        def held(self, span):
            token.run_sync_soon(inside.set)
            gate.wait()
            return real(self, span)

        monkeypatch.setattr(OriginalReader, "_read", held)

        async def read():
            got.append(bytes(await reader.read(0, len(FILE.data))))

        nursery.start_soon(read)
        await inside.wait()
        reader.close()
        gate.set()
    assert got == [FILE.data]
    with pytest.raises(CancelledError):
        await reader.read(0, 1)


async def test_an_original_on_a_failing_disk_is_one_of_our_errors(start, original, monkeypatch):
    def fail(*args):
        raise OSError(5, "Input/output error")

    async with start() as engine:
        reader = (await locate_original(engine, original)).open()
        monkeypatch.setattr(os, "preadv", fail)
        with pytest.raises(CatalogError, match="Input/output"):
            await reader.read(0, 10)
        reader.close()


# -- peers -------------------------------------------------------------------------------------------------------


async def test_a_peer_that_was_removed_says_nothing_of_its_successor(jumping_clock, start):
    old, new = FakePeer([FILE]), FakePeer([FILE])
    async with start(old) as engine:
        reader = (await engine.locate(LINKED)).open()
        await engine.peers.remove(old.url)
        engine.add_peer(new)
        engine.peers.note_failure(old, PeerUnreachableError("closed"))
        assert not engine.peers.is_resting(new)
        assert engine.peers.is_resting(old)
        with trio.fail_after(3):
            assert bytes(await reader.read(0, 100)) == FILE.data[:100]


async def test_a_peer_removed_while_it_serves_is_replaced_by_another(jumping_clock, start):
    old, new = Slow(FakePeer([FILE], url="fake://a"), latency_s=1.0), FakePeer([FILE], url="fake://b")
    async with start(old) as engine, trio.open_nursery() as nursery:
        reader = (await engine.locate(LINKED)).open()
        nursery.start_soon(reader.read, 0, 100)
        await trio.sleep(0.5)
        engine.add_peer(new)
        await engine.peers.remove(old.url)
        await trio.sleep(5)
        assert not list(engine.waits)


async def test_an_open_file_is_read_from_a_faster_peer_that_comes(jumping_clock, start):
    slow, fast = Slow(FakePeer([FILE], url="fake://a"), latency_s=2.0), FakePeer([FILE], url="fake://b")
    slow.stats.note_round_trip(2.0, 0.0)
    async with start(slow, lookup_timeout_s=20) as engine:
        reader = (await engine.locate(LINKED)).open()
        engine.add_peer(fast)
        await trio.sleep(1)
        await reader.read(0, 100)
        assert "range" in [what for what, _ in fast.requests]


@pytest.mark.expects_warnings
async def test_bans_are_bounded(jumping_clock, start):
    peer = FakePeer()
    async with start(peer) as engine:
        for i in range(MAX_BANS + 10):
            engine.peers.ban(peer, Sha1(i.to_bytes(20, "big")), None, "a lie")
        assert len(engine.peers._bans) == MAX_BANS
        assert engine.peers.find_ban(peer, Sha1((MAX_BANS + 9).to_bytes(20, "big")))


@pytest.mark.expects_warnings
async def test_a_lie_about_the_size_bars_nobody_who_tells_it_right(jumping_clock, start):
    liar = Lying(FakePeer([FILE], url="fake://liar"), size_bytes=10**15)
    async with start(liar, FakePeer([FILE], url="fake://good")) as engine:
        reader = (await engine.locate(FileRequest(FILE.sha1))).open()
        assert bytes(await reader.read(0, 10)) == FILE.data[:10]
