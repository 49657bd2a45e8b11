"""What DESIGN.md promises of links, claims and lies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import threading

import pytest
import trio.testing
from blake3 import blake3
from fakes import FakeFile, FakePeer, Flaky, Lying

from kacheryfs.core.legacy import decode_legacy_manifest
from kacheryfs.core.manifest import build
from kacheryfs.core.model import BLOCK_BYTES, Sha1
from kacheryfs.core.request import FileRequest, Trust
from kacheryfs.core.tree import FileEntry, Tree, encode_tree
from kacheryfs.core.wire import FileInfo
from kacheryfs.errors import ClaimError, KacheryError, ProofError, TimedOutError
from kacheryfs.fetch import prover
from kacheryfs.store.blocks import StoredFile
from kacheryfs.store.sharing import share

FILE = FakeFile.of(random.Random(1).randbytes(3 * BLOCK_BYTES + 7))
OTHER = FakeFile.of(random.Random(2).randbytes(3 * BLOCK_BYTES + 7))
LIMIT = {"whole_file_limit_bytes": BLOCK_BYTES}


def forged(sha1, data):
    """Make a coherent false file: ``data`` with a manifest that fits it, under somebody else's SHA-1."""
    digests = (blake3(data[i : i + BLOCK_BYTES]).digest() for i in range(0, len(data), BLOCK_BYTES))
    root, groups = build(len(data), sha1, digests)
    return FakeFile(data, sha1, root, tuple(groups))


LIE = forged(FILE.sha1, OTHER.data)


async def read_all(engine, request):
    reader = (await engine.locate(request)).open()
    return bytes(await reader.read(0, reader.size_bytes))


@pytest.mark.expects_warnings
async def test_a_coherent_lie_is_never_read_under_a_link(jumping_clock, start):
    async with start(FakePeer([LIE], url="fake://liar"), FakePeer([FILE], url="fake://good")) as engine:
        request = FileRequest(FILE.sha1, FILE.binding.manifest)
        assert await read_all(engine, request) == FILE.data


@pytest.mark.expects_warnings
async def test_a_coherent_lie_about_a_small_bare_name_is_found_out(jumping_clock, start):
    async with start(FakePeer([LIE], url="fake://liar"), FakePeer([FILE], url="fake://good")) as engine:
        assert await read_all(engine, FileRequest(FILE.sha1)) == FILE.data


@pytest.mark.expects_warnings
async def test_a_lie_about_a_small_files_size_is_found_out(jumping_clock, start):
    liar = Lying(FakePeer([FILE], url="fake://liar"), size_bytes=12345)
    async with start(liar, FakePeer([FILE], url="fake://good")) as engine:
        assert await read_all(engine, FileRequest(FILE.sha1)) == FILE.data


async def test_a_large_bare_name_is_not_read_while_claims_disagree(jumping_clock, start):
    async with start(FakePeer([LIE], url="fake://liar"), FakePeer([FILE], url="fake://good"), **LIMIT) as engine:
        with pytest.raises(ClaimError, match=r"fake://liar.*fake://good|fake://good.*fake://liar"):
            await engine.locate(FileRequest(FILE.sha1))


@pytest.mark.expects_warnings
async def test_a_false_claim_is_found_out_once_the_file_is_complete(jumping_clock, start):
    liar, good = FakePeer([LIE], url="fake://liar"), Flaky(FakePeer([FILE], url="fake://good"), is_failing=True)
    async with start(liar, good, **LIMIT) as engine:
        refuted = []
        engine.prover.on_refuted(refuted.append)
        located = await engine.locate(FileRequest(FILE.sha1))
        assert located.trust is Trust.CLAIMED
        reader = located.open()
        assert bytes(await reader.read(0, 10)) == LIE.data[:10]  # what DESIGN.md says can't be promised
        with contextlib.suppress(ClaimError):  # found out as soon as the last block has come
            await reader.read(0, len(LIE.data))
        with trio.fail_after(5):
            while engine.peers.find_ban(liar, FILE.sha1) is None:
                await trio.sleep(0.1)
        with pytest.raises(ClaimError):
            await reader.read(0, 10)
        assert refuted == [LIE.binding]
        assert located.present_bytes() == 0
        good.is_failing = False
        assert await read_all(engine, FileRequest(FILE.sha1)) == FILE.data


