"""What the running mount does at each command of its control socket."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import trio

from ..core.link import mount_path, parse_link
from ..core.model import Sha1
from ..core.tree import FileEntry, Tree
from ..errors import InputError, NotFoundError
from .report import report_engine, report_peer, report_store

if TYPE_CHECKING:
    from ..control.messages import Arguments
    from ..control.server import Handler
    from ..fetch.engine import Engine
    from ..mount.vfs import Vfs
    from ..peers.peer import Peer
    from ..store.blocks import Store

TREE_TIMEOUT_S = 1.0
"""A tree that is being read is known already; another has no reads that wait."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the mount tells of itself."""

    mountpoint: str
    log: str | None
    require_manifest: bool
    read_timeout_s: float


class Handlers:
    """The commands, each a method; their arguments were checked by ``control.messages``."""

    def __init__(
        self,
        identity: Identity,
        engine: Engine,
        vfs: Vfs,
        store: Store,
        *,
        make_peer: Callable[[str], Peer],
        unmount: Callable[[bool], Awaitable[None]],
    ) -> None:
        """``unmount`` gets whether to end waiting reads first, and returns once nothing is mounted any more."""
        self._identity = identity
        self._engine = engine
        self._vfs = vfs
        self._store = store
        self._make_peer = make_peer
        self._unmount = unmount

    def table(self) -> Mapping[str, Handler]:
        return {
            "status": self._status,
            "peer-add": self._add_peer,
            "peer-remove": self._remove_peer,
            "peer-list": self._list_peers,
            "path": self._path,
            "why": self._why,
            "cancel": self._cancel,
            "umount": self._umount,
        }

    async def _status(self, arguments: Arguments) -> object:
        return {
            "mountpoint": self._identity.mountpoint,
            "pid": os.getpid(),
            "log": self._identity.log,
            "require_manifest": self._identity.require_manifest,
            "read_timeout_s": self._identity.read_timeout_s,
            "store": await trio.to_thread.run_sync(report_store, self._store),
            **report_engine(self._engine),
        }

    async def _add_peer(self, arguments: Arguments) -> object:
        peer = self._make_peer(_text(arguments, "url"))
        if self._engine.peers.find(peer.url) is not None:
            return {"url": peer.url, "is_new": False}
        self._engine.add_peer(peer)
        self._vfs.forget_misses()
        return {"url": peer.url, "is_new": True}

    async def _remove_peer(self, arguments: Arguments) -> object:
        url = self._make_peer(_text(arguments, "url")).url
        was_there = self._engine.peers.find(url) is not None
        if was_there:
            await self._engine.peers.remove(url)
        return {"url": url, "was_there": was_there}

    async def _list_peers(self, arguments: Arguments) -> object:
        return [report_peer(self._engine, peer) for peer in self._engine.peers]

    async def _path(self, arguments: Arguments) -> object:
        return os.path.join(self._identity.mountpoint, mount_path(parse_link(_text(arguments, "link"))))

    async def _why(self, arguments: Arguments) -> object:
        """Tell what a path waits for, and what last went wrong with it."""
        sha1 = self._digest_at(_text(arguments, "path"))
        failure = self._vfs.find_failure(sha1)
        report = report_engine(self._engine)
        return {
            "sha1": sha1.hex,
            "failure": failure and failure.message,
            "files": [file for file in report["files"] if file["sha1"] == sha1.hex],
            "waits": [wait for wait in report["waits"] if wait["sha1"] == sha1.hex],
        }

    async def _cancel(self, arguments: Arguments) -> object:
        if arguments["path"] is None:
            return {"cancelled": self._engine.cancel()}
        wanted = await self._files_at(_text(arguments, "path"))
        files = [file for file in self._engine.files if file.proof.sha1 in wanted]
        return {"cancelled": sum(self._engine.cancel(file) for file in files)}

    async def _umount(self, arguments: Arguments) -> object:
        await self._unmount(cast("bool", arguments["force"]))
        return {"mountpoint": self._identity.mountpoint}

    def _digest_at(self, path: str) -> Sha1:
        sha1 = self._vfs.find_digest(_parts(path))
        if sha1 is None:
            raise NotFoundError(f"{path}: no file or folder of the mount has this name")
        return sha1

    async def _files_at(self, path: str) -> set[Sha1]:
        """Return the files at or below a path."""
        sha1 = self._digest_at(path)
        parts = _parts(path)
        if not parts[0].startswith("sha1dir"):
            return {sha1}
        with trio.move_on_after(TREE_TIMEOUT_S):
            found = (await self._engine.get_tree(sha1)).find(parts[2:]) if _is_tree_name(parts[1], sha1) else None
            return {sha1} | _files_of(found)
        return {sha1}


def _is_tree_name(name: str, sha1: Sha1) -> bool:
    return name.startswith(sha1.hex)


def _files_of(found: Tree | FileEntry | None) -> set[Sha1]:
    if isinstance(found, Tree):
        return {entry.sha1 for _, entry in found.walk()}
    return {found.sha1} if found else set()


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part]
    if not parts:
        raise InputError("name a file or a folder below the mountpoint, or give --all")
    return parts


def _text(arguments: Arguments, name: str) -> str:
    value = arguments[name]
    assert isinstance(value, str)
    return value
