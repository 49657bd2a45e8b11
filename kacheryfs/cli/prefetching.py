"""``prefetch``: files, parts of them, or some seconds of recordings, brought into the store before they are read."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import trio

from .. import app
from ..errors import InputError
from .configuration import settings_of
from .keeping_files import Listing, Targets, find_targets, list_files, tell_failures, worst_exit_code
from .prefetching_files import Bounds, Fetched, Prefetcher
from .prefetching_time import Cut, Cutter, Times, parse_times, read_seconds
from .progress import Progress
from .reading import parse_bounds
from .servers import find_own_server
from .terminal import put_json, say
from .units import format_bytes, format_count

if TYPE_CHECKING:
    from ..config import Settings


def prefetch(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    if args.range is not None and args.time is not None:
        raise InputError("--range and --time: give one of them")
    bounds = parse_bounds(args.range or ":")
    times = None if args.time is None else parse_times(args.time)
    named = find_targets(args.targets, settings, args.peer)
    with Progress("prefetch") as progress:
        found = Fetched(progress)
        cut = trio.run(_prefetch, settings, named, bounds, times, found)
    if times is not None:
        read_seconds(cut.unflat, times, settings, found.failures)
    _report(found, is_json=args.json)
    return worst_exit_code(found.failures)


async def _prefetch(settings: Settings, named: Targets, bounds: Bounds, times: Times | None, found: Fetched) -> Cut:
    is_served = find_own_server(settings) is not None
    async with app.open_parts(settings, named.peers, is_served=is_served) as parts:
        engine, found.limit_bytes = parts.engine, parts.store.cache.limit_bytes
        listing = await list_files(engine, named.links)
        found.failures += listing.failures
        if bounds != (0, None):
            _require_one_file(listing)
        cut = Cut() if times is None else await Cutter(engine, listing, times, found.failures).cut()
        await Prefetcher(engine, found, bounds=bounds).fetch(listing, cut.spans)
    return cut


def _require_one_file(listing: Listing) -> None:
    n_files = sum(not wanted.is_folder for wanted in listing.wanted.values())
    if n_files > 1:
        raise InputError(f"--range means bytes of one file, and these are {n_files:,}; --time cuts recordings")


def _report(found: Fetched, *, is_json: bool) -> None:
    if is_json:
        put_json(
            {
                "files": found.n_files,
                "bytes": found.bytes_here,
                "fetched_bytes": found.new_bytes,
                "incomplete": [failure.as_json() for failure in found.failures],
            }
        )
        return
    tell_failures(found.failures)
    here = format_bytes(found.bytes_here - found.new_bytes)
    say(f"{format_count(found.n_files, 'file')}: {format_bytes(found.new_bytes)} fetched, {here} here already")
