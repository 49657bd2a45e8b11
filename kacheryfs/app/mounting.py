"""Runs one mount: engine, file system, the kernel's side and the control socket, all in one event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from ..control.server import serve_control
from ..control.sockets import socket_path
from ..mount.mounts import unmount
from ..mount.session import Mounted, MountOptions, run_mount
from ..mount.vfs import Vfs
from . import Parts, make_peer, make_runtime_folder, open_collection_list, open_parts
from .handlers import Handlers, Identity
from .knowledge import Knowledge
from .serving import run_server

if TYPE_CHECKING:
    from ..config import Settings
    from ..core.quantities import Address


END_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class MountRequest:
    """What is mounted where, as the command line tells it."""

    mountpoint: str
    peers: Sequence[str]
    allow_other: bool
    log: str | None
    """The log file of a mount in the background, or how to read the log of one that systemd runs."""
    is_served: bool = False
    """A process beside it answers peers."""
    metrics: Address | None = None
    """Where that process counts for Prometheus."""


async def mount(settings: Settings, request: MountRequest, on_ready: Callable[[str, str | None], None]) -> None:
    """Mount, and serve the kernel, until unmounted.

    ``on_ready`` gets the mountpoint, and the URL of the server beside it (None without one), once both can be used;
    MountError, or that server's error, before that.
    """
    make_runtime_folder(settings)
    collections = open_collection_list(settings).links()
    async with (
        open_parts(settings, request.peers, is_served=request.is_served) as parts,
        trio.open_nursery() as nursery,
    ):
        parts.store.cache.hold_bound()
        url = None
        if request.is_served:
            url = await nursery.start(run_server, settings, request.mountpoint, request.metrics)
        vfs = _make_vfs(settings, parts)
        vfs.collections.replace(collections)
        mounted = await nursery.start(run_mount, vfs, request.mountpoint, MountOptions(request.allow_other))
        handlers = _make_handlers(settings, request, parts, vfs, mounted)
        await nursery.start(serve_control, socket_path(settings.runtime_dir, mounted.mountpoint), handlers.table())
        on_ready(mounted.mountpoint, url)
        await mounted.ended.wait()
        nursery.cancel_scope.cancel()


def _make_vfs(settings: Settings, parts: Parts) -> Vfs:
    knowledge = Knowledge(parts.catalog, parts.store)
    vfs = Vfs(
        parts.engine,
        known=knowledge.known,
        find_present=knowledge.find_present,
        whole_file_limit_bytes=settings.whole_file_limit_bytes,
        negative_ttl_s=settings.negative_ttl_s,
    )
    parts.engine.peers.on_change(vfs.forget_misses)
    parts.engine.prover.on_refuted(vfs.retire_binding)
    return vfs


def _make_handlers(settings: Settings, request: MountRequest, parts: Parts, vfs: Vfs, mounted: Mounted) -> Handlers:
    return Handlers(
        Identity(mounted.mountpoint, request.log, settings.require_manifest, settings.read_timeout_s),
        parts.engine,
        vfs,
        parts.store,
        make_peer=partial(make_peer, settings),
        read_collections=open_collection_list(settings).links,
        unmount=_unmount_by(mounted),
    )


def _unmount_by(mounted: Mounted) -> Callable[[bool], Awaitable[None]]:
    async def end(is_forced: bool) -> None:
        """End the mount; unforced, the kernel refuses while something reads there (MountError)."""
        if is_forced:
            mounted.stop()
        else:
            await trio.to_thread.run_sync(unmount, mounted.mountpoint)
        # Shielded: the end of the mount cancels who answers commands, and the asker shall hear how it went.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + END_TIMEOUT_S):
            await mounted.ended.wait()

    return end
