"""One mount, from the check of its mountpoint to its end."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import dataclass, field

import trio

from ..errors import MountError
from . import fuse
from .device import open_device
from .mountpoint import prepare_mountpoint
from .mounts import Mount, find_mount, unmount
from .vfs import Vfs

log = logging.getLogger(__name__)

READY_TIMEOUT_S = 20.0
LAST_READS_S = 0.1
"""After a failed read the kernel asks at once for its first page alone, and that wants an answer too (under 1 ms)."""
MAX_LAST_ROUNDS = 10
"""Whoever reads again and again is not waited for."""


@dataclass(frozen=True, slots=True)
class MountOptions:
    """What may be asked of a mount beyond its place."""

    allow_other: bool = False
    stops_on_signals: bool = True
    """End at SIGINT, SIGTERM and SIGHUP (a terminal that is closed); only in the main thread."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """A mount that can be used."""

    mountpoint: str
    ended: trio.Event = field(default_factory=trio.Event)
    """Set once nothing is mounted any more."""
    _stopping: trio.Event = field(default_factory=trio.Event)

    def stop(self) -> None:
        """Begin the end: reads that wait are answered with EIO, then it is unmounted, lazily where it is in use."""
        self._stopping.set()

    async def wait_stopping(self) -> None:
        await self._stopping.wait()


async def run_mount(
    vfs: Vfs,
    mountpoint: str,
    options: MountOptions,
    *,
    task_status: trio.TaskStatus[Mounted] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Mount and serve until ``Mounted.stop``, a signal, somebody's umount, or cancellation.

    ``task_status.started`` tells that the mount can be used. MountError before that says why it can't be mounted. After
    a fault of ours the mountpoint stays, dead (ENOTCONN): a tool that mirrors an empty folder would delete its copy.
    """
    where = await trio.to_thread.run_sync(prepare_mountpoint, mountpoint)
    device = await trio.to_thread.run_sync(lambda: open_device(where, allow_other=options.allow_other))
    mount = find_mount(where)
    link = _link(vfs, device, mount)
    mounted = Mounted(where)
    is_fault = False
    try:
        await _shake_hands(link, where)
        await _serve(link, vfs, mounted, options, task_status)
    except MountError:
        raise
    except Exception as exc:  # an outer edge: all that can be done is to leave the mountpoint dead, and to say so
        is_fault = True
        log.exception("the mount at %s ends by a fault", where)
        raise MountError(f"a fault of kacheryfs ended the mount at {where}; the log has the details") from exc
    finally:
        vfs.close_all()
        link.close()
        if not is_fault:
            _unmount(mount)
        mounted.ended.set()


def _link(vfs: Vfs, device: int, mount: Mount | None) -> fuse.Link:
    try:
        return fuse.Link(fuse.Adapter(vfs), device)
    except RuntimeError as exc:
        os.close(device)
        _unmount(mount)
        raise MountError(f"libfuse can't be used ({exc}): update the package fuse3") from exc


async def _shake_hands(link: fuse.Link, where: str) -> None:
    with trio.move_on_after(READY_TIMEOUT_S):
        await link.shake_hands()
        return
    raise MountError(f"{where}: the kernel did not answer within {READY_TIMEOUT_S:g} s")


def _unmount(mount: Mount | None) -> None:
    """Take our mount away unless somebody did so already, who may have put another in its place."""
    if mount is not None and find_mount(mount.mountpoint) == mount:
        unmount(mount.mountpoint, is_lazy=True)


async def _serve(
    link: fuse.Link,
    vfs: Vfs,
    mounted: Mounted,
    options: MountOptions,
    task_status: trio.TaskStatus[Mounted],
) -> None:
    async with trio.open_nursery() as nursery:
        if options.stops_on_signals:
            await nursery.start(_stop_on_signals, mounted)
        nursery.start_soon(_answer_kernel, link, vfs, mounted, nursery.cancel_scope)
        nursery.start_soon(_drop_retired, vfs)
        task_status.started(mounted)


async def _answer_kernel(link: fuse.Link, vfs: Vfs, mounted: Mounted, whole: trio.CancelScope) -> None:
    """Serve until the end; then nothing else is left to do either."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_when_asked, vfs, mounted, nursery.cancel_scope)
        await link.serve()
        nursery.cancel_scope.cancel()
    whole.cancel()


async def _stop_when_asked(vfs: Vfs, mounted: Mounted, serving: trio.CancelScope) -> None:
    """Let every request at hand be answered: reads first; then each handler that waits is cancelled, which is EIO."""
    await mounted.wait_stopping()
    for _ in range(MAX_LAST_ROUNDS):
        if not vfs.ending.end():
            break
        await trio.sleep(LAST_READS_S)
    fuse.stop_reading()
    serving.cancel()


async def _stop_on_signals(mounted: Mounted, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for number in signals:
            log.info("%s: unmounting %s", signal.Signals(number).name, mounted.mountpoint)
            mounted.stop()


async def _drop_retired(vfs: Vfs) -> None:
    """Have the kernel drop the pages of claims that were proven false, by a thread, since that may wait for reads."""
    async for inode in vfs.retired:
        await trio.to_thread.run_sync(fuse.drop_pages, inode)
