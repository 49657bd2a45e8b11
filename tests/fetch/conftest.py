"""An engine over a real store, with fake peers, a clock that jumps, and threads that run at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path

import pytest
import trio.testing

from kacheryfs.fetch.engine import Engine, EngineLimits, open_engine
from kacheryfs.peers.peer import Peer
from kacheryfs.store.blocks import Store
from kacheryfs.store.catalog import Catalog

OpenEngine = Callable[..., AbstractAsyncContextManager[Engine]]


@pytest.fixture
def jumping_clock(monkeypatch: pytest.MonkeyPatch) -> trio.testing.MockClock:
    """A clock that jumps to the next deadline as soon as every task waits.

    A test must name it among its arguments, or pytest-trio runs it in real time. Work for a thread is done at once, so
    that the clock can't overtake it and each run is like the last.
    """

    async def run_sync(function, *args, limiter=None, **options):  # type: ignore[no-untyped-def]
        await trio.lowlevel.checkpoint()
        return function(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.fixture
def start(tmp_path: Path) -> OpenEngine:
    """Open an engine on a store of its own: ``async with start(peer, peer, read_timeout_s=…) as engine``."""

    @asynccontextmanager
    async def opened(*peers: Peer, folder: str = "bob", min_free_fraction: float = 0.0, **limits: object):  # type: ignore[no-untyped-def]
        store = Store(tmp_path / folder / "store", min_free_fraction=min_free_fraction)
        catalog = Catalog(tmp_path / folder / "data")
        with closing(store), closing(catalog):
            async with open_engine(store, catalog, EngineLimits(**limits)) as engine:  # type: ignore[arg-type]
                for peer in peers:
                    engine.add_peer(peer)
                yield engine

    return opened
