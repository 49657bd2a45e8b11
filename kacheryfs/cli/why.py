"""``why``: what a read waits for, who was asked, what each said or does, and when it gives up."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..core.link import mount_path, parse_link
from ..errors import InputError
from .configuration import settings_of
from .mounts import RunningMount, choose_mount, find_mounts, locate_path
from .terminal import format_table, name_of, put, put_json
from .units import format_bytes, format_count, format_ms, format_rate, format_seconds, format_share

if TYPE_CHECKING:
    from ..config import Settings

Json = dict[str, Any]

MAX_WAITS = 10
MAX_FILES = 20
"""Shown to people; --json has more."""
_STATES = {
    "missing": "was fetched, and is gone again: it will be asked for anew",
    "pending": "waits for its turn: other reads keep its peers busy",
    "running": "is being fetched",
    "stalled": "nobody can be asked now; peers that rest are tried again, and so is everybody every few seconds",
}


def why(args: argparse.Namespace) -> int:
    mount, rest = _locate(args, settings_of(args))
    found: Json = mount.ask("why", path=rest)
    if args.json:
        put_json(found)
        return 0
    for line in tell(found):
        put(line)
    return 0


def _locate(args: argparse.Namespace, settings: Settings) -> tuple[RunningMount, str]:
    """Return the mount that is meant, and where the file stands below it."""
    if args.target.startswith(("sha1:", "sha1dir:")):
        path = mount_path(parse_link(args.target))  # a link that is wrong is said to be so, whether a mount runs or not
        return choose_mount(find_mounts(settings), args.mount), path
    mounts = find_mounts(settings)
    found = locate_path(args.target, mounts)
    if found is None:
        choose_mount(mounts, args.mount)  # where none runs, that is what to say
        raise InputError(f"{args.target} is not below a running mount; kacheryfs status lists the mounts")
    return found


def tell(found: Json) -> Iterator[str]:
    """Yield the lines for people, the most urgent first."""
    yield from _tell_lookups(found)
    yield from _tell_waits(found)
    if not found["n_waits"] and not found["lookups"]:
        yield "no read waits for it" if found["sha1"] else "no read waits"
    for file in found["files"][:MAX_FILES]:
        yield _file_words(file)
    if len(found["files"]) > MAX_FILES:
        yield f"… {len(found['files']) - MAX_FILES:,} more open files"
    if not found["files"] and not found["lookups"] and found["sha1"]:
        yield f"sha1 {found['sha1'][:8]}… is not open here; kacheryfs info PATH asks the peers for it"
    if found["failure"]:
        yield f"failed {format_seconds(found['failed_s'])} ago: {found['failure']}"
    yield from _tell_peers(found)


def _tell_waits(found: Json) -> Iterator[str]:
    told: set[tuple[str, int]] = set()
    for wait in found["waits"][:MAX_WAITS]:
        span = f"{name_of(wait)} bytes [{wait['start']:,}, {wait['stop']:,})"
        yield f"WAITS {format_seconds(wait['waiting_s'])} for {span}; {_end_words(wait)} (Input/output error)"
        for block in wait["blocks"]:
            if (name := (wait["sha1"], block["block"])) not in told:
                told.add(name)
                yield from _tell_block(block)
    if found["n_waits"] > MAX_WAITS:
        yield f"… {found['n_waits'] - MAX_WAITS:,} more waiting reads"


def _tell_block(block: Json) -> Iterator[str]:
    yield f"  block {block['block']:,} {_STATES[block['state']]}"
    yield from (f"    {_run_words(run)}" for run in block["runs"])
    running = {run["url"] for run in block["runs"]}
    yield from (f"    {url} {_said(url, words)}" for url, words in block["tried"].items() if url not in running)


def _tell_lookups(found: Json) -> Iterator[str]:
    for lookup in found["lookups"]:
        yield f"IS LOOKED FOR since {format_seconds(lookup['waiting_s'])}; {_end_words(lookup)}"
        for url, words in lookup["said"].items():
            yield f"  {url} {'has not answered' if words is None else _said(url, words)}"


def _end_words(wait: Json) -> str:
    return f"gives up in {format_seconds(max(wait['gives_up_in_s'], 0.0))}"


def _run_words(run: Json) -> str:
    come = format_bytes(run["received_bytes"]) if run["received_bytes"] else "nothing"
    came = f"{come} of {format_bytes(run['n_bytes'])} came"
    rate = "" if run["rate_bytes_per_s"] is None else f", lately {format_rate(run['rate_bytes_per_s'])}"
    held = f"; it fetches this itself, and may answer within {format_seconds(run['hold_s'])}" if run["hold_s"] else ""
    asked = f"{run['url']} asked {format_seconds(run['asked_s'])} ago, {came}{rate}"
    return f"{asked}{held}{_overdue_words(run['overdue_in_s'])}"


def _overdue_words(overdue_in_s: float | None) -> str:
    if overdue_in_s is None:
        return ""
    if overdue_in_s <= 0:
        return "; overdue, others are asked too where there are any"
    return f"; others are asked too in {format_seconds(overdue_in_s)}"


def _said(url: str, words: str) -> str:
    return f"said: {words.removeprefix(f'{url}: ')}"


def _file_words(file: Json) -> str:
    present = f"{format_share(file['present_bytes'], file['size_bytes'])} of {format_bytes(file['size_bytes'])} present"
    words = [f"file {name_of(file)}", present, file["trust"], format_count(file["n_readers"], "reader")]
    if file["n_flights"]:
        words.append(f"{format_count(file['n_flights'], 'block')} under way")
    if file["retired"]:
        words.append(file["retired"])
    return ", ".join(words)


def _tell_peers(found: Json) -> Iterator[str]:
    if found["is_offline"]:
        yield "OFFLINE: no peer is asked, as --offline or the setting says with which it was mounted"
        return
    if not found["peers"]:
        yield "no peer is configured: kacheryfs peer add URL"
    words = _providers(found["files"])
    rows = []
    for peer in found["peers"]:
        says = words.get(peer["url"]) or peer["says"].removeprefix(f"{peer['url']}: ")
        rows.append(("peer", peer["url"], format_ms(peer["round_trip_s"]), format_rate(peer["rate_bytes_per_s"]), says))
    yield from format_table(rows)


def _providers(files: list[Json]) -> dict[str, str]:
    """Return what each peer says of the file, where it is one that is open."""
    if len(files) != 1:
        return {}
    return dict(words.split(": ", 1) for words in files[0]["providers"] if ": " in words)
