"""A process that mounts the world of ``mountfakes``; it prints "ready" when the mount can be used."""

from __future__ import annotations

import faulthandler
import logging
import signal
import sys

import trio
from mountfakes import World

from kacheryfs.errors import ClaimError
from kacheryfs.mount.engine import KnownFile, KnownTree
from kacheryfs.mount.session import Mounted, MountOptions, run_mount
from kacheryfs.mount.vfs import Vfs

DEADLINE_S = 100.0
"""A test that hangs must not leave a mount behind."""


async def main(mountpoint: str) -> None:
    world = World()
    known = [
        KnownFile(file.digest, len(file.data), file.manifest, file.trust)
        for file in (world.large, world.small, world.claimed)
    ]
    vfs = Vfs(
        world.engine,
        known=lambda: [*known, KnownTree(world.tree_sha1)],
        find_present=world.engine.find_present,
        whole_file_limit_bytes=200_000,
    )
    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + DEADLINE_S
        mounted: Mounted = await nursery.start(run_mount, vfs, mountpoint, MountOptions())
        await nursery.start(_fail_on_signal, vfs)
        await nursery.start(_retire_on_signal, vfs, world)
        print("ready", mounted.mountpoint, flush=True)
        await mounted.ended.wait()
        nursery.cancel_scope.cancel()


async def _fail_on_signal(vfs: Vfs, *, task_status: trio.TaskStatus[None]) -> None:
    """Make the mount itself fail, by a fault in what it waits for."""
    with trio.open_signal_receiver(signal.SIGUSR1) as signals:
        task_status.started()
        async for _ in signals:
            vfs.retired.close()


async def _retire_on_signal(vfs: Vfs, world: World, *, task_status: trio.TaskStatus[None]) -> None:
    """Let the claim be proven false."""
    with trio.open_signal_receiver(signal.SIGUSR2) as signals:
        task_status.started()
        async for _ in signals:
            world.claimed.failure = ClaimError("its claim was proven false")
            vfs.retire_binding(world.claimed.binding)


if __name__ == "__main__":
    faulthandler.enable()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    trio.run(main, sys.argv[1])
