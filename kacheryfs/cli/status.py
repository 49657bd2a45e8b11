"""``status``: what runs, and how it fares."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .. import app
from ..errors import StoreError
from ..mount.mountpoint import Health, probe
from ..mount.mounts import list_mounts
from .configuration import settings_of
from .mounts import find_mounts
from .servers import find_servers
from .terminal import format_table, name_of, put, put_json, say
from .units import format_bytes, format_count, format_ms, format_rate, format_seconds, format_share

if TYPE_CHECKING:
    from ..config import Settings

Json = dict[str, Any]

MAX_SHOWN = 20
"""Files, and waiting reads, that are shown to people; --json has more."""
PROBE_TIMEOUT_S = 2.0


def status(args: argparse.Namespace) -> int:
    found = _find(settings_of(args))
    if args.json:
        put_json(found)
    else:
        _put(found)
    if found["store_error"] is not None:  # the rest was told all the same
        raise StoreError(found["store_error"])
    return 0


def _put(found: Json) -> None:
    for mount in found["mounts"]:
        _put_mount(mount)
        if _has_own_cache(mount, found["store"]):
            _put_store({**mount["store"], "cache": mount["cache"]}, "  ")
    for mountpoint in found["dead_mounts"]:
        put(f"mount  {mountpoint}  DEAD: `kacheryfs umount` removes it")
    for mountpoint in found["silent_mounts"]:
        put(f"mount  {mountpoint}  SILENT: its process doesn't answer; `kacheryfs umount --force` ends it")
    for server in found["servers"]:
        put(f"serve  {server['url']}  pid {server['pid']}{_beside(server['mountpoint'])}")
    if not found["mounts"]:
        _put_peers(found["peers"])
    if found["store"] is not None:
        _put_store(found["store"])
    if not found["mounts"] and not found["servers"]:
        say("nothing runs: `kacheryfs mount MOUNTPOINT` mounts, `kacheryfs serve` answers peers")


def _find(settings: Settings) -> Json:
    mounts = [mount.status for mount in find_mounts(settings)]
    servers = find_servers(settings.runtime_dir)
    others = _probe_others([mount["mountpoint"] for mount in mounts])
    store, store_error = _look_at_store(mounts, settings)
    return {
        "mounts": mounts,
        "dead_mounts": [mountpoint for mountpoint, health in others.items() if health is Health.DEAD],
        "silent_mounts": [mountpoint for mountpoint, health in others.items() if health is Health.SILENT],
        "servers": [asdict(server) for server in servers],
        "peers": [peer for mount in mounts for peer in mount["peers"]] or app.probe_peers(settings),
        "store": store,
        "store_error": store_error,
    }


def _look_at_store(mounts: list[Json], settings: Settings) -> tuple[Json | None, str | None]:
    """Return what a running mount told of this store, with the bound that it goes by; else look, or tell why not.

    To look at 10,000 files again would take a second or more.
    """
    for mount in mounts:
        if mount["store"]["path"] == str(settings.store_dir):
            return {**mount["store"], "cache": mount["cache"]}, None
    try:
        return app.look_at_store(settings), None
    except StoreError as exc:  # made by a newer kacheryfs, for one
        return None, str(exc)


def _probe_others(answered: list[str]) -> dict[str, Health]:
    """Tell of each mount that did not tell of itself whether it lives: other settings', dead, or silent."""
    others = dict.fromkeys(mount.mountpoint for mount in list_mounts() if mount.mountpoint not in answered)
    return {mountpoint: probe(mountpoint, PROBE_TIMEOUT_S) for mountpoint in others}


def _beside(mountpoint: str | None) -> str:
    return "" if mountpoint is None else f"  beside {mountpoint}"


def _put_mount(mount: Json) -> None:
    offline = "  OFFLINE: no peer is asked" if mount["is_offline"] else ""
    put(f"mount  {mount['mountpoint']}  pid {mount['pid']}  log {mount['log'] or 'on its terminal'}{offline}")
    put(f"  {_traffic_words(mount)}")
    _put_peers(mount["peers"])
    for line in format_table([("collection", name, link) for name, link in mount["collections"].items()]):
        put(f"  {line}")
    files = [file for file in mount["files"] if _is_under_way(file)]
    for line in format_table([_file_row(file) for file in files[:MAX_SHOWN]]):
        put(f"  {line}")
    if len(files) > MAX_SHOWN:
        put(f"  … {len(files) - MAX_SHOWN:,} more files")
    for wait in mount["waits"][:MAX_SHOWN]:
        put(f"  WAITS  {_wait_words(wait)}")
    if mount["n_waits"] > MAX_SHOWN:
        put(f"  … {mount['n_waits'] - MAX_SHOWN:,} more waiting reads")