async def test_a_claim_that_contradicts_ends_the_reading(jumping_clock, start):
    good = FakePeer([FILE], url="fake://good")
    async with start(good, **LIMIT) as engine:
        reader = (await engine.locate(FileRequest(FILE.sha1))).open()
        assert bytes(await reader.read(0, 10)) == FILE.data[:10]
        engine.add_peer(FakePeer([LIE], url="fake://liar"))
        reader.close()
        with pytest.raises(ClaimError):
            await read_all(engine, FileRequest(FILE.sha1))


async def test_a_root_of_another_file_is_refused(jumping_clock, start):
    async with start(FakePeer([FILE, OTHER])) as engine:
        with pytest.raises(ProofError, match="link is wrong"):
            await engine.locate(FileRequest(FILE.sha1, OTHER.binding.manifest))


async def test_a_root_whose_size_contradicts_the_tree_is_refused(jumping_clock, start):
    async with start(FakePeer([FILE])) as engine:
        with pytest.raises(ProofError, match="tree"):
            await engine.locate(FileRequest(FILE.sha1, FILE.binding.manifest, 17))


async def test_a_large_file_without_a_manifest_anywhere_is_an_error_that_says_why(jumping_clock, start):
    async with start(FakePeer([FILE], is_static=True), **LIMIT) as engine:
        with pytest.raises(ClaimError, match="whole_file_limit"):
            await engine.locate(FileRequest(FILE.sha1))


async def test_a_small_file_comes_from_a_static_peer_by_its_sha1_alone(jumping_clock, start):
    async with start(FakePeer([FILE], is_static=True)) as engine:
        assert await read_all(engine, FileRequest(FILE.sha1)) == FILE.data


@pytest.mark.expects_warnings
async def test_what_a_liar_sent_does_not_stay_in_the_store(jumping_clock, start):
    async with start(Lying(FakePeer([FILE]), flips_bodies=True), read_timeout_s=3) as engine:
        with pytest.raises(KacheryError):
            await read_all(engine, FileRequest(FILE.sha1, FILE.binding.manifest))
        assert next(iter(engine.files)).stored.present_count() < FILE.layout.n_blocks
    async with start(FakePeer([FILE])) as engine:  # the same store: whatever it kept was right
        assert await read_all(engine, FileRequest(FILE.sha1, FILE.binding.manifest)) == FILE.data


def legacy(data, chunk=1_000_000):
    chunks = [
        {"start": i, "end": min(i + chunk, len(data)), "sha1": hashlib.sha1(data[i : i + chunk]).hexdigest()}
        for i in range(0, len(data), chunk)
    ]
    return json.dumps({"size": len(data), "sha1": hashlib.sha1(data).hexdigest(), "chunks": chunks}).encode()


async def test_a_link_with_a_legacy_manifest_is_read_by_its_chunks(jumping_clock, start):
    data = random.Random(3).randbytes(2_500_000)
    manifest = FakeFile.of(legacy(data))
    assert decode_legacy_manifest(manifest.data, manifest.sha1, Sha1.of(data)).layout.n_blocks == 3
    peer = FakePeer([FakeFile.of(data), manifest])
    async with start(peer) as engine:
        reader = (await engine.locate(FileRequest(Sha1.of(data), manifest.sha1))).open()
        assert bytes(await reader.read(1_200_000, 100)) == data[1_200_000:1_200_100]
        spans = [s[1] for what, s in peer.requests if what == "range" and s[0].manifest == manifest.sha1]
        assert [(span.start, span.stop) for span in spans] == [(1_000_000, 2_000_000)]


