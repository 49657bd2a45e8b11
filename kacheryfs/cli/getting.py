"""``get``: a file or a folder, copied out of the network to a place of the user's."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from .. import app
from ..core.link import FileLink, TreeLink, parse_link
from ..core.request import request_of
from ..core.tree import Tree
from ..errors import InputError
from .configuration import settings_of
from .finding import name_of, resolve
from .landing import Landing, Target, part_path, refusing
from .progress import Progress
from .terminal import put, put_json, say
from .units import format_bytes, format_count

if TYPE_CHECKING:
    from ..config import Settings
    from ..mount.engine import Engine

N_AT_ONCE = 8
"""Files of a folder under way together: small ones wait for round trips, large ones fill the line alone."""


def get(args: argparse.Namespace) -> int:
    link = parse_link(args.link)
    if args.dest is not None and (not args.dest or "\0" in args.dest):
        raise InputError("DEST is empty or has a NUL in it: name a file or a folder")
    landing = trio.run(_get, settings_of(args), args.peer, link, args.dest, args.force)
    _report(landing, is_json=args.json)
    return 0


async def _get(
    settings: Settings, peers: list[str], link: FileLink | TreeLink, dest: str | None, is_forced: bool
) -> Landing:
    async with app.open_engine(settings, peers) as engine:
        found = await resolve(engine, link)
        path = choose_path(link, dest, is_tree=isinstance(found, Tree))
        with Progress("get") as progress:
            landing = Landing(path, is_forced=is_forced, progress=progress)
            if isinstance(found, Tree):
                await _get_tree(engine, found, landing)
            else:
                await landing.land(engine, Target(path, found, part_path(path)))
    return landing


def choose_path(link: FileLink | TreeLink, dest: str | None, *, is_tree: bool) -> Path:
    """Return where the copy goes: a folder is filled under DEST itself, a file goes into a folder that is there."""
    if dest is None:
        return Path(name_of(link))
    path = Path(dest).expanduser()
    if not is_tree and (path.is_dir() or dest.endswith("/")):
        return path / name_of(link)
    return path


def plan(tree: Tree, folder: Path) -> list[Target]:
    """Return every file of a tree with its place below ``folder``."""
    requests = {folder.joinpath(*names): request_of(entry) for names, entry in tree.walk()}
    taken = set(requests)
    targets = []
    for path, request in requests.items():
        part = part_path(path, taken)
        taken.add(part)
        targets.append(Target(path, request, part))
    return targets


async def _get_tree(engine: Engine, tree: Tree, landing: Landing) -> None:
    targets = plan(tree, landing.path)
    landing.progress.set_total(tree.total_bytes)
    landing.refuse_conflicts(targets)
    with refusing(landing.path):
        _make_folders(tree, landing.path)
    limit = trio.CapacityLimiter(N_AT_ONCE)
    async with trio.open_nursery() as nursery:
        for target in targets:
            await limit.acquire_on_behalf_of(target)
            nursery.start_soon(_land_one, engine, landing, target, limit)


async def _land_one(engine: Engine, landing: Landing, target: Target, limit: trio.CapacityLimiter) -> None:
    try:
        await landing.land(engine, target)
    finally:
        limit.release_on_behalf_of(target)


def _make_folders(tree: Tree, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, below in tree.dirs.items():
        _make_folders(below, folder / name)


def _report(landing: Landing, *, is_json: bool) -> None:
    if is_json:
        put_json(
            {
                "path": str(landing.path.absolute()),
                "files": landing.n_written + landing.n_skipped,
                "written": landing.n_written,
                "already_there": landing.n_skipped,
                "bytes_written": landing.bytes_written,
            }
        )
        return
    put(str(landing.path))
    already = f", {landing.n_skipped:,} already there" if landing.n_skipped else ""
    say(f"{format_count(landing.n_written, 'file')}, {format_bytes(landing.bytes_written)} written{already}")
