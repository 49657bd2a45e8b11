"""What DESIGN.md ("Links and trust") promises of ``claimed``: no more, and no less; and what reaches a third peer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
from fakes import FakePeer
from hostile_content import (
    ALL,
    FILE,
    FORGERY,
    LINKED,
    SMALL,
    SMALL_FORGERY,
    failed_reads,
    read_all,
    read_everything,
    wrong_in_store,
    wrong_reads,
)
from liar import Liar, changes, flips_last_bit, says
from serve_fakes import Served, serving

from kacheryfs.core import wire
from kacheryfs.core.model import BLOCK_BYTES, salted
from kacheryfs.core.request import FileRequest, Trust
from kacheryfs.errors import ClaimError, KacheryError, TrustRefusedError
from kacheryfs.serve import LocalSource
from kacheryfs.store.blocks import Store
from kacheryfs.store.catalog import Catalog

pytestmark = pytest.mark.expects_warnings
BARE = FileRequest(FILE.sha1)
BARE_SMALL = FileRequest(SMALL.sha1)
TIGHT = {"whole_file_limit_bytes": BLOCK_BYTES, "read_timeout_s": 3, "lookup_timeout_s": 2}
STRANGERS_LINK = FileRequest(FILE.sha1, FORGERY.binding.manifest)


@asynccontextmanager
async def serving_folder(folder: Path) -> AsyncIterator[Served]:
    """Serve what an engine kept in ``folder``."""
    store = Store(folder / "store", min_free_fraction=0)
    try:
        with Catalog(folder / "data") as catalog:
            async with serving(LocalSource(catalog, store)) as server:
                yield server
    finally:
        store.close()


async def until(holds):
    with trio.fail_after(20):
        while not holds():
            await trio.sleep(0.1)


async def test_a_small_file_is_proven_before_the_first_byte(start, tmp_path, jumping_clock):
    async with Liar(FakePeer([SMALL_FORGERY])).running() as url, start(url, **TIGHT) as engine:
        with pytest.raises(KacheryError):
            await read_all(engine, BARE_SMALL)
    assert wrong_in_store(tmp_path / "bob" / "store") == []
    liar, honest = Liar(FakePeer([SMALL_FORGERY])), Liar(FakePeer(ALL))
    async with liar.running() as url, honest.running() as good, start(url, good) as engine:
        assert await read_all(engine, BARE_SMALL) == SMALL.data
    assert wrong_in_store(tmp_path / "bob" / "store") == []


@pytest.mark.parametrize("size", [0, 1, len(SMALL.data) - 1, len(SMALL.data) + 1, 200_000, 2**30, 2**50])
async def test_no_false_size_hides_a_small_file_that_an_honest_peer_has(size, start, tmp_path, jumping_clock):
    liar = Liar(FakePeer(ALL), {"/v1/file/": says("200 OK", b'{"size": %d, "manifest": null}' % size)})
    async with liar.running() as url, Liar(FakePeer(ALL)).running() as good, start(url, good) as engine:
        with trio.fail_after(30):
            assert await read_all(engine, BARE_SMALL) == SMALL.data
    assert wrong_in_store(tmp_path / "bob" / "store") == []


async def test_a_large_file_is_not_read_while_claims_disagree_and_the_error_names_who_said_what(start, jumping_clock):
    liar, honest = Liar(FakePeer([FORGERY])), Liar(FakePeer(ALL))
    async with liar.running() as url, honest.running() as good, start(url, good, **TIGHT) as engine:
        with pytest.raises(ClaimError) as caught:
            await engine.locate(BARE)
        words = str(caught.value)
        assert f"{url}: {len(FILE.data)} bytes, {FORGERY.binding.manifest.short}" in words
        assert f"{good}: {len(FILE.data)} bytes, {FILE.binding.manifest.short}" in words
        assert await read_all(engine, LINKED) == FILE.data


async def test_a_lie_on_which_all_agree_is_found_out_when_the_file_is_complete(start, tmp_path, jumping_clock):
    async with Liar(FakePeer([FORGERY])).running() as url, start(url, **TIGHT) as engine:
        located = await engine.locate(BARE)
        assert located.trust is Trust.CLAIMED
        reader = located.open()
        with suppress(ClaimError):  # it may be found out before the read is answered
            await reader.read(0, len(FILE.data))
        await until(lambda: engine.peers.find_ban(engine.peers.find(url), FILE.sha1))
        assert located.present_bytes() == 0
        with pytest.raises(ClaimError):
            await reader.read(0, 1)
        reader.close()
        with pytest.raises(KacheryError):
            await engine.locate(BARE)  # who made the claim is not asked any more
    assert wrong_in_store(tmp_path / "bob" / "store") == []
    async with Liar(FakePeer(ALL)).running() as good, start(good, **TIGHT) as engine:
        assert await read_all(engine, BARE) == FILE.data


async def test_a_strangers_link_spoils_nobody_elses_name(start, tmp_path, jumping_clock):
    liar, honest = Liar(FakePeer([FORGERY])), Liar(FakePeer(ALL))
    async with liar.running() as url, honest.running() as good, start(url, good) as engine:
        stranger = (await engine.locate(STRANGERS_LINK)).open()
        await stranger.read(0, BLOCK_BYTES)  # the link's own lie, under its own name
        assert await read_all(engine, LINKED) == FILE.data
        assert await read_all(engine, BARE) == FILE.data
        stranger.close()


async def test_a_strangers_link_that_was_read_whole_leaves_nothing(start, tmp_path, jumping_clock):
    async with Liar(FakePeer([FORGERY])).running() as url, start(url, **TIGHT) as engine:
        located = await engine.locate(STRANGERS_LINK)
        reader = located.open()
        with suppress(ClaimError):
            await reader.read(0, len(FILE.data))
        await until(lambda: not located.present_bytes())
        reader.close()
    assert wrong_in_store(tmp_path / "bob" / "store") == []


async def test_require_manifest_refuses_what_only_peers_claim(start, jumping_clock):
    async with Liar(FakePeer(ALL)).running() as url, start(url, require_manifest=True) as engine:
        for request in (BARE, BARE_SMALL):
            with pytest.raises(TrustRefusedError):
                await engine.locate(request)
        assert await read_all(engine, LINKED) == FILE.data


async def test_a_peer_repeats_no_claims(start, tmp_path, jumping_clock):
    """While the lie is not found out: by (H, M) for who asks for that very M, and by H not at all."""
    async with Liar(FakePeer([FORGERY])).running() as url, start(url, **TIGHT) as engine:
        reader = (await engine.locate(BARE)).open()
        await reader.read(0, BLOCK_BYTES)
        reader.close()
    async with serving_folder(tmp_path / "bob") as server:
        assert (await server.ask(wire.file_path(FILE.sha1))).status == 404
        assert (await server.ask(wire.sha1_path(FILE.sha1))).status == 404
        assert (await server.ask(wire.blocks_path(FILE.binding), range="bytes=0-9")).status == 404
        assert (await server.ask(wire.presence_path(FILE.binding, 0))).status == 404
        under_its_name = await server.ask(wire.blocks_path(FORGERY.binding), range="bytes=0-9")
        assert (under_its_name.status, under_its_name.body) == (206, FORGERY.data[:10])
        async with start(f"http://127.0.0.1:{server.port}", folder="carol", **TIGHT) as carol:
            found = await read_everything(carol)
            assert wrong_reads(found) == []
            with pytest.raises(KacheryError):
                await read_all(carol, BARE)
    assert wrong_in_store(tmp_path / "carol" / "store") == []


@pytest.mark.parametrize("with_good", [True, False])
async def test_what_was_read_among_liars_is_right_at_a_third_peer(with_good, start, tmp_path, jumping_clock):
    lying = Liar(FakePeer(ALL), {path: changes(flips_last_bit) for path in ("/sha1/", "/manifest/")})
    forging = Liar(FakePeer([FORGERY, SMALL_FORGERY]))
    async with AsyncExitStack() as stack:
        liars = [lying, forging, *([Liar(FakePeer(ALL))] if with_good else [])]
        urls = [await stack.enter_async_context(liar.running()) for liar in liars]
        engine = await stack.enter_async_context(start(*urls, **({} if with_good else TIGHT)))
        assert wrong_reads(await read_everything(engine)) == []
    assert wrong_in_store(tmp_path / "bob" / "store") == []
    async with serving_folder(tmp_path / "bob") as server:
        have = wire.parse_have((await server.ask(wire.have_path([salted(FILE.sha1)]))).body, 1)
        assert have == [with_good]
        async with start(f"http://127.0.0.1:{server.port}", folder="carol", **TIGHT) as carol:
            found = await read_everything(carol)
    assert wrong_reads(found) == []
    assert bool(failed_reads(found)) != with_good
    assert wrong_in_store(tmp_path / "carol" / "store") == []
