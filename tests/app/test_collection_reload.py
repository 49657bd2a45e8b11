"""A running mount that is told to read the list of opened collections again."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, cast

import pytest
import trio

from kacheryfs.app.handlers import Handlers, Identity
from kacheryfs.core.link import FileLink
from kacheryfs.core.model import Sha1
from kacheryfs.errors import ConfigError
from kacheryfs.mount.collections import OpenedCollections

Links = Mapping[str, FileLink]
OLD: Links = {"locust": FileLink(Sha1.of(b"old"))}
NEW: Links = {"locust": FileLink(Sha1.of(b"new")), "tetrodes": FileLink(Sha1.of(b"tetrodes"))}


class _Vfs:
    def __init__(self) -> None:
        self.collections = OpenedCollections()


class _SlowList:
    """A list whose first reading takes until somebody else has changed the file."""

    def __init__(self) -> None:
        self.changed = threading.Event()
        self.n_readings = 0

    def links(self) -> Links:
        self.n_readings += 1
        if self.n_readings > 1:
            return NEW
        self.changed.wait(30)
        return OLD


def handlers_of(vfs: _Vfs, read: Any) -> Any:
    nothing = cast("Any", None)
    identity = Identity("/mnt", None, False, 300)
    handlers = Handlers(
        identity, nothing, cast("Any", vfs), nothing, make_peer=nothing, read_collections=read, unmount=nothing
    )
    return handlers.table()["collection-reload"]


async def test_a_reload_shows_what_is_in_the_list_and_tells_it() -> None:
    vfs = _Vfs()
    told = await handlers_of(vfs, lambda: NEW)({})
    assert told == {name: str(link) for name, link in NEW.items()}
    assert vfs.collections.links == NEW


async def test_what_was_read_last_is_what_is_shown(nursery: trio.Nursery) -> None:
    vfs, kept = _Vfs(), _SlowList()
    reload = handlers_of(vfs, kept.links)
    async with trio.open_nursery() as both:
        both.start_soon(reload, {})
        both.start_soon(reload, {})
        await trio.lowlevel.checkpoint()
        kept.changed.set()
    assert vfs.collections.links == NEW


async def test_a_damaged_list_leaves_what_is_shown() -> None:
    def fail() -> Links:
        raise ConfigError("damaged")

    vfs = _Vfs()
    vfs.collections.replace(OLD)
    with pytest.raises(ConfigError):
        await handlers_of(vfs, fail)({})
    assert vfs.collections.links == OLD
