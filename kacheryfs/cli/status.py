"""``status``: what runs, and how it fares."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .. import app
from .configuration import settings_of
from .mounts import find_mounts
from .servers import find_servers
from .terminal import format_table, put, put_json, say
from .units import format_bytes, format_count, format_ms, format_rate, format_share

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
        return 0
    for mount in found["mounts"]:
        _put_mount(mount)
    for mountpoint in found["dead_mounts"]:
        put(f"mount  {mountpoint}  DEAD: `kacheryfs umount` removes it")
    for server in found["servers"]:
        put(f"serve  {server['url']}  pid {server['pid']}")
    if not found["mounts"]:
        _put_peers(found["peers"])
    _put_store(found["store"])
    if not found["mounts"] and not found["servers"]:
        say("nothing runs: `kacheryfs mount MOUNTPOINT` mounts, `kacheryfs serve` answers peers")
    return 0


def _find(settings: Settings) -> Json:
    mounts = [mount.status for mount in find_mounts(settings)]
    servers = find_servers(settings.runtime_dir)
    return {
        "mounts": mounts,
        "dead_mounts": _find_dead([mount["mountpoint"] for mount in mounts]),
        "servers": [{"url": server.url, "pid": server.pid, "data_dir": server.data_dir} for server in servers],
        "peers": [peer for mount in mounts for peer in mount["peers"]] or app.probe_peers(settings),
        "store": app.look_at_store(settings),
    }


def _find_dead(alive: list[str]) -> list[str]:
    """Return the mountpoints of ours that nobody serves any more."""
    from ..mount.mountpoint import Health, probe
    from ..mount.mounts import list_mounts

    others = dict.fromkeys(mount.mountpoint for mount in list_mounts() if mount.mountpoint not in alive)
    return [mountpoint for mountpoint in others if probe(mountpoint, PROBE_TIMEOUT_S) is Health.DEAD]


def _put_mount(mount: Json) -> None:
    put(f"mount  {mount['mountpoint']}  pid {mount['pid']}  log {mount['log'] or 'on its terminal'}")
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


def _put_peers(peers: list[Json]) -> None:
    for line in format_table([_peer_row(peer) for peer in peers]):
        put(f"  {line}")


def _peer_row(peer: Json) -> tuple[str, ...]:
    return (
        "peer",
        peer["url"],
        "reachable" if peer["is_reachable"] else "NOT REACHABLE",
        format_ms(peer["round_trip_s"]),
        format_rate(peer["rate_bytes_per_s"]),
        format_bytes(peer["bytes_received"]),
        "" if peer["is_reachable"] else peer["says"],
    )


def _is_under_way(file: Json) -> bool:
    return bool(file["n_readers"] or file["n_flights"])


def _file_row(file: Json) -> tuple[str, ...]:
    share = format_share(file["present_bytes"], file["size_bytes"])
    return (
        "file",
        f"{file['sha1'][:8]}…",
        f"{share} of {format_bytes(file['size_bytes'])} present",
        file["trust"],
        format_count(file["n_readers"], "reader"),
        file["retired"] or "",
    )


def _wait_words(wait: Json) -> str:
    span = f"{wait['sha1'][:8]}… bytes [{wait['start']:,}, {wait['stop']:,})"
    return f"{span} since {wait['waiting_s']:.0f} s: {'; '.join(wait['for'])}"


def _put_store(store: Json) -> None:
    state = "" if store["is_writable"] else ", READ-ONLY"
    free = f", {format_bytes(store['free_bytes'])} free on its disk" if store["free_bytes"] is not None else ""
    files = f"{format_count(store['n_files'], 'file')} ({store['n_complete']:,} complete)"
    put(f"store  {store['path']}  {files}, {format_bytes(store['present_bytes'])} present{free}{state}")
