"""Under a link with its manifest, or in a folder, a reader gets right bytes or an error, whatever a peer sends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from fakes import FakeFile, FakePeer
from hostile_content import (
    ALL,
    FILE,
    FORGERY,
    JSON,
    LINKED,
    OTHER,
    SMALL,
    SMALL_FORGERY,
    failed_reads,
    read_all,
    read_everything,
    wrong_in_store,
    wrong_reads,
)
from liar import (
    Liar,
    Lie,
    a_gzip_bomb,
    changes,
    cuts,
    drips_the_body,
    drips_the_head,
    flips_last_bit,
    hangs_up,
    in_gzip,
    is_silent,
    never_ends,
    never_ends_its_chunks,
    one_byte_longer,
    one_byte_shorter,
    says,
    says_json,
    shifted_by_one,
    unrelated_bytes,
)

from kacheryfs.core.manifest import build
from kacheryfs.core.model import Sha1
from kacheryfs.core.request import FileRequest
from kacheryfs.core.tree import Tree, encode_tree
from kacheryfs.core.wire import fan_out
from kacheryfs.errors import ProofError, TimedOutError
from kacheryfs.fetch.engine import Engine

pytestmark = pytest.mark.expects_warnings
IMPATIENT = {"read_timeout_s": 3, "lookup_timeout_s": 2}
assert FILE.root is not None
assert FORGERY.root is not None
ROOT = f"/manifest/{fan_out(FILE.root.digest)}"
GROUP = f"/manifest/{fan_out(FILE.root.groups[0])}"
HOLLOW = encode_tree(Tree({}, {}))


def bodies(lie: Lie) -> dict[str, Lie]:
    return {"/sha1/": lie, "/v1/blocks/": lie}


def parts(lie: Lie) -> dict[str, Lie]:
    return {"/manifest/": lie}


def sizes(value: str) -> dict[str, Lie]:
    return {"/v1/file/": says_json(b'{"size": %s, "manifest": null}' % value.encode())}


def manifests(value: str) -> dict[str, Lie]:
    return {"/v1/file/": says_json(b'{"size": %d, "manifest": %s}' % (len(FILE.data), value.encode()))}


EVERY_PATH = ("/v1/have", "/v1/file/", "/sha1/", "/manifest/")
WAYS: dict[str, Lie] = {
    "hangs up": hangs_up,
    "is silent": is_silent,
    "one byte a second of its head": drips_the_head,
    "one byte a second of its body": drips_the_body,
    "is endless": never_ends,
    "404": says("404 Not Found", b'{"error": "not here"}'),
    "503": says("503 Busy", b"{}", "Retry-After: 100000000"),
    "500 with a long page": says("500 x", b"<html>" * 200_000),
    "200 with nothing": says("200 OK"),
    "gzip": changes(in_gzip),
    "gzip bomb": changes(a_gzip_bomb),
}
LIES: dict[str, dict[str, Lie]] = {
    "bytes: last bit": bodies(changes(flips_last_bit)),
    "bytes: zeros": bodies(changes(unrelated_bytes)),
    "bytes: shifted": bodies(changes(shifted_by_one)),
    "body: longer": bodies(changes(one_byte_longer)),
    "body: shorter": bodies(changes(one_byte_shorter)),
    "body: cut in its head": bodies(cuts(-5)),
    "body: cut after nothing": bodies(cuts(0)),
    "body: cut within": bodies(cuts(1000)),
    "body: another range": bodies(changes(lambda it: it.with_fields(Content_Range="bytes 1-2/3"))),
    "body: another size": bodies(changes(lambda it: it.with_fields(Content_Range="bytes 0-262143/99999999"))),
    "body: a range of 2**63": bodies(changes(lambda it: it.with_fields(Content_Range=f"bytes 0-{2**63}/{2**64}"))),
    "manifest: last bit": parts(changes(flips_last_bit)),
    "manifest: longer": parts(changes(one_byte_longer)),
    "manifest: shorter": parts(changes(one_byte_shorter)),
    "manifest: the forgery's root": {ROOT: says_json(FORGERY.root.encode())},
    "manifest: the forgery's group": {GROUP: says_json(FORGERY.groups[0])},
    "manifest: cut": parts(cuts(10)),
    "folder: another": {f"/sha1/{JSON.sha1}": says_json(HOLLOW)},
    "folder: nested": {f"/sha1/{JSON.sha1}": says_json(b"[" * len(JSON.data))},
    "body: endless in chunks": bodies(never_ends_its_chunks),
    "body: 410": bodies(says("410 Gone", b'{"error": "changed"}')),
    "body: 204": bodies(says("204 No Content")),
    "peer: hangs up": {"/v1/peer": hangs_up},
    "peer: another protocol": {"/v1/peer": says_json(b'{"protocol": 2}')},
    "peer: drips": {"/v1/peer": drips_the_head},
    "peer: a bomb": {"/v1/peer": says_json(b"[" * 3_000_000)},
    "have: a number": {"/v1/have": says_json(b'{"have": 1}')},
    "have: numbers": {"/v1/have": says_json(b'{"have": [1]}')},
    "have: too many": {"/v1/have": says_json(b'{"have": [true, true]}')},
    "have: nested": {"/v1/have": says_json(b'{"have": ' + b"[" * 30_000 + b"}")},
    "have: a huge number": {"/v1/have": says_json(b'{"have": [%s]}' % (b"9" * 60_000))},
    "file: nested": {"/v1/file/": says_json(b'{"size": ' + b'{"a":' * 10_000 + b"}")},
    "file: a bomb": {"/v1/file/": says_json(b'{"size": 1, "x": "%s"}' % (b"x" * 3_000_000))},
    **{f"size: {value}": sizes(value) for value in ("-1", str(2**63), "1.5", '"12"', "1e400", "NaN", "true", "[]")},
    "size: one more": sizes(str(len(FILE.data) + 1)),
    "size: 1 PiB": sizes(str(2**50)),
    "size: 9s": sizes("9" * 5000),
    **{
        f"manifest is {value}": manifests(value)
        for value in ("1", '"x"', f'"{OTHER.sha1}"', f'"{OTHER.binding.manifest}"')
    },
    **{f"{path}: {way}": {path: lie} for path in EVERY_PATH for way, lie in WAYS.items()},
}
HARMLESS_ALONE = "peer:"
"""The rest of the protocol, or of the static layout, is answered rightly."""


@asynccontextmanager
async def among(start, *liars: Liar, with_good: bool) -> AsyncIterator[Engine]:  # type: ignore[no-untyped-def]
    """Open an engine that asks the liars and, ``with_good``, an honest peer."""
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(liar.running()) for liar in liars]
        if with_good:
            urls.append(await stack.enter_async_context(Liar(FakePeer(ALL)).running()))
        yield await stack.enter_async_context(start(*urls, **({} if with_good else IMPATIENT)))


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_beside_a_good_peer_costs_no_read(lie, start, tmp_path, jumping_clock):
    async with among(start, Liar(FakePeer(ALL), LIES[lie]), with_good=True) as engine:
        with trio.fail_after(30):
            found = await read_everything(engine)
    assert wrong_reads(found) == []
    assert failed_reads(found) == {}
    assert wrong_in_store(tmp_path / "bob" / "store") == []


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_of_the_only_peer_is_an_error_and_never_a_wrong_byte(lie, start, tmp_path, jumping_clock):
    liar = Liar(FakePeer(ALL), LIES[lie])
    async with among(start, liar, with_good=False) as engine:
        with trio.fail_after(30):
            found = await read_everything(engine)
    assert liar.n_told > 0
    assert wrong_reads(found) == []
    assert all("\n" not in str(error) and len(str(error)) < 2000 for error in failed_reads(found).values())
    assert failed_reads(found) or lie.startswith(HARMLESS_ALONE)
    assert wrong_in_store(tmp_path / "bob" / "store") == []


@pytest.mark.parametrize("with_good", [True, False])
async def test_a_coherent_forgery_is_never_read_by_a_name_that_carries_a_proof(
    with_good, start, tmp_path, jumping_clock
):
    liar = Liar(FakePeer([FORGERY, SMALL_FORGERY, FakeFile(HOLLOW, JSON.sha1, None, ())]))
    async with among(start, liar, with_good=with_good) as engine:
        with trio.fail_after(30):
            found = await read_everything(engine)
    assert wrong_reads(found) == []
    assert len(failed_reads(found)) == (0 if with_good else len(found))
    assert wrong_in_store(tmp_path / "bob" / "store") == []


PART_LIES: dict[str, dict[str, Lie]] = {
    "present, then 404": {"/v1/blocks/": says("404 Not Found")},
    "present, then other bytes": {"/v1/blocks/": changes(flips_last_bit)},
    "present, then nothing": {"/v1/blocks/": cuts(0)},
    "present, then silence": {"/v1/blocks/": is_silent},
    "a bitmap that is too long": {"/v1/presence/": says_json(b"\xff" * 100)},
    "an endless bitmap": {"/v1/presence/": never_ends},
    "an empty bitmap": {"/v1/presence/": says_json(b"")},
    "nothing of what it has": {"/v1/presence/": says_json(b"\x00")},
    "silence": {"/v1/presence/": is_silent},
    "a byte a second": {"/v1/presence/": drips_the_head},
    "gzip": {"/v1/presence/": changes(a_gzip_bomb)},
}


@pytest.mark.parametrize("with_good", [True, False])
@pytest.mark.parametrize("lie", PART_LIES)
async def test_a_lie_about_a_part_is_passed_over(lie, with_good, start, tmp_path, jumping_clock):
    liar = Liar(FakePeer(partial=[(FILE, range(4))]), PART_LIES[lie])
    async with among(start, liar, with_good=with_good) as engine:
        with trio.fail_after(30):
            if with_good:
                assert await read_all(engine, LINKED) == FILE.data
            else:
                with pytest.raises(TimedOutError):
                    await read_all(engine, LINKED)
                assert liar.n_told > 0
    assert wrong_in_store(tmp_path / "bob" / "store") == []


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_never_followed(status, start, tmp_path, jumping_clock):
    trap = Liar(FakePeer(ALL))
    async with trap.running() as url:
        everywhere = {path: says(status, b"", f"Location: {url}/sha1/{FILE.sha1}") for path in ("/sha1/", "/v1/file/")}
        async with among(start, Liar(FakePeer(ALL), everywhere), with_good=False) as engine:
            assert wrong_reads(await read_everything(engine)) == []
    assert trap.asked == []
    assert wrong_in_store(tmp_path / "bob" / "store") == []


@pytest.mark.parametrize("manifest", ["version 1", "legacy"])
async def test_a_link_whose_manifest_is_another_files_is_refused(manifest, start, jumping_clock):
    of_other = FakeFile.of(legacy_manifest(OTHER))
    liar = Liar(FakePeer([FILE, OTHER, of_other]))
    request = FileRequest(FILE.sha1, OTHER.binding.manifest if manifest == "version 1" else of_other.sha1)
    async with among(start, liar, with_good=False) as engine:
        with pytest.raises(ProofError, match=FILE.sha1.short):
            await engine.locate(request)


async def test_a_folder_that_says_another_size_than_the_manifest_is_refused(start, jumping_clock):
    async with among(start, with_good=True) as engine:
        for size_bytes in (0, 1, len(FILE.data) - 1, len(FILE.data) + 1, 2**50):
            with pytest.raises(ProofError, match="manifest says"):
                await engine.locate(FileRequest(FILE.sha1, FILE.binding.manifest, size_bytes))


async def test_no_name_of_something_reads_as_an_empty_file(start, jumping_clock):
    """An empty file has no block that could be found wrong: its SHA-1 alone tells."""
    hollow_root, _ = build(0, FILE.sha1, [])
    hollow_legacy = FakeFile.of(json.dumps({"size": 0, "sha1": str(FILE.sha1), "chunks": []}).encode())
    hollow = FakeFile(b"", FILE.sha1, hollow_root, ())
    requests = [
        FileRequest(FILE.sha1),
        FileRequest(FILE.sha1, None, 0),
        FileRequest(FILE.sha1, hollow_root.digest),
        FileRequest(FILE.sha1, hollow_legacy.sha1),
    ]
    liar = Liar(FakePeer([hollow, hollow_legacy]), {"/v1/have": says_json(b'{"have": [true]}')})
    async with among(start, liar, with_good=False) as engine:
        for request in requests:
            with pytest.raises(ProofError):
                await engine.locate(request)
        assert await read_all(engine, FileRequest(Sha1.of(b""), None, 0)) == b""


ENTRY = b'{"size": 1, "sha1": "%s"}' % str(SMALL.sha1).encode()
BOMBS = {
    "nested lists": b"[" * 200_000,
    "nested folders": b'{"dirs": {"a": ' * 100 + b"{}" + b"}}" * 100,
    "deeper nested folders": b'{"dirs": {"a": ' * 100_000 + b"{}" + b"}}" * 100_000,
    "a number of many digits": b'{"files": {"a": {"size": %s, "sha1": "%s"}}}' % (b"9" * 100_000, b"0" * 40),
    "one name twice": b'{"files": {"a": %s, "a": %s}}' % (ENTRY, ENTRY),
    "one name for both": b'{"files": {"a": %s}, "dirs": {"a": {}}}' % ENTRY,
    "a name with a slash": b'{"files": {"a/b": %s}}' % ENTRY,
    "the folder above": b'{"dirs": {"..": {}}}',
    "the folder itself": b'{"files": {".": %s}}' % ENTRY,
    "no name": b'{"files": {"": %s}}' % ENTRY,
    "NUL": b'{"files": {"a\\u0000": %s}}' % ENTRY,
    "a long name": b'{"files": {"%s": %s}}' % (b"x" * 256, ENTRY),
    "a negative size": b'{"files": {"a": {"size": -1, "sha1": "%s"}}}' % (b"0" * 40),
    "a size of 2**63": b'{"files": {"a": {"size": %d, "sha1": "%s"}}}' % (2**63, b"0" * 40),
    "a broken size": b'{"files": {"a": {"size": 1.5, "sha1": "%s"}}}' % (b"0" * 40),
    "a size in text": b'{"files": {"a": {"size": "1", "sha1": "%s"}}}' % (b"0" * 40),
    "a digest that is none": b'{"files": {"a": {"size": 1, "sha1": "../../etc/passwd"}}}',
    "infinity": b'{"files": {"a": {"size": Infinity, "sha1": "%s"}}}' % (b"0" * 40),
    "another encoding": '{"files": {}, "dirs": {}}'.encode("utf-16"),
    "a broken encoding": b'{"files": {"\xff": {}}}',
    "a list": b"[]",
    "half of one": JSON.data[: len(JSON.data) // 2],
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_folder_made_to_harm_is_refused(bomb, start, jumping_clock):
    file = FakeFile.of(BOMBS[bomb])
    async with Liar(FakePeer([file])).running() as url, start(url) as engine:
        with pytest.raises(ProofError) as caught:
            await engine.get_tree(file.sha1)
        assert "\n" not in str(caught.value)


def legacy_manifest(file: FakeFile, **changes: object) -> bytes:
    data, chunk = file.data, 500_000
    chunks = [
        {"start": at, "end": min(at + chunk, len(data)), "sha1": str(Sha1.of(data[at : at + chunk]))}
        for at in range(0, len(data), chunk)
    ]
    return json.dumps({"size": len(data), "sha1": str(file.sha1), "chunks": chunks, **changes}).encode()


def chunk(start: object, end: object) -> dict[str, object]:
    return {"start": start, "end": end, "sha1": "0" * 40}


LEGACY_BOMBS = {
    "nested": b"[" * 200_000,
    "negative": legacy_manifest(FILE, size=-1),
    "huge": legacy_manifest(FILE, size=2**63),
    "broken": legacy_manifest(FILE, size=float(len(FILE.data))),
    "no chunks": legacy_manifest(FILE, chunks=[]),
    "one chunk of everything and more": legacy_manifest(FILE, chunks=[chunk(0, 2**40)]),
    "a gap": legacy_manifest(FILE, chunks=[chunk(0, 100), chunk(200, len(FILE.data))]),
    "an overlap": legacy_manifest(FILE, chunks=[chunk(0, 500_000), chunk(400_000, len(FILE.data))]),
    "from before the beginning": legacy_manifest(FILE, chunks=[chunk(-5, len(FILE.data))]),
    "empty chunks": legacy_manifest(FILE, chunks=[chunk(0, 0)] * 100),
    "text": legacy_manifest(FILE, chunks=[chunk("0", "5")]),
    "not a list": legacy_manifest(FILE, chunks={"0": chunk(0, 5)}),
}


@pytest.mark.parametrize("bomb", LEGACY_BOMBS)
async def test_a_legacy_manifest_made_to_harm_is_refused(bomb, start, tmp_path, jumping_clock):
    manifest = FakeFile.of(LEGACY_BOMBS[bomb])
    async with Liar(FakePeer([FILE, manifest])).running() as url, start(url, **IMPATIENT) as engine:
        with pytest.raises(ProofError) as caught:
            await engine.locate(FileRequest(FILE.sha1, manifest.sha1))
        assert "\n" not in str(caught.value)
