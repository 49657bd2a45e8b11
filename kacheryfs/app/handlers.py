"""What the running mount does at each command of its control socket."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import trio

from ..core.link import FileLink, mount_path, parse_link
from ..core.model import Sha1
from ..errors import InputError, NotFoundError
from .explaining import explain
from .report import report_cache, report_engine, report_peer, report_store

if TYPE_CHECKING:
    from ..control.messages import Arguments
    from ..control.server import Handler
    from ..fetch.engine import Engine
    from ..mount.vfs import Vfs
    from ..peers.peer import Peer
    from ..store.blocks import Store


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
        read_collections: Callable[[], Mapping[str, FileLink]],
        unmount: Callable[[bool], Awaitable[None]],
    ) -> None:
        """``read_collections`` reads the list that is kept, and may block.

        ``unmount`` gets whether to end waiting reads first, and returns once nothing is mounted any more.
        """
        self._identity = identity
        self._engine = engine
        self._vfs = vfs
        self._store = store
        self._make_peer = make_peer
        self._read_collections = read_collections
        self._reloading = trio.Lock()  # what was read first is shown first
        self._unmount = unmount

    def table(self) -> Mapping[str, Handler]:
        return {
            "status": self._status,
            "watch": self._watch,
            "peer-add": self._add_peer,
            "peer-remove": self._remove_peer,
            "peer-list": self._list_peers,
            "collection-reload": self._reload_collections,
            "path": self._path,
            "why": self._why,
            "cancel": self._cancel,
            "umount": self._umount,
        }

    async def _status(self, arguments: Arguments) -> object:
        return {**await self._look(), "store": await trio.to_thread.run_sync(report_store, self._store)}

    async def _watch(self, arguments: Arguments) -> object:
        """Tell what can be told every second: nothing that grows with the store."""
        return await self._look()

    async def _look(self) -> dict[str, object]:
        return {
            "mountpoint": self._identity.mountpoint,
            "pid": os.getpid(),
            "log": self._identity.log,
            "require_manifest": self._identity.require_manifest,
            "read_timeout_s": self._identity.read_timeout_s,
            "collections": self._collections(),
            "cache": await trio.to_thread.run_sync(report_cache, self._store),
            **report_engine(self._engine, self._vfs.open_labels()),
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

    async def _reload_collections(self, arguments: Arguments) -> object:
        """Show the collections that are in the list now; returns their links by name."""
        async with self._reloading:
            self._vfs.collections.replace(await trio.to_thread.run_sync(self._read_collections))
        return self._collections()

    def _collections(self) -> dict[str, str]:
        return {name: str(link) for name, link in self._vfs.collections.links.items()}

    async def _path(self, arguments: Arguments) -> object:
        return os.path.join(self._identity.mountpoint, mount_path(parse_link(_text(arguments, "link"))))

    async def _why(self, arguments: Arguments) -> object:
        """Tell what waits at a path or below it, and what last went wrong with it; "" is the whole mount."""
        path = _text(arguments, "path")
        sha1 = self._digest_at(path) if path else None
        failure = self._vfs.find_failure(sha1) if sha1 else None
        wanted = self._files_at(path) if path else {file.proof.sha1 for file in self._engine.files}
        return {
            "mountpoint": self._identity.mountpoint,
            "sha1": sha1 and sha1.hex,
            "failure": failure and failure.message,
            "failed_s": failure and trio.current_time() - failure.at,
            **explain(self._engine, wanted, self._vfs.open_labels()),
        }

    async def _cancel(self, arguments: Arguments) -> object:
        if arguments["path"] is None:
            return {"cancelled": self._engine.cancel()}
        wanted = self._files_at(_text(arguments, "path"))
        files = [file for file in self._engine.files if file.proof.sha1 in wanted]
        return {"cancelled": sum(self._engine.cancel(file) for file in files)}

    async def _umount(self, arguments: Arguments) -> object:
        await self._unmount(cast("bool", arguments["force"]))
        return {"mountpoint": self._identity.mountpoint}

    def _digest_at(self, path: str) -> Sha1:
        sha1 = self._vfs.find_digest(_parts(path))
        if sha1 is None:
            raise _no_such_name(path)
        return sha1

    def _files_at(self, path: str) -> set[Sha1]:
        """Return the files at or below a path."""
        files = self._vfs.find_files(_parts(path))
        if not files:
            raise _no_such_name(path)
        return files


def _no_such_name(path: str) -> NotFoundError:
    return NotFoundError(f"{path}: no file or folder of the mount has this name")


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part]
    if not parts:
        raise InputError("name a file or a folder below the mountpoint, or give --all")
    return parts


def _text(arguments: Arguments, name: str) -> str:
    value = arguments[name]
    assert isinstance(value, str)
    return value