async def test_a_tree_is_proven_whole_and_its_files_are_linked(jumping_clock, start):
    entry = FileEntry(len(FILE.data), FILE.sha1, FILE.binding.manifest)
    json_file = FakeFile.of(encode_tree(Tree({}, {"a.bin": entry})))
    async with start(FakePeer([json_file, FILE]), require_manifest=True) as engine:
        found = (await engine.get_tree(json_file.sha1)).files["a.bin"]
        located = await engine.locate(FileRequest(found.sha1, found.manifest, found.size_bytes))
        assert located.trust is Trust.LINKED


@pytest.mark.expects_warnings
async def test_a_false_tree_is_refused(jumping_clock, start):
    tree = FakeFile.of(encode_tree(Tree({}, {"a": FileEntry(0, Sha1.of(b""), None)})))
    false = FakePeer([FakeFile(tree.data.replace(b'"a"', b'"b"'), tree.sha1, None, ())])
    async with start(false, read_timeout_s=3) as engine:
        with pytest.raises(TimedOutError):
            await engine.get_tree(tree.sha1)


async def test_what_is_not_a_tree_is_refused(jumping_clock, start):
    async with start(FakePeer([FakeFile.of(b"not json")])) as engine:
        with pytest.raises(ProofError):
            await engine.get_tree(Sha1.of(b"not json"))


async def test_a_file_of_many_megabytes_small_enough_to_prove_whole_costs_one_copy(jumping_clock, start):
    file = FakeFile.of(random.Random(5).randbytes(20_000_000))
    async with start(FakePeer([file])) as engine:
        assert (
            await read_all(engine, FileRequest(file.sha1, None, FileInfo(len(file.data), None).size_bytes)) == file.data
        )


@pytest.mark.expects_warnings
async def test_links_go_on_while_claims_disagree_and_waiting_claims_end_at_once(jumping_clock, start):
    good = Flaky(FakePeer([FILE], url="fake://good"))
    async with start(good, **LIMIT) as engine, trio.open_nursery() as nursery:
        claimed = (await engine.locate(FileRequest(FILE.sha1))).open()
        linked = (await engine.locate(FileRequest(FILE.sha1, FILE.binding.manifest))).open()
        assert (await engine.locate(FileRequest(FILE.sha1))).trust is Trust.CLAIMED  # whoever opened a link
        good.is_failing = True
        ended = []

        async def read_claimed():
            with pytest.raises(ClaimError, match="fake://liar"):
                await claimed.read(0, 10)
            ended.append(trio.current_time())

        nursery.start_soon(read_claimed)
        nursery.start_soon(linked.read, 0, 10)
        await trio.sleep(5)
        engine.add_peer(FakePeer([LIE], url="fake://liar"))
        await trio.sleep(1)
        assert ended
        good.is_failing = False
        await trio.sleep(6)
        assert not list(engine.waits)
        with pytest.raises(ClaimError):
            await claimed.read(0, 10)
        assert bytes(await linked.read(0, 10)) == FILE.data[:10]
        await engine.peers.remove("fake://liar")
        assert await read_all(engine, FileRequest(FILE.sha1)) == FILE.data  # they agree again


async def test_reads_that_wait_for_a_file_whose_claim_is_found_false_end_at_once(jumping_clock, start):
    liar = Flaky(FakePeer([LIE], url="fake://liar"))
    async with start(liar, **LIMIT) as engine, trio.open_nursery() as nursery:
        located = await engine.locate(FileRequest(FILE.sha1))
        liar.is_failing = True
        ended = []

        async def read():
            with pytest.raises(ClaimError, match="another SHA-1"):
                await located.open().read(0, 10)
            ended.append(trio.current_time())

        nursery.start_soon(read)
        await trio.sleep(1)
        located.file.retire("the whole file has another SHA-1")  # as the prover does
        await trio.sleep(0.1)
        assert ended


