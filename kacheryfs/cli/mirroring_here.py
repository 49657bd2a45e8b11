"""``mirror`` without a target: files complete and pinned on this machine, and with ``--watch`` served and kept so."""

from __future__ import annotations

import argparse
import signal
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import trio

from .. import app
from ..core.quantities import parse_timeout_s
from ..daemon import tell_service_manager
from ..errors import InputError, KacheryError
from .configuration import settings_of
from .entry import sole_cause
from .keeping_files import MAX_TOLD, Listing, Targets, find_targets, list_files, tell_failures, worst_exit_code
from .prefetching_files import Fetched, Prefetcher
from .progress import Progress
from .servers import find_own_server
from .sharing import say_who_serves
from .terminal import put, put_json, say
from .units import format_bytes, format_count

if TYPE_CHECKING:
    from ..config import Settings
    from ..core.model import Sha1
    from ..store.pins import Pins

_EVERY = "60 s"
_SERVER_OF = "kacheryfs mirror --watch"
"""Beside what the server runs, in the words of `kacheryfs status`."""


def mirror_here(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    named = find_targets(args.targets, settings, args.peer)
    if args.watch:
        trio.run(_watch, settings, named, _parse_every(args))
        return 0
    with Progress("mirror") as progress:
        kept = trio.run(partial(_complete, settings, named, progress, is_served=find_own_server(settings) is not None))
    _report(kept, named, is_json=args.json)
    if not args.json:
        say_who_serves(settings)
    return worst_exit_code(kept.fetched.failures)


def _parse_every(args: argparse.Namespace) -> float:
    if args.json:
        raise InputError("--json tells what one pass did: leave out --watch")
    try:
        return parse_timeout_s(_EVERY if args.every is None else args.every)
    except ValueError as exc:
        raise InputError(f"--every {args.every[:80]!r}: {exc}") from exc


@dataclass(slots=True)
class Kept:
    """What one pass did, and all files that it was about."""

    fetched: Fetched
    sha1s: set[Sha1] = field(default_factory=set)

    @property
    def words(self) -> list[str]:
        """What isn't complete, and why."""
        return [f"not complete: {failure.name}: {failure.error}" for failure in self.fetched.failures]


async def _complete(settings: Settings, named: Targets, progress: Progress, *, is_served: bool) -> Kept:
    """Pin everything, then fetch what is missing of it: pinned first, so that the cache's bound drops nothing of it."""
    kept, whole, new_links = Kept(Fetched(progress)), Listing(), list[str]()
    async with app.open_parts(settings, named.peers, is_served=is_served) as parts:
        kept.fetched.limit_bytes = parts.store.cache.limit_bytes
        for link in named.links:
            listing = await list_files(parts.engine, [link])
            kept.fetched.failures += listing.failures
            if listing.wanted:
                is_new = await trio.to_thread.run_sync(_pin, parts.store.pins, str(link), listing.sha1s)
                new_links += [str(link)] if is_new else []
            whole.wanted.update(listing.wanted)
        kept.sha1s = whole.sha1s
        try:
            await Prefetcher(parts.engine, kept.fetched).fetch(whole, {})
        finally:
            if kept.fetched.is_too_much:  # pins that can never be filled would only block the cache
                for text in new_links:
                    parts.store.pins.unpin(text)
    return kept


def _pin(pins: Pins, link: str, sha1s: set[Sha1]) -> bool:
    """Pin a link, unless it is pinned just so already; return whether it wasn't pinned at all."""
    before = [pin.sha1s for pin in pins.all() if pin.link == link]
    if before != [sha1s]:
        pins.pin(link, sha1s)
    return not before


def _report(kept: Kept, named: Targets, *, is_json: bool) -> None:
    fetched = kept.fetched
    if is_json:
        put_json(
            {
                "links": [str(link) for link in named.links],
                "files": fetched.n_files,
                "bytes": fetched.bytes_here,
                "fetched_bytes": fetched.new_bytes,
                "incomplete": [failure.as_json() for failure in fetched.failures],
            }
        )
        return
    for link in named.links:
        put(str(link))
    tell_failures(fetched.failures)
    say(_summary(fetched))


def _summary(fetched: Fetched) -> str:
    here = f"{format_count(fetched.n_files, 'file')} complete and pinned, {format_bytes(fetched.bytes_here)}"
    return f"{here} ({format_bytes(fetched.new_bytes)} fetched now)"


async def _watch(settings: Settings, named: Targets, every_s: float) -> None:
    """Serve, and keep everything complete, until SIGINT or SIGTERM; prints the server's URL first."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            await _Watch(settings, named, nursery).start(every_s)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


class _Watch:
    """Looks every so often whether all is here and served, asking nobody; and mends what isn't.

    What fails (the store is full, its disk is gone for a minute, the port is taken) is said once, and tried again.
    """

    def __init__(self, settings: Settings, named: Targets, nursery: trio.Nursery) -> None:
        self._settings = settings
        self._named = named
        self._nursery = nursery
        self._is_serving = False
        self._sha1s: set[Sha1] = set()
        self._told: list[str] = []

    async def start(self, every_s: float) -> None:
        """Serve, and go on in the nursery; what goes wrong with serving at first is raised."""
        app.make_runtime_folder(self._settings)
        await self._serve()
        tell_service_manager()
        self._nursery.start_soon(self._run, every_s)

    async def _serve(self) -> None:
        """Start a server that ends with us, unless one runs here; prints its URL."""
        from ..app.serving import run_server

        if self._is_serving:
            return
        other = find_own_server(self._settings)
        if other is None:
            url: str = await self._nursery.start(run_server, self._settings, _SERVER_OF)
            self._is_serving = True
            put(url)
        elif not self._sha1s and not self._told:
            put(other.url)
            say(f"served by process {other.pid}")

    async def _run(self, every_s: float) -> None:
        while True:
            try:
                await self._look()
            except Exception as exc:
                cause = sole_cause(exc)
                if not isinstance(cause, KacheryError):
                    raise
                self._tell([str(cause)])
            await trio.sleep(every_s)

    async def _look(self) -> None:
        if not self._sha1s or not await trio.to_thread.run_sync(_is_complete, self._settings, self._sha1s):
            with Progress("mirror") as progress:
                kept = await _complete(self._settings, self._named, progress, is_served=True)
            if self._tell(kept.words) or not kept.words:
                say(_summary(kept.fetched))
            self._sha1s = set() if kept.words else kept.sha1s  # links that can't be followed yet are followed again
        await self._serve()

    def _tell(self, words: list[str]) -> bool:
        """Say what is wrong, where that is news; return whether it was."""
        is_news, self._told = words != self._told, words
        for line in words[:MAX_TOLD] if is_news else []:
            say(line)
        return is_news


def _is_complete(settings: Settings, sha1s: set[Sha1]) -> bool:
    from ..app.keeping import Holdings

    with app.store_of(settings) as store, app.open_catalog(settings) as catalog:
        held = Holdings(store, catalog).of(sha1s)
    return held.n_complete == held.n_files
