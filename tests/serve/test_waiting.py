"""Requests that wait for blocks which are on their way: what they get, and what they can't cost."""

from __future__ import annotations

import pytest
import trio
from serve_fakes import BLOCK_BYTES, FakeFile, FakeSource, serving
from trio.testing import wait_all_tasks_blocked

from kacheryfs.core import wire
from kacheryfs.core.model import Binding
from kacheryfs.errors import StoreError
from kacheryfs.serve import ServeLimits

N_BLOCKS = 4
DATA = b"".join(bytes([i]) * BLOCK_BYTES for i in range(N_BLOCKS))
LAST = len(DATA) - 1


def partial(source: FakeSource, present: set[int], wanted: set[int]) -> tuple[str, FakeFile]:
    """Add a file of which some blocks are here and some on their way; return its path."""
    binding, file = source.add_partial(DATA, [block in present for block in range(N_BLOCKS)])
    assert isinstance(binding, Binding)
    file.wanted = wanted
    return wire.blocks_path(binding), file


def arrive(file: FakeFile, *blocks: int) -> None:
    assert file.present is not None
    for block in blocks:
        file.present[block] = True


async def waiting(file: FakeFile, n: int = 1) -> None:
    """Return once ``n`` requests have the file open."""
    while file.n_open < n:
        await trio.sleep(0.005)
    await wait_all_tasks_blocked()


async def test_blocks_are_sent_as_they_come():
    async with serving() as server:
        path, file = partial(server.source, {0}, {1, 2, 3})
        client = await server.open()
        await client.send(path, range=f"bytes=0-{LAST}", prefer="wait=5")
        head, body = await client.read_some(BLOCK_BYTES)
        assert head.status_code == 206
        assert body == DATA[:BLOCK_BYTES]
        arrive(file, 2, 3)
        await wait_all_tasks_blocked()
        arrive(file, 1)
        assert body + await client.read_rest() == DATA
        assert (await client.ask("/v1/peer")).status == 200
    assert file.n_open == 0


async def test_the_first_block_is_waited_for_before_the_head():
    async with serving() as server:
        path, file = partial(server.source, set(), {2})
        async with trio.open_nursery() as nursery:

            async def arrive_later() -> None:
                await waiting(file)
                arrive(file, 2)

            nursery.start_soon(arrive_later)
            start = 2 * BLOCK_BYTES + 7
            got = await server.ask(path, range=f"bytes={start}-{start + 99}", prefer="wait=5")
    assert (got.status, got.body) == (206, DATA[start : start + 100])
    assert got.headers["content-range"] == f"bytes {start}-{start + 99}/{len(DATA)}"


async def test_nobody_waits_who_did_not_ask_to_or_for_what_is_not_on_its_way():
    async with serving() as server:
        path, file = partial(server.source, {0}, {1})
        for headers in ({}, {"prefer": "wait=0"}, {"prefer": "respond-async"}):
            assert (await server.ask(path, range="bytes=0-300000", **headers)).status == 404
        assert (await server.ask(path, range=f"bytes=0-{LAST}", prefer="wait=5")).status == 404
    assert file.n_open == 0


async def test_a_block_that_does_not_come_in_time_is_not_here():
    async with serving() as server:
        path, file = partial(server.source, set(), {0})
        assert (await server.ask(path, range="bytes=0-9", prefer="wait=1")).status == 404
        assert (await server.ask(path, "HEAD", range="bytes=0-9", prefer="wait=1")).status == 404
    assert file.n_open == 0


async def test_a_block_that_is_given_up_ends_the_body_but_spoils_nothing_of_it():
    async with serving() as server:
        path, file = partial(server.source, {0, 1}, {2, 3})
        client = await server.open()
        await client.send(path, range=f"bytes=0-{LAST}", prefer="wait=5")
        _, body = await client.read_some(1)
        file.wanted.clear()
        got = body + await client.read_until_broken()
    assert got == DATA[: 2 * BLOCK_BYTES]
    assert file.n_open == 0


async def test_hundreds_that_wait_hold_no_thread_and_keep_nobody_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wire, "MAX_WAIT_S", 25)  # on a busy machine the first would be gone before the last is there
    limits = ServeLimits(
        max_waiting=200, max_waiting_per_address=200, max_connections_per_address=256, max_lookups=1, max_sends=1
    )
    async with serving(limits=limits) as server:
        path, file = partial(server.source, {0}, {1})
        clients = [await server.open() for _ in range(200)]
        for client in clients:
            await client.send(path, range="bytes=300000-300009", prefer="wait=25")
        await waiting(file, 200)
        assert (await server.ask("/v1/peer")).status == 200
        assert (await server.ask(path, range="bytes=0-9")).body == DATA[:10]
        arrive(file, 1)
        for client in clients:
            assert (await client.read()).body == DATA[300000:300010]
    assert file.n_open == 0


async def test_who_finds_no_place_to_wait_is_answered_at_once():
    for limits in (ServeLimits(max_waiting=3), ServeLimits(max_waiting_per_address=3)):
        async with serving(limits=limits) as server:
            path, file = partial(server.source, {0}, {1})
            clients = [await server.open() for _ in range(3)]
            for client in clients:
                await client.send(path, range="bytes=300000-300009", prefer="wait=5")
            await waiting(file, 3)
            assert (await server.ask(path, range="bytes=300000-300009", prefer="wait=5")).status == 404
            arrive(file, 1)
            for client in clients:
                assert (await client.read()).status == 206


async def test_who_hangs_up_waits_no_longer():
    async with serving(limits=ServeLimits(max_waiting=1)) as server:
        path, file = partial(server.source, {0}, {1})
        client = await server.open()
        await client.send(path, range="bytes=300000-300009", prefer="wait=5")
        await waiting(file)
        await client.stream.aclose()
        await file.closed.wait()
        async with trio.open_nursery() as nursery:

            async def arrive_later() -> None:
                await waiting(file)
                arrive(file, 1)

            nursery.start_soon(arrive_later)
            assert (await server.ask(path, range="bytes=300000-300009", prefer="wait=5")).status == 206


@pytest.mark.expects_warnings
async def test_a_file_that_fails_while_it_is_waited_for_ends_no_other_wait():
    async with serving() as server:
        failing_path, failing = partial(server.source, set(), {0})
        binding, other = server.source.add_partial(DATA[::-1], [False] * N_BLOCKS)
        other.wanted = {0}
        clients = [await server.open() for _ in range(2)]
        await clients[0].send(failing_path, range="bytes=0-9", prefer="wait=5")
        await clients[1].send(wire.blocks_path(binding), range="bytes=0-9", prefer="wait=5")
        await waiting(failing)
        await waiting(other)

        def fail(span: object) -> bool:
            raise StoreError("the store is gone, said the fake")

        failing.is_coming = fail  # type: ignore[method-assign]
        await failing.closed.wait()
        arrive(other, 0)
        assert (await clients[1].read()).body == DATA[::-1][:10]
    assert failing.n_open == 0


async def test_a_stopped_server_leaves_no_waiting_file_open():
    async with serving() as server:
        path, file = partial(server.source, {0}, {1})
        client = await server.open()
        await client.send(path, range="bytes=300000-300009", prefer="wait=5")
        await waiting(file)
        await server.stop()
    assert file.n_open == 0
