"""An engine over a real store, with fake peers and a clock that jumps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio.testing

from kacheryfs.fetch.engine import Engine, EngineLimits, open_engine
from kacheryfs.peers.peer import Peer
from kacheryfs.store.blocks import Store
from kacheryfs.store.catalog import Catalog

OpenEngine = Callable[..., AbstractAsyncContextManager[Engine]]


@pytest.fixture
def jumping_clock() -> trio.testing.MockClock:
    """A clock that jumps to the next deadline once nothing has run for 20 ms: threads at work are not overtaken."""
    return trio.testing.MockClock(autojump_threshold=0.02)


@pytest.fixture
def start(tmp_path: Path) -> OpenEngine:
    """Open an engine on a store of its own: ``async with start(peer, peer, read_timeout_s=…) as engine``."""

    @asynccontextmanager
    async def opened(*peers: Peer, folder: str = "bob", **limits: object):  # type: ignore[no-untyped-def]
        store = Store(tmp_path / folder / "store")
        catalog = Catalog(tmp_path / folder / "data")
        async with open_engine(store, catalog, EngineLimits(**limits)) as engine:  # type: ignore[arg-type]
            for peer in peers:
                engine.add_peer(peer)
            yield engine

    return opened
