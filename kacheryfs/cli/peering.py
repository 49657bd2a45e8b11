"""``peer``: the peers that are kept, and those of the running mounts."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .. import app
from ..errors import InputError
from .configuration import settings_of
from .mounts import find_mounts
from .terminal import format_table, put, put_json, say
from .units import format_ms

if TYPE_CHECKING:
    from ..config import Settings


def peer(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    if args.action == "list":
        return _list(settings, is_json=args.json)
    if not args.url:
        raise InputError(f"name the peer: kacheryfs peer {args.action} http://HOST:PORT")
    change = _add if args.action == "add" else _remove
    done = change(settings, args.url)
    if args.json:
        put_json(done)
    return 0


def _add(settings: Settings, url: str) -> dict[str, Any]:
    is_new = app.open_peer_list(settings).add(url)
    mounts = find_mounts(settings)
    for mount in mounts:
        mount.ask("peer-add", url=url)
    say(f"{url} {'is kept' if is_new else 'was kept already'}{_of_mounts(len(mounts), 'and asked by')}")
    return {"url": url, "is_new": is_new, "mounts": [mount.mountpoint for mount in mounts]}


def _remove(settings: Settings, url: str) -> dict[str, Any]:
    was_kept = app.open_peer_list(settings).remove(url)
    mounts = [mount for mount in find_mounts(settings) if mount.ask("peer-remove", url=url)["was_there"]]
    if not was_kept and not mounts:
        raise InputError(f"{url} is no peer of ours; kacheryfs peer list shows them")
    kept = "is no longer kept" if was_kept else "was not kept"
    say(f"{url} {kept}{_of_mounts(len(mounts), 'and no longer asked by')}")
    return {"url": url, "was_kept": was_kept, "mounts": [mount.mountpoint for mount in mounts]}


def _of_mounts(n_mounts: int, words: str) -> str:
    if not n_mounts:
        return ""
    return f", {words} {'the running mount' if n_mounts == 1 else f'{n_mounts} running mounts'}"


def _list(settings: Settings, *, is_json: bool) -> int:
    kept = app.open_peer_list(settings).urls()
    states = {peer["url"]: peer for mount in find_mounts(settings) for peer in mount.status["peers"]}
    rows = [{"url": url, "is_kept": url in kept, "state": states.get(url)} for url in dict.fromkeys([*kept, *states])]
    if is_json:
        put_json(rows)
        return 0
    for line in format_table([_row(row) for row in rows]):
        put(line)
    if not rows:
        say("no peer is configured: kacheryfs peer add URL")
    return 0


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    state = row["state"]
    kept = "kept" if row["is_kept"] else "this mount only"
    if state is None:
        return row["url"], kept, "-", "no mount asks it now"
    return row["url"], kept, format_ms(state["round_trip_s"]), state["says"]
