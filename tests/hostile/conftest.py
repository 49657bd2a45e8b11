"""Real engines over real HTTP, with stores to look into afterwards, and a clock that jumps over waiting."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio.testing

for neighbour in ("peers", "serve"):  # the servers and the raw client of those folders' tests
    sys.path.append(str(Path(__file__).parent.parent / neighbour))

from kacheryfs.fetch.engine import Engine, EngineLimits, open_engine  # noqa: E402
from kacheryfs.peers.client import HttpPeer  # noqa: E402
from kacheryfs.store.blocks import Store  # noqa: E402
from kacheryfs.store.catalog import Catalog  # noqa: E402

OpenEngine = Callable[..., AbstractAsyncContextManager[Engine]]


@pytest.fixture
def jumping_clock(monkeypatch: pytest.MonkeyPatch) -> trio.testing.MockClock:
    """A clock that jumps to the next deadline once nothing has run for 30 ms; all servers run in this process.

    Work for a thread is done at once, so that the clock can't overtake it.
    """

    async def run_sync(function, *args, limiter=None, **options):  # type: ignore[no-untyped-def]
        await trio.lowlevel.checkpoint()
        return function(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    return trio.testing.MockClock(autojump_threshold=0.03)


@pytest.fixture
def start(tmp_path: Path) -> OpenEngine:
    """Open an engine on folders of its own: ``async with start(url, url, folder="bob", read_timeout_s=…)``."""

    @asynccontextmanager
    async def opened(*urls: str, folder: str = "bob", **limits: object):  # type: ignore[no-untyped-def]
        store = Store(tmp_path / folder / "store", min_free_fraction=0)
        try:
            with Catalog(tmp_path / folder / "data") as catalog:
                async with open_engine(store, catalog, EngineLimits(**limits)) as engine:  # type: ignore[arg-type]
                    for url in urls:
                        engine.add_peer(HttpPeer(url))
                    yield engine
        finally:
            store.close()

    return opened