async def test_the_end_of_the_engine_waits_for_a_short_proof(start):
    async with start(FakePeer([FILE])) as engine:
        located = await engine.locate(FileRequest(FILE.sha1, FILE.binding.manifest))
        await located.open().read(0, len(FILE.data))
    assert located.trust is Trust.PROVEN


async def test_the_end_of_the_engine_waits_for_no_long_proof(start, monkeypatch):
    gate, real = threading.Event(), StoredFile.prove
    monkeypatch.setattr(prover, "FINISH_TIMEOUT_S", 0.01)

    def prove(self):
        gate.wait()
        return real(self)

    monkeypatch.setattr(StoredFile, "prove", prove)
    async with start(FakePeer([FILE])) as engine:
        located = await engine.locate(FileRequest(FILE.sha1, FILE.binding.manifest))
        await located.open().read(0, len(FILE.data))
        while not located.file.is_being_proven:
            await trio.testing.wait_all_tasks_blocked()
    assert located.file.is_left_open
    gate.set()


@pytest.mark.expects_warnings
async def test_who_only_told_a_size_is_not_blamed_for_a_false_manifest(jumping_clock, start):
    liar = FakePeer([LIE], url="fake://liar")
    plain = Flaky(FakePeer([FILE], url="fake://plain", is_static=True))
    async with start(liar, plain, **LIMIT) as engine:
        reader = (await engine.locate(FileRequest(FILE.sha1))).open()
        plain.is_failing = True
        with contextlib.suppress(ClaimError):
            await reader.read(0, len(FILE.data))
        await trio.sleep(10)
        assert engine.peers.find_ban(liar, FILE.sha1)
        assert not engine.peers.find_ban(plain, FILE.sha1)


@pytest.mark.expects_warnings
async def test_a_claimed_size_is_proven_before_a_read_behind_it_says_that_the_file_has_ended(jumping_clock, start):
    async with start(Lying(FakePeer([FILE]), size_bytes=1000), read_timeout_s=5) as engine:
        reader = (await engine.locate(FileRequest(FILE.sha1))).open()
        with pytest.raises(TimedOutError):
            await reader.read(2000, 10)


# -- one SHA-1, two manifests: a link means the one that it names ------------------------------------------------------


async def read_start(engine, request):
    reader = (await engine.locate(request)).open()
    try:
        return bytes(await reader.read(0, 1000))
    finally:
        reader.close()


async def test_a_proven_file_does_not_stand_for_a_link_with_another_manifest(jumping_clock, start):
    """Whoever made two files with one SHA-1 could else have a reader take one for the other."""
    async with start(FakePeer([FILE])) as engine:
        assert await read_start(engine, FileRequest(FILE.sha1)) == FILE.data[:1000]  # small: proven whole
    async with start() as engine:
        assert await read_start(engine, FileRequest(FILE.sha1, FILE.binding.manifest)) == FILE.data[:1000]
        with pytest.raises(KacheryError):
            await engine.locate(FileRequest(FILE.sha1, LIE.binding.manifest))
    async with start(FakePeer([LIE])) as engine:
        assert await read_start(engine, FileRequest(FILE.sha1, LIE.binding.manifest)) == LIE.data[:1000]


@pytest.mark.parametrize("data", [FILE.data, b"one block"], ids=["blocks", "one block"])
async def test_an_original_does_not_stand_for_a_link_with_another_manifest(jumping_clock, start, tmp_path, data):
    path = tmp_path / "original.dat"
    path.write_bytes(data)
    file = forged(Sha1.of(data), data)  # not false: its own manifest, which one of one block seldom has
    async with start() as engine:
        share(engine._locator._local._catalog, path)
        for manifest in (None, file.root.digest):
            assert await read_start(engine, FileRequest(file.sha1, manifest)) == data[:1000]
        with pytest.raises(KacheryError):
            await engine.locate(FileRequest(file.sha1, LIE.binding.manifest))
