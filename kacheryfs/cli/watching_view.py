"""What ``top`` shows, as rich draws it; whatever peers said is text, never markup nor the terminal's commands."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .terminal import name_of, plain
from .units import format_bytes, format_count, format_ms, format_rate, format_seconds, format_share
from .watching_numbers import Flow

Json = dict[str, Any]

MAX_FILES = 15
MAX_WAITS = 8
"""Of each mount; status --json has all."""


def draw(looks: Sequence[tuple[Json, Flow]], servers: Sequence[str], *, hint: str) -> Group:
    """Return everything from top to bottom."""
    parts: list[RenderableType] = [_head(len(looks), servers, hint)]
    for mount, flow in looks:
        parts += _draw_mount(mount, flow)
    if not looks:
        parts.append(
            _text("no mount answers: kacheryfs mount MOUNTPOINT makes one, kacheryfs status tells of silent ones")
        )
    return Group(*parts)


def _head(n_mounts: int, servers: Sequence[str], hint: str) -> Text:
    words = [time.strftime("kacheryfs top  %H:%M:%S"), format_count(n_mounts, "mount")]
    words += [f"serving at {url}" for url in servers]
    return Text("  ".join([*words, hint]).rstrip(), style="bold")


def _draw_mount(mount: Json, flow: Flow) -> Iterable[RenderableType]:
    offline = "  OFFLINE: no peer is asked" if mount["is_offline"] else ""
    yield Text()
    yield _text(f"mount  {mount['mountpoint']}  pid {mount['pid']}{offline}", "bold")
    yield _numbers(mount, flow)
    yield _peers(mount, flow)
    if files := [file for file in mount["files"] if file["n_readers"] or file["n_flights"]]:
        yield _files(files)
    if mount["n_waits"]:
        yield _waits(mount)
        path = f"{mount['mountpoint']}/sha1/{mount['waits'][0]['sha1']}"
        yield _text(f"kacheryfs why {shlex.quote(path)} tells more", "dim")


def _numbers(mount: Json, flow: Flow) -> Table:
    table = _table()
    table.add_row("reads", f"{flow.reads_per_s:,.0f}/s", format_rate(flow.read_bytes_per_s), _hit_words(flow))
    table.add_row("waits", format_count(mount["n_waits"], "read"), _longest_words(mount), _wait_words(flow))
    table.add_row(
        "network", format_rate(flow.received_bytes_per_s), f"{format_bytes(_received(mount))} in all", _vain(mount)
    )
    for row in _cache_rows(mount["cache"]):
        table.add_row(*row)
    return table


def _hit_words(flow: Flow) -> str:
    return "nothing was read" if flow.hit_share is None else f"{100 * flow.hit_share:.1f} % hits"


def _longest_words(mount: Json) -> str:
    longest_s = max((wait["waiting_s"] for wait in mount["waits"]), default=None)
    return "" if longest_s is None else f"one since {format_seconds(longest_s)}"


def _wait_words(flow: Flow) -> str:
    if flow.median_wait_s is None or flow.slowest_wait_s is None:
        return ""
    return f"half ≤ {format_seconds(flow.median_wait_s)}, 99 % ≤ {format_seconds(flow.slowest_wait_s)}"


def _received(mount: Json) -> int:
    return sum(peer["bytes_received"] for peer in mount["peers"])


def _vain(mount: Json) -> str:
    wasted = mount["wasted_bytes"]
    return f"{format_bytes(wasted)} of it in vain" if wasted else ""


def _cache_rows(cache: Json | None) -> Iterable[tuple[str, ...]]:
    if cache is None:
        yield "cache", "its folder is gone: what is read is not kept"
        return
    limit = f" of {format_bytes(cache['limit_bytes'])}"
    pinned = f"{format_bytes(cache['pinned_bytes'])} pinned" if cache["pinned_bytes"] else ""
    evicted = f"{format_bytes(cache['evicted_bytes'])} evicted" if cache["evicted_bytes"] else "nothing evicted"
    yield "cache", format_bytes(cache["used_bytes"]) + limit, evicted, pinned


def _peers(mount: Json, flow: Flow) -> Table:
    table = _table("peer", "now", "rate", "trip", "received", "in vain", "trust", "says", flexible=("peer", "says"))
    for peer in mount["peers"]:
        table.add_row(
            _text(peer["url"].removeprefix("http://")),
            format_rate(flow.peer_bytes_per_s.get(peer["url"], 0.0)),
            format_rate(peer["rate_bytes_per_s"]),
            format_ms(peer["round_trip_s"]),
            format_bytes(peer["bytes_received"]),
            format_bytes(peer["wasted_bytes"]) if peer["wasted_bytes"] else "-",
            _trust(peer),
            _says(peer),
        )
    if not mount["peers"]:
        table.add_row("no peer: kacheryfs peer add URL")
    return table


def _trust(peer: Json) -> Text:
    """Return whether what it sent held: of how many files it isn't asked now, since it lied."""
    if peer["n_bans"]:
        return _text(f"LIED ({peer['n_bans']:,})", "red")
    return _text("verified" if peer["bytes_received"] else "-")


def _says(peer: Json) -> Text:
    """Return what there is to say beyond that all is well."""
    words = peer["says"].removeprefix(f"{peer['url']}: ")
    return _text("" if words == "answers" else words, "" if peer["is_reachable"] else "red")


def _files(files: Sequence[Json]) -> Table:
    table = _table("file", "", "present", "trust", "readers", "under way", flexible=("file",))
    for file in files[:MAX_FILES]:
        table.add_row(
            _text(name_of(file)),
            ProgressBar(total=max(file["size_bytes"], 1), completed=file["present_bytes"], width=10),
            f"{format_share(file['present_bytes'], file['size_bytes'])} of {format_bytes(file['size_bytes'])}",
            file["trust"],
            f"{file['n_readers']:,}",
            format_count(file["n_flights"], "block"),
        )
    if len(files) > MAX_FILES:
        table.add_row(f"… {len(files) - MAX_FILES:,} more")
    return table


def _waits(mount: Json) -> Table:
    table = _table("WAITS", "since", "gives up in", "for", flexible=("WAITS", "for"))
    for wait in mount["waits"][:MAX_WAITS]:
        table.add_row(
            _text(f"{name_of(wait)} bytes [{wait['start']:,}, {wait['stop']:,})"),
            format_seconds(wait["waiting_s"]),
            format_seconds(wait["gives_up_in_s"]),
            _text("; ".join(wait["for"])),
        )
    if mount["n_waits"] > MAX_WAITS:
        table.add_row(f"… {mount['n_waits'] - MAX_WAITS:,} more")
    return table


def _table(*columns: str, flexible: Sequence[str] = ()) -> Table:
    """Return an empty table; in a narrow terminal its ``flexible`` columns are cut first."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(columns), header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=column not in flexible, overflow="ellipsis")
    return table


def _text(words: str, style: str = "") -> Text:
    return Text(plain(words), style, no_wrap=True, overflow="ellipsis")
