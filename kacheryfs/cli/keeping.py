"""``pin``, ``unpin``, ``pins``: what is never evicted."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import trio

from .. import app
from ..core.link import TreeLink, parse_link
from ..errors import InputError
from .configuration import settings_of
from .informing import find_target
from .keeping_files import Link, Listing, Targets, find_targets, list_files, tell_failures, worst_exit_code
from .terminal import format_table, put, put_json, say
from .units import format_bytes

if TYPE_CHECKING:
    from ..app.keeping import Held
    from ..config import Settings
    from ..store.blocks import Store


def pin(args: argparse.Namespace) -> int:
    """Pin each target under its own link, with the files that it stands for now."""
    from ..app.keeping import Holdings

    settings = settings_of(args)
    listings = trio.run(_list_each, settings, find_targets(args.targets, settings, args.peer))
    failures = [failure for listing in listings.values() for failure in listing.failures]
    listings = {link: listing for link, listing in listings.items() if listing.wanted}  # nothing is known of the rest
    with app.store_of(settings) as store, app.open_catalog(settings) as catalog:
        for link, listing in listings.items():
            store.pins.pin(str(link), listing.sha1s)
        holdings = Holdings(store, catalog)
        held = {str(link): holdings.of(listing.sha1s) for link, listing in listings.items()}
    if args.json:
        pinned = [{"link": link, **asdict(one)} for link, one in held.items()]
        put_json({"pinned": pinned, "incomplete": [failure.as_json() for failure in failures]})
        return worst_exit_code(failures)
    for text, one in held.items():
        put(text)
        more = "" if one.n_complete == one.n_files else f"; `kacheryfs prefetch {text}` fetches the rest"
        say(f"pinned, {_words_of(one)}{more}")
    tell_failures(failures)
    return worst_exit_code(failures)


async def _list_each(settings: Settings, named: Targets) -> dict[Link, Listing]:
    async with app.open_engine(settings, named.peers) as engine:
        return {link: await list_files(engine, [link]) for link in named.links}


def _words_of(held: Held) -> str:
    return f"{held.n_complete:,} of {held.n_files:,} files complete, {format_bytes(held.present_bytes)} here"


def unpin(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    with app.store_of(settings) as store:
        links = [_find_pinned(store, text, settings) for text in args.targets]
        removed = [link for link in dict.fromkeys(links) if store.pins.unpin(link)]
    if args.json:
        put_json([{"link": link} for link in removed])
        return 0
    for link in removed:
        say(f"no longer pinned: {link}")
    return 0


def _find_pinned(store: Store, text: str, settings: Settings) -> str:
    """Return the link of the pin that a target means, however its label is written."""
    pinned = [one.link for one in store.pins.all()]
    if text in pinned:
        return text
    wanted = _key_of(find_target(text, settings).link)
    for link in pinned:
        if _key_of(parse_link(link)) == wanted:
            return link
    raise InputError(f"{text} is not pinned: `kacheryfs pins` lists what is")


def _key_of(link: Link) -> tuple[object, ...]:
    return (link.sha1, link.path) if isinstance(link, TreeLink) else (link.sha1,)


def pins(args: argparse.Namespace) -> int:
    from ..app.keeping import Holdings

    settings = settings_of(args)
    with app.store_of(settings) as store, app.open_catalog(settings) as catalog:
        found, holdings = store.pins.all(), Holdings(store, catalog)
        held = [(one, holdings.of(one.sha1s)) for one in found]
    if args.json:
        put_json([{"link": one.link, "since_s": one.since_s, **asdict(here)} for one, here in held])
        return 0
    rows = [
        (_words_of(here), time.strftime("%Y-%m-%d %H:%M", time.localtime(one.since_s)), one.link) for one, here in held
    ]
    for line in format_table(rows):
        put(line)
    if not found:
        say("nothing is pinned: `kacheryfs pin LINK` does")
    return 0