def _traffic_words(mount: Json) -> str:
    """Tell what was read since the mount began, and what that cost."""
    reads = mount["reads"].values()
    n_reads, n_fetched = sum(kind["n_reads"] for kind in reads), mount["reads"]["from_network"]["n_reads"]
    hits = f", {format_share(n_reads - n_fetched, n_reads)} hits" if n_reads else ""
    longest = f", the longest wait {format_seconds(mount['waited']['longest_s'])}" if n_fetched else ""
    wasted = f", {format_bytes(mount['wasted_bytes'])} of it in vain" if mount["wasted_bytes"] else ""
    read = f"{format_count(n_reads, 'read')} of {format_bytes(sum(kind['n_bytes'] for kind in reads))}"
    return f"{read}{hits}{longest}; {format_bytes(mount['received_bytes'])} received{wasted}"


def _put_peers(peers: list[Json]) -> None:
    for line in format_table([_peer_row(peer) for peer in peers]):
        put(f"  {line}")


def _peer_row(peer: Json) -> tuple[str, ...]:
    return (
        "peer",
        peer["url"],
        _state_of(peer),
        format_ms(peer["round_trip_s"]),
        format_rate(peer["rate_bytes_per_s"]),
        format_bytes(peer["bytes_received"]),
        _remark_on(peer),
    )


def _remark_on(peer: Json) -> str:
    if peer["n_bans"]:
        return f"LIED: not asked for {format_count(peer['n_bans'], 'file')} now; the mount's log says in what"
    return "" if peer["is_reachable"] else str(peer["says"])


def _state_of(peer: Json) -> str:
    if not peer["is_asked"]:
        return "not asked"
    return "reachable" if peer["is_reachable"] else "NOT REACHABLE"


def _is_under_way(file: Json) -> bool:
    return bool(file["n_readers"] or file["n_flights"])


def _file_row(file: Json) -> tuple[str, ...]:
    share = format_share(file["present_bytes"], file["size_bytes"])
    return (
        "file",
        name_of(file),
        f"{share} of {format_bytes(file['size_bytes'])} present",
        file["trust"],
        format_count(file["n_readers"], "reader"),
        file["retired"] or "",
    )


def _wait_words(wait: Json) -> str:
    span = f"{name_of(wait)} bytes [{wait['start']:,}, {wait['stop']:,})"
    since = f"since {format_seconds(wait['waiting_s'])}, gives up in {format_seconds(max(wait['gives_up_in_s'], 0.0))}"
    return f"{span} {since}: {'; '.join(wait['for'])}"


def _has_own_cache(mount: Json, store: Json | None) -> bool:
    """Tell a mount with another store, or another bound on the same, from one that ``store`` tells of."""
    if store is None or mount["store"]["path"] != store["path"]:
        return True
    return bool(mount["cache"] and store["cache"] and mount["cache"]["limit_bytes"] != store["cache"]["limit_bytes"])


def _put_store(store: Json, indent: str = "") -> None:
    state = "" if store["is_writable"] else ", READ-ONLY"
    free = f", {format_bytes(store['free_bytes'])} free on its disk" if store["free_bytes"] is not None else ""
    files = f"{format_count(store['n_files'], 'file')} ({store['n_complete']:,} complete)"
    put(f"{indent}store  {store['path']}  {files}, {format_bytes(store['present_bytes'])} present{free}{state}")
    if store["cache"]:
        put(f"{indent}  {_cache_words(store['cache'])}")


def _cache_words(cache: Json) -> str:
    pinned = f", {format_bytes(cache['pinned_bytes'])} pinned" if cache["pinned_bytes"] else ""
    evicted = f", {format_bytes(cache['evicted_bytes'])} evicted so far" if cache["evicted_bytes"] else ""
    taken = f"takes {format_bytes(cache['used_bytes'])} of at most {format_bytes(cache['limit_bytes'])}"
    return f"{taken}{pinned}{evicted}"
