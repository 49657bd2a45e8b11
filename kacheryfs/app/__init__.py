"""Builds everything out of the settings: the only place where the parts of the house meet.

Imports stand where they are needed: `kacheryfs shares` doesn't pay for the engine, nor anybody but `mount` for pyfuse3.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..config import Settings
from ..folders import make_private_folder

if TYPE_CHECKING:
    from ..fetch.engine import Engine, EngineLimits
    from ..peers.discovery import PeerList
    from ..peers.kept_secrets import KeptSecrets
    from ..peers.peer import Peer
    from ..serve.local import LocalSource
    from ..store.blocks import Store
    from ..store.catalog import Catalog
    from ..store.opened import CollectionList


def open_catalog(settings: Settings) -> Catalog:
    """Open what this machine offers; CatalogError."""
    from ..store.catalog import Catalog

    return Catalog(settings.data_dir)


def open_store(settings: Settings) -> Store:
    """Open the folder of verified blocks; StoreError."""
    from ..store.blocks import Store

    return Store(settings.store_dir, min_free_fraction=settings.min_free_fraction, cache_size=settings.cache_size)


@contextmanager
def store_of(settings: Settings) -> Iterator[Store]:
    """Open the store for the length of the block; StoreError."""
    store = open_store(settings)
    try:
        yield store
    finally:
        store.close()


def open_peer_list(settings: Settings) -> PeerList:
    """Return the peers that the user keeps."""
    from ..peers.discovery import PeerList

    return PeerList(settings.data_dir)


def open_collection_list(settings: Settings) -> CollectionList:
    """Return the collections that the mount shows."""
    from ..store.opened import CollectionList

    return CollectionList(settings.data_dir)


def open_source(settings: Settings) -> LocalSource:
    """Return what this machine serves."""
    from ..serve.local import LocalSource

    return LocalSource(open_catalog(settings), open_store(settings))


def our_peer_id(settings: Settings) -> bytes:
    """Return who we are to other peers; ConfigError."""
    from ..peers.identity import keep_peer_id

    return keep_peer_id(settings.data_dir)


@dataclass(frozen=True, slots=True)
class Parts:
    """A running engine, with what it works on."""

    catalog: Catalog
    store: Store
    engine: Engine


@asynccontextmanager
async def open_parts(
    settings: Settings, extra_peers: Sequence[str] = (), *, is_served: bool = False
) -> AsyncIterator[Parts]:
    """Run an engine that asks the kept peers, and ``extra_peers`` (URLs) this time.

    ``is_served``: somebody answers peers from its store meanwhile, so that it may be relied on by those who read along.
    """
    from ..fetch.engine import open_engine

    peers = make_peers(settings, extra_peers)
    with open_catalog(settings) as catalog:
        store = open_store(settings)
        try:
            async with open_engine(store, catalog, engine_limits(settings, is_served=is_served)) as engine:
                for peer in peers:
                    engine.add_peer(peer)
                yield Parts(catalog, store, engine)
        finally:
            store.close()


@asynccontextmanager
async def open_engine(settings: Settings, extra_peers: Sequence[str] = ()) -> AsyncIterator[Engine]:
    """Run an engine alone, for reading without a mount."""
    async with open_parts(settings, extra_peers) as parts:
        yield parts.engine


def engine_limits(settings: Settings, *, is_served: bool = False) -> EngineLimits:
    """Return the settings that the engine obeys."""
    from ..fetch.engine import EngineLimits

    return EngineLimits(
        read_timeout_s=settings.read_timeout_s,
        lookup_timeout_s=settings.lookup_timeout_s,
        whole_file_limit_bytes=settings.whole_file_limit_bytes,
        readahead_bytes=settings.readahead_bytes,
        require_manifest=settings.require_manifest,
        download_bytes_per_s=settings.download_limit.bytes_per_s,
        is_offline=settings.offline,
        peer_id=our_peer_id(settings) if is_served else None,
    )


def peer_urls(settings: Settings, extra_peers: Sequence[str] = ()) -> list[str]:
    """Return the peers that are asked, each once, however its URL is written."""
    from ..peers.address import parse_peer_url

    return list(dict.fromkeys(str(parse_peer_url(url)) for url in [*open_peer_list(settings).urls(), *extra_peers]))


def make_peers(settings: Settings, extra_peers: Sequence[str] = ()) -> list[Peer]:
    """Return the peers that are asked, not connected yet."""
    return [make_peer(settings, url) for url in peer_urls(settings, extra_peers)]


def make_peer(settings: Settings, url: str) -> Peer:
    """Return the peer at ``url``, not connected yet; InputError for what is no URL of one."""
    from ..peers.client import HttpPeer

    return HttpPeer(url, find_secret=partial(open_secrets(settings).find, url))


def open_secrets(settings: Settings) -> KeptSecrets:
    """Return the secrets that are said to peers."""
    from ..peers.kept_secrets import KeptSecrets

    return KeptSecrets(settings.data_dir)


def make_runtime_folder(settings: Settings) -> None:
    """Make the folder of sockets and state files, ours alone; ConfigError."""
    make_private_folder(settings.runtime_dir)


def look_at_store(settings: Settings) -> dict[str, Any]:
    """Return what the store holds, as JSON."""
    from .report import report_cache, report_store

    with store_of(settings) as store:
        return {**report_store(store), "cache": report_cache(store)}


def probe_peers(settings: Settings) -> list[dict[str, Any]]:
    """Ask the kept peers for a sign of life, all at once, but nobody offline; returns what each said, as JSON."""
    import trio

    from .probing import probe, spare

    if settings.offline:
        return spare(open_peer_list(settings).urls())
    return trio.run(probe, make_peers(settings), settings.lookup_timeout_s)
