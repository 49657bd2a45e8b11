"""``share``, ``shares``, ``unshare``: the catalog."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .. import app
from ..errors import InputError
from .configuration import settings_of
from .progress import Progress
from .recordings import share_recordings_at
from .servers import find_servers
from .terminal import format_table, put, put_json, say
from .units import format_bytes, format_count

if TYPE_CHECKING:
    from ..config import Settings
    from ..store.catalog import Catalog, Share
    from ..store.sharing import LeftOut, Shared
    from ..store.storage_folder import SharedStorage

MAX_WARNINGS = 20


def share(args: argparse.Namespace) -> int:
    """Share every PATH; one that fails leaves the links of those before it printed."""
    if not all([*args.paths, args.paths or args.kachery_storage]):
        raise InputError("name a file or a folder to share; see kacheryfs share --help")
    settings = settings_of(args)
    results = []
    with app.open_catalog(settings) as catalog:
        for path in args.paths:
            shared = _share_path(catalog, path, settings, args)
            if not args.json:
                _put_shared(shared)
            recordings = share_recordings_at(path, settings, args)
            results.append(_as_json(shared) | {"recordings": [asdict(recording) for recording in recordings]})
        if args.kachery_storage:
            storage = _share_storage(catalog, args.kachery_storage, settings, args)
            results.append(_storage_as_json(storage))
            if not args.json:
                _put_storage(storage)
    if args.json:
        put_json(results)
    if not args.dry_run:
        say_who_serves(settings)
    return 0


def _share_path(catalog: Catalog, path: str, settings: Settings, args: argparse.Namespace) -> Shared:
    from ..store.sharing import share as share_path

    with Progress(f"hash {path}") as progress:
        shared = share_path(
            catalog,
            path,
            exclude=args.exclude,
            is_forced=args.force,
            dry_run=args.dry_run,
            progress=progress.set,
            own_folders=_own_folders(settings),
        )
    _warn_left_out(shared.path, shared.left_out)
    return shared


def _share_storage(catalog: Catalog, folder: str, settings: Settings, args: argparse.Namespace) -> SharedStorage:
    from ..store.storage_folder import share_kachery_storage

    with Progress(f"hash {folder}") as progress:
        storage = share_kachery_storage(
            catalog, folder, dry_run=args.dry_run, progress=progress.set, own_folders=_own_folders(settings)
        )
    _warn_left_out(storage.path, storage.left_out)
    return storage


def _own_folders(settings: Settings) -> list[Path]:
    return [settings.store_dir, settings.runtime_dir, settings.config_dir]


def _warn_left_out(path: str, left_out: Sequence[LeftOut]) -> None:
    for name, reason in left_out[:MAX_WARNINGS]:
        say(f"left out: {path}/{name}: {reason}")
    if len(left_out) > MAX_WARNINGS:
        say(f"left out: {len(left_out) - MAX_WARNINGS:,} more; share --json names them all")


def _put_shared(shared: Shared) -> None:
    if shared.link is not None:
        put(str(shared.link))
        return
    size = f"{format_count(shared.n_files, 'file')}, {format_bytes(shared.total_bytes)}"
    say(f"would share {shared.path}: {size}, {format_bytes(shared.read_bytes)} to read, {shared.n_excluded:,} excluded")


def _put_storage(storage: SharedStorage) -> None:
    for link in storage.links:
        put(str(link))
    say(f"{storage.path}: {format_count(storage.n_files, 'file')}, {format_bytes(storage.total_bytes)}")


def _as_json(shared: Shared) -> dict[str, object]:
    return {**asdict(shared), "link": shared.link and str(shared.link), "left_out": _left_out_json(shared.left_out)}


def _storage_as_json(storage: SharedStorage) -> dict[str, object]:
    return {
        "path": storage.path,
        "links": [str(link) for link in storage.links],
        "n_files": storage.n_files,
        "total_bytes": storage.total_bytes,
        "read_bytes": storage.read_bytes,
        "left_out": _left_out_json(storage.left_out),
    }


def _left_out_json(left_out: Sequence[LeftOut]) -> list[dict[str, str]]:
    return [{"path": path, "reason": reason} for path, reason in left_out]


def say_who_serves(settings: Settings) -> None:
    """Tell the person what is still missing until others can read what was shared."""
    servers = [server for server in find_servers(settings.runtime_dir) if server.data_dir == str(settings.data_dir)]
    if not servers:
        say("nothing serves yet: `kacheryfs serve` answers peers")
    elif all(server.is_loopback for server in servers):
        say(f"only this machine can reach {servers[0].url}: `kacheryfs serve --listen 0.0.0.0:PORT` lets others in")


def shares(args: argparse.Namespace) -> int:
    with app.open_catalog(settings_of(args)) as catalog:
        found = catalog.shares()
    if args.json:
        put_json([asdict(share) for share in found])
        return 0
    rows = [
        (
            share.state,
            format_count(share.n_files, "file"),
            format_bytes(share.total_bytes),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(share.shared_at)),
            share.place,
            share.link,
        )
        for share in found
    ]
    for line in format_table(rows):
        put(line)
    for share in found:
        if share.state != "ok":
            say(f"{share.place} {share.state}: {_advice(share.state, share.n_changed)}")
    if not found:
        say("nothing is shared: `kacheryfs share PATH` does")
    return 0


def _advice(state: str, n_changed: int) -> str:
    if state == "missing":
        return "nothing is there any more; `kacheryfs unshare` forgets it"
    return (
        f"{format_count(n_changed, 'file')} not as hashed, and not served; `kacheryfs share` again gives the new link"
    )


def unshare(args: argparse.Namespace) -> int:
    removed = []
    with app.open_catalog(settings_of(args)) as catalog:
        for target in args.targets:
            share = catalog.unshare(target)
            removed.append(share)
            if not args.json:
                say(f"no longer shared: {share.place} ({format_count(share.n_files, 'file')})")
        for line in _still_offered(removed, catalog.shares()):
            say(line)
    if args.json:
        put_json([asdict(share) for share in removed])
    return 0


def _still_offered(removed: Sequence[Share], left: Sequence[Share]) -> list[str]:
    """Name the shares that offer the same files: a recording made of them, a folder above or below."""
    return [
        f"{share.link or share.place} still offers files of {share.place}: "
        f"kacheryfs unshare {share.link or share.place} ends that, too"
        for share in left
        if any(_overlap(share.place, gone.place) for gone in removed)
    ]


def _overlap(one: str, other: str) -> bool:
    return os.path.commonpath([one, other]) in (one, other)
