"""``collection open`` and ``collection close``: what the mounts show below ``collections/``."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from .. import app
from ..core.opened import OpenedCollection, name_in, parse_collection_link
from ..errors import InputError, KacheryError, NotFoundError, TimedOutError, UnreachableError
from .configuration import settings_of
from .mounts import RunningMount, find_mounts
from .terminal import put, put_json, say
from .units import format_count

if TYPE_CHECKING:
    from ..config import Settings
    from ..core.collection import Collection
    from ..core.link import FileLink
    from ..mount.engine import Engine

MAX_VERSIONS = 1000
"""How far back the versions of a collection are followed: each is a small file to be fetched."""


def open_collection(args: argparse.Namespace) -> int:
    """Show the collection ``args.collection`` under ``args.name``, else under its own name; prints where."""
    settings = settings_of(args)
    link = _find_link(settings, args.collection)
    mounts = find_mounts(settings)
    peers = [peer["url"] for mount in mounts for peer in mount.status["peers"]]
    found = trio.run(_look_up, settings, peers, link, args.name)
    is_new = app.open_collection_list(settings).open(found.opened, replacing=found.replacing)
    _tell(mounts)
    _say_opened(found, is_new=is_new, n_mounts=len(mounts))
    paths = [os.path.join(mount.mountpoint, "collections", found.opened.name) for mount in mounts]
    if args.json:
        put_json({"name": found.opened.name, "link": str(link), "is_new": is_new, "paths": paths})
        return 0
    for path in paths:
        put(path)
    return 0


def close_collection(args: argparse.Namespace) -> int:
    """Show the collection ``args.name`` no more; files that are open stay so."""
    settings = settings_of(args)
    link = app.open_collection_list(settings).close(args.name)
    mounts = find_mounts(settings)
    _tell(mounts)
    if args.json:
        put_json({"name": args.name, "link": str(link), "mounts": [mount.mountpoint for mount in mounts]})
    else:
        say(f"{args.name} is closed; its link stays good: {link}")
    return 0


def _find_link(settings: Settings, text: str) -> FileLink:
    """Return the collection's link, which is given as it is or by the name of a collection of this machine."""
    from ..store.collection_names import CollectionNames

    named = CollectionNames(settings.data_dir).find(text)
    if named is None and ":" not in text:
        raise InputError(f"{text[:80]!r} is no link and no collection of this machine; see kacheryfs collection list")
    return parse_collection_link(str(named or text))


def _tell(mounts: list[RunningMount]) -> None:
    for mount in mounts:
        mount.ask("collection-reload")


@dataclass(frozen=True, slots=True)
class _Found:
    """What is to be opened, in place of what, and what is in it or why that can't be had at this moment."""

    opened: OpenedCollection
    replacing: FileLink | None
    content: Collection | KacheryError


async def _look_up(settings: Settings, peers: list[str], link: FileLink, name: str | None) -> _Found:
    """Look at a collection; ProofError where it is none, InputError where its name is taken by another."""
    async with app.open_engine(settings, peers) as engine:
        content = await _read(engine, link)
        opened = OpenedCollection(name or _own_name(link, content), link)
        current = app.open_collection_list(settings).links().get(opened.name)
        if current is not None and current.sha1 != link.sha1:
            await _check_follows(engine, opened.name, current, content)
        return _Found(opened, current, content)


async def _read(engine: Engine, link: FileLink) -> Collection | KacheryError:
    """Return the collection, or why it can't be had at this moment."""
    from ..mount.collections import read_collection

    try:
        return (await read_collection(engine, link))[0]
    except (NotFoundError, UnreachableError, TimedOutError) as exc:
        return exc


def _own_name(link: FileLink, content: Collection | KacheryError) -> str:
    """Return the collection's name, else the one in its link; raises why it can't be had where there is neither."""
    if not isinstance(content, KacheryError):
        return content.name
    if name := name_in(link):
        return name
    raise type(content)(f"{content}; so its name isn't known: give it one with --name NAME") from content


async def _check_follows(engine: Engine, name: str, current: FileLink, content: Collection | KacheryError) -> None:
    """Refuse a collection of which the one that has its name is no former version."""
    from ..core.link import FileLink
    from ..store.opened import why_taken

    for _ in range(MAX_VERSIONS):
        if isinstance(content, KacheryError):
            why = f"whether this is a new version of it can't be told ({content})"
            raise InputError(f"{why_taken(name, current)}; {why}") from content
        if not isinstance(content.previous, FileLink):
            break
        if content.previous.sha1 == current.sha1:
            return
        content = await _read(engine, content.previous)
    raise InputError(why_taken(name, current))


def _say_opened(found: _Found, *, is_new: bool, n_mounts: int) -> None:
    words = "is open" if is_new else "was open already"
    if is_new and found.replacing is not None:
        words = "is open in this version now"
    where = "" if n_mounts else "; no mount is running: start one with kacheryfs mount MOUNTPOINT"
    if isinstance(found.content, KacheryError):
        say(f"{found.opened.name} {words}, and shown once it can be had{where}: {found.content}")
        return
    n_recordings, n_sortings = len(found.content.recordings), len(found.content.sortings)
    counts = f"{format_count(n_recordings, 'recording')}, {format_count(n_sortings, 'sorting')}"
    say(f"{found.opened.name} {words}: {counts}{where}")
