"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio
from serve_fakes import Client, serving

from kacheryfs.core import wire
from kacheryfs.core.secret import Secret
from kacheryfs.serve import open_listeners
from kacheryfs.serve.access import KnownSecret
from kacheryfs.serve.counters import Counters
from kacheryfs.serve.metrics import CacheNumbers
from kacheryfs.serve.server import port_of, serve_metrics

LINE = re.compile(r'(# (HELP|TYPE) kacheryfs_[a-z_]+ .+|kacheryfs_[a-z_]+(\{[a-z]+="[^"]*"\})? [0-9]+)\Z')


@dataclass
class Cache:
    limit_bytes: int = 100
    used_bytes: int = 60
    free_bytes: int = 1000
    n_files: int = 3
    pinned_bytes: int = 20
    evicted_blocks: int = 7
    evicted_bytes: int = 1_835_008


@asynccontextmanager
async def measured(counters: Counters, cache: CacheNumbers | None = None) -> AsyncIterator[Client]:
    listeners = await open_listeners("127.0.0.1", 0)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_metrics, counters, lambda: cache, listeners))
            async with await trio.open_tcp_stream("127.0.0.1", port_of(listeners[0])) as stream:
                yield Client(stream)
            nursery.cancel_scope.cancel()


async def numbers(client: Client) -> dict[str, int]:
    got = await client.ask("/metrics")
    assert got.status == 200
    assert got.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = got.body.decode().splitlines()
    assert all(map(LINE.match, lines))
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name.removeprefix("kacheryfs_"): int(value) for name, value in pairs}


async def test_answers_bytes_and_refusals_are_counted():
    async with serving(access=KnownSecret([Secret("x" * 20)])) as server, measured(server.counters) as client:
        sha1, _ = server.source.add(b"d" * 5000)
        said = "Bearer " + "x" * 20
        asker = await server.open()
        assert (await asker.ask(wire.sha1_path(sha1), authorization=said)).status == 200
        assert (await server.ask("/nothing", authorization=said)).status == 404
        assert (await server.ask("/v1/peer")).status == 401
        with trio.fail_after(10):  # an answer is counted once it was sent: its asker may have it a moment earlier
            while not {f'requests_total{{status="{status}"}}' for status in (200, 404, 401)} <= {
                *(found := await numbers(client))
            }:
                await trio.sleep(0.01)
        assert found['requests_total{status="200"}'] == found['requests_total{status="404"}'] == 1
        assert found['refused_total{reason="secret"}'] == found['requests_total{status="401"}'] == 1
        assert found["connections_total"] == 3
        assert found["connections"] >= 1
        assert 5000 < found["sent_bytes_total"] < 8000
        assert found["cut_total"] == 0
        assert not any(name.startswith("cache") for name in found)


async def test_the_cache_is_told_where_it_can_be_read():
    async with measured(Counters(), Cache()) as client:
        found = await numbers(client)
    assert found["cache_used_bytes"] == 60
    assert found["cache_evicted_bytes_total"] == 1_835_008
    assert sum(name.startswith("cache_") for name in found) == 7


async def test_nothing_else_is_answered_there():
    async with measured(Counters()) as client:
        for target in ("/", "/v1/peer", "/metrics/x", "/sha1/" + "0" * 40):
            assert (await client.ask(target)).status == 404
        assert (await client.ask("/metrics", "POST")).status == 405
