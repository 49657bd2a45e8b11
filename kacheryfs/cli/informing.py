"""``info``: all that can be said of one link or path."""

from __future__ import annotations

import argparse
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from .. import app
from ..core.link import FileLink, TreeLink, parse_link
from ..core.request import FileRequest, request_of
from ..core.tree import Tree
from ..errors import InputError, NotFoundError, UnreachableError
from .configuration import settings_of
from .finding import resolve
from .mounts import RunningMount, find_mounts, locate_path
from .terminal import format_table, put, put_json
from .units import format_bytes, format_share

if TYPE_CHECKING:
    from ..config import Settings

Json = dict[str, Any]

_SCHEMES = ("sha1:", "sha1dir:", "kachery:", "feed:")
_LINK_ATTRIBUTE = "user.kacheryfs.link"


def info(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    target = find_target(args.target, settings)
    found = trio.run(_info, settings, [*args.peer, *target.peers], target.link)
    if target.original is not None:
        found["original"] = target.original
    if args.json:
        put_json(found)
    else:
        _put(found)
    return 0


@dataclass(frozen=True, slots=True)
class Named:
    """What was meant: its link, the catalog's word on a shared file, the peers of the mount that it lies in."""

    link: FileLink | TreeLink
    original: Json | None = None
    peers: Sequence[str] = ()


def find_target(target: str, settings: Settings) -> Named:
    """Return what a link or a path stands for; InputError for neither."""
    if target.startswith(_SCHEMES):
        return Named(parse_link(target))
    if not target or "\0" in target:
        raise InputError("name a link or a path")
    if not os.path.lexists(os.path.dirname(os.path.abspath(target))):
        raise InputError(f"{target}: no such file or folder, and not a link; a link begins with sha1:// or sha1dir://")
    found = locate_path(target, find_mounts(settings))
    if found is None:
        return _find_shared(target, settings)
    mount, rest = found
    peers = [peer["url"] for peer in mount.status["peers"]]
    return Named(parse_link(_link_of_mounted(target, mount, rest)), peers=peers)


def _link_of_mounted(path: str, mount: RunningMount, rest: str) -> str:
    """Return the link of a path below a mountpoint, else the reason why there is none, as the mount remembers it."""
    try:
        return os.fsdecode(os.getxattr(path, _LINK_ATTRIBUTE))
    except OSError as exc:
        if exc.errno in (errno.ENODATA, errno.ENOTSUP):
            raise InputError(f"{path} stands for no file or folder of the network") from exc
        reason = mount.ask("why", path=rest)["failure"] or exc.strerror
        kind = NotFoundError if exc.errno == errno.ENOENT else UnreachableError
        raise kind(f"{path}: {reason}") from exc


def _find_shared(path: str, settings: Settings) -> Named:
    with app.open_catalog(settings) as catalog:
        for share in catalog.shares():
            if share.path == os.path.realpath(path) and share.link:
                return Named(parse_link(share.link), {"path": share.path, "state": share.state})
        original = catalog.find_path(path)
    if original is None:
        raise InputError(f"{path} is neither shared nor below a running mount; kacheryfs share gives it a link")
    name = os.path.basename(os.fsdecode(original.path))
    link = FileLink(original.sha1, name, original.manifest)
    return Named(link, {"path": os.fsdecode(original.path), "state": original.state()})


async def _info(settings: Settings, peers: list[str], link: FileLink | TreeLink) -> Json:
    from ..app.knowledge import Knowledge
    from ..app.probing import ask_providers

    async with app.open_parts(settings, peers) as parts:
        found = await resolve(parts.engine, link)
        knowledge = Knowledge(parts.catalog, parts.store)
        if isinstance(found, Tree):
            report = await trio.to_thread.run_sync(_info_of_tree, link, found, knowledge)
        else:
            located = await parts.engine.locate(found)
            manifest = located.binding.manifest
            report = {
                "link": str(link),
                "kind": "file",
                "sha1": found.sha1.hex,
                "manifest": manifest and manifest.hex,
                "size_bytes": located.size_bytes,
                "present_bytes": located.present_bytes(),
                "trust": located.trust.value,
            }
        sha1 = link.sha1 if isinstance(found, Tree) else found.sha1
        asked = [] if settings.offline else app.make_peers(settings, peers)
        report["providers"] = await ask_providers(asked, sha1, settings.lookup_timeout_s)
    return report


def _info_of_tree(link: FileLink | TreeLink, tree: Tree, knowledge: Any) -> Json:
    requests: list[FileRequest] = [request_of(entry) for _, entry in tree.walk()]
    return {
        "link": str(link),
        "kind": "folder",
        "sha1": link.sha1.hex,
        "manifest": None,
        "size_bytes": tree.total_bytes,
        "present_bytes": sum(min(knowledge.find_present(request), request.size_bytes or 0) for request in requests),
        "trust": "linked",
        "n_files": tree.n_files,
    }


def _put(found: Json) -> None:
    rows = [
        ("link", found["link"]),
        ("kind", found["kind"]),
        ("size", f"{format_bytes(found['size_bytes'])} ({found['size_bytes']:,} bytes)"),
        ("SHA-1", found["sha1"]),
        ("manifest", found["manifest"] or "none needed" if found["kind"] == "file" else "one for each large file"),
        ("trust", found["trust"]),
        ("present", f"{format_share(found['present_bytes'], found['size_bytes'])} ({found['present_bytes']:,} bytes)"),
    ]
    if "n_files" in found:
        rows.append(("files", f"{found['n_files']:,}"))
    if "original" in found:
        rows.append(("original", f"{found['original']['path']} ({found['original']['state']})"))
    rows += [("provider", _provider_words(provider)) for provider in found["providers"]] or [
        ("provider", "no peer was asked")
    ]
    for line in format_table(rows):
        put(line)


def _provider_words(provider: Json) -> str:
    if provider["error"]:
        return f"{provider['url']}: {provider['error'].removeprefix(provider['url'] + ': ')}"
    claim = f", manifest {provider['manifest'][:8]}…" if provider["manifest"] else ""
    return f"{provider['url']}: has {provider['has']}{claim}"
