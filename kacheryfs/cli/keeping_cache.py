"""``cache``: what is kept here, how much of the disk it takes, and giving that back."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import trio

from .. import app
from ..core.link import FileLink
from ..core.quantities import parse_size_bytes
from ..errors import InputError
from .configuration import settings_of
from .keeping_files import Listing, Targets, find_targets, list_files, tell_failures, worst_exit_code
from .terminal import format_table, put, put_json, say
from .units import format_bytes, format_count, format_share

if TYPE_CHECKING:
    from ..config import Settings
    from ..store.blocks import StoredSummary
    from ..store.cache import CacheStats


def list_files_here(args: argparse.Namespace) -> int:
    with app.store_of(settings_of(args)) as store:
        found = [
            (stored, store.pins.is_pinned(stored.sha1))
            for stored in sorted(store.files(), key=lambda stored: -stored.present_bytes)
        ]
    if args.json:
        put_json([_as_json(stored, is_pinned=is_pinned) for stored, is_pinned in found])
        return 0
    for line in format_table([_as_row(stored, is_pinned=is_pinned) for stored, is_pinned in found]):
        put(line)
    if not found:
        say("nothing is cached yet")
    return 0


def _link_of(stored: StoredSummary) -> str:
    return str(FileLink(stored.sha1, "", stored.manifest))


def _as_json(stored: StoredSummary, *, is_pinned: bool) -> dict[str, object]:
    return {
        "link": _link_of(stored),
        "sha1": stored.sha1.hex,
        "size_bytes": stored.size_bytes,
        "present_bytes": stored.present_bytes,
        "is_proven": stored.is_proven,
        "is_pinned": is_pinned,
    }


def _as_row(stored: StoredSummary, *, is_pinned: bool) -> tuple[str, ...]:
    return (
        format_bytes(stored.present_bytes),
        f"{format_share(stored.present_bytes, stored.size_bytes)} of {format_bytes(stored.size_bytes)}",
        "pinned" if is_pinned else "",
        _link_of(stored),
    )


def evict(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    n_bytes = None if args.bytes is None else _parse_bytes(args.bytes)
    if not args.targets and n_bytes is None:
        raise InputError("name a link or a path, or how much to give back (--bytes 10GB); `cache clear` drops all")
    listing = Listing()
    if args.targets:
        # The engine is closed before anything is evicted: what it has open would be in use.
        listing = trio.run(_list, settings, find_targets(args.targets, settings, args.peer))
    with app.store_of(settings) as store:
        freed_bytes = store.cache.evict(listing.sha1s if args.targets else None, n_bytes)
        is_enough = n_bytes is not None and freed_bytes >= n_bytes
        kept = set() if is_enough else store.cache.find_in_use()
        n_kept = len(kept & set(listing.sha1s) if args.targets else kept)
        _report_freed(freed_bytes, n_kept, store.cache.stats(), is_json=args.json)
        n_pinned = sum(map(store.pins.is_pinned, listing.sha1s))
    if n_pinned and not args.json:
        say(f"{format_count(n_pinned, 'pinned file')} kept; kacheryfs unpin lets go")
    tell_failures(listing.failures)
    return worst_exit_code(listing.failures)


async def _list(settings: Settings, named: Targets) -> Listing:
    async with app.open_engine(settings, named.peers) as engine:
        return await list_files(engine, named.links)


def _parse_bytes(text: str) -> int:
    try:
        return parse_size_bytes(text)
    except ValueError as exc:
        raise InputError(f"--bytes {text[:80]!r}: {exc}") from exc


def clear(args: argparse.Namespace) -> int:
    with app.store_of(settings_of(args)) as store:
        freed_bytes = store.cache.clear()
        _report_freed(freed_bytes, len(store.cache.find_in_use()), store.cache.stats(), is_json=args.json)
    return 0


def _report_freed(freed_bytes: int, n_in_use: int, stats: CacheStats, *, is_json: bool) -> None:
    """Tell also of the files that somebody has open: of these little or nothing was given back."""
    if is_json:
        put_json({"freed_bytes": freed_bytes, "n_in_use": n_in_use, **asdict(stats)})
        return
    say(f"{format_bytes(freed_bytes)} given back, {format_bytes(stats.used_bytes)} still used")
    if n_in_use:
        say(f"{format_count(n_in_use, 'file')} in use kept; files are in use up to 30 s after they were closed")


def stats(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    with app.store_of(settings) as store:
        found = store.cache.stats()
    if args.json:
        put_json({"path": str(settings.store_dir), **asdict(found)})
        return 0
    for line in format_table(_rows_of(found, settings)):
        put(line)
    return 0


def _rows_of(found: CacheStats, settings: Settings) -> list[tuple[str, str]]:
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.evicting_since_s))
    evicted = f"{format_bytes(found.evicted_bytes)} ({found.evicted_blocks:,} blocks) since {since}"
    by = "by a live mount; " if found.is_limit_held else ""
    return [
        ("store", str(settings.store_dir)),
        ("limit", f"{format_bytes(found.limit_bytes)} ({by}setting cache_size: {settings.cache_size})"),
        ("used", f"{format_bytes(found.used_bytes)}, {format_share(found.used_bytes, max(found.limit_bytes, 1))}"),
        ("pinned", format_bytes(found.pinned_bytes)),
        ("files", f"{found.n_files:,}"),
        ("disk", f"{format_bytes(found.free_bytes)} free"),
        ("evicted", evicted if found.evicted_blocks else "nothing yet"),
    ]
