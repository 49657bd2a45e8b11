"""Builds everything out of the settings: the only place where the parts of the house meet.

Imports stand where they are needed: `kacheryfs shares` doesn't pay for the engine, nor anybody but `mount` for pyfuse3.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from .config import Settings
from .folders import make_private_folder

if TYPE_CHECKING:
    from .fetch.engine import Engine
    from .peers.discovery import PeerList
    from .serve.local import LocalSource
    from .store.blocks import Store
    from .store.catalog import Catalog


def open_catalog(settings: Settings) -> Catalog:
    """Open what this machine offers; CatalogError."""
    from .store.catalog import Catalog

    return Catalog(settings.data_dir)


def open_store(settings: Settings) -> Store:
    """Open the folder of verified blocks; StoreError."""
    from .store.blocks import Store

    return Store(settings.store_dir, min_free_fraction=settings.min_free_fraction)


def open_peer_list(settings: Settings) -> PeerList:
    """Return the peers that the user keeps."""
    from .peers.discovery import PeerList

    return PeerList(settings.data_dir)


def open_source(settings: Settings) -> LocalSource:
    """Return what this machine serves."""
    from .serve.local import LocalSource

    return LocalSource(open_catalog(settings), open_store(settings))


@asynccontextmanager
async def open_engine(settings: Settings, extra_peers: Sequence[str] = ()) -> AsyncIterator[Engine]:
    """Run an engine that asks the kept peers, and ``extra_peers`` (URLs) this time."""
    from .fetch.engine import EngineLimits, open_engine
    from .peers.client import HttpPeer

    peers = [HttpPeer(url) for url in [*open_peer_list(settings).urls(), *extra_peers]]
    limits = EngineLimits(
        read_timeout_s=settings.read_timeout_s,
        lookup_timeout_s=settings.lookup_timeout_s,
        whole_file_limit_bytes=settings.whole_file_limit_bytes,
        readahead_bytes=settings.readahead_bytes,
        require_manifest=settings.require_manifest,
    )
    with open_catalog(settings) as catalog:
        async with open_engine(open_store(settings), catalog, limits) as engine:
            for peer in peers:
                engine.add_peer(peer)
            yield engine


def make_runtime_folder(settings: Settings) -> None:
    """Make the folder of sockets and state files, ours alone; ConfigError."""
    make_private_folder(settings.runtime_dir)
