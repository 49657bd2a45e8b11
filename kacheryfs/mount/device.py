"""Mounts, by fusermount3, and returns the kernel's end: an open /dev/fuse.

libfuse could do this too. It would print its reasons to stderr instead of telling us, and leave no way to change
what is agreed with the kernel (``handshake``).
"""

from __future__ import annotations

import os
import socket
import subprocess

from ..errors import MountError

MOUNT_TIMEOUT_S = 20.0
OPTIONS = ("ro", "nosuid", "nodev", "default_permissions", "fsname=kacheryfs", "subtype=kacheryfs")


def open_device(mountpoint: str, *, allow_other: bool) -> int:
    """Mount at ``mountpoint`` and return the descriptor whose end ends the mount; MountError says why not. Blocks."""
    options = ",".join([*OPTIONS, *(["allow_other"] if allow_other else [])])
    ours, theirs = socket.socketpair()
    with ours, theirs:
        _run_fusermount(["-o", options, "--", mountpoint], theirs.fileno())
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1, socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT)
    return descriptors[0]


def _run_fusermount(arguments: list[str], socket_fd: int) -> None:
    """Run fusermount3, which sends the descriptor to ``socket_fd`` and ends."""
    environment = {**os.environ, "_FUSE_COMMFD": str(socket_fd), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["fusermount3", *arguments],
            pass_fds=[socket_fd],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=MOUNT_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as exc:
        raise MountError("fusermount3 is missing: install the package fuse3") from exc
    except subprocess.TimeoutExpired as exc:
        raise MountError(f"fusermount3 did not end within {MOUNT_TIMEOUT_S:g} s") from exc
    if done.returncode != 0:
        raise MountError(why_not_mounted(arguments[-1], os.fsdecode(done.stderr)))


def why_not_mounted(mountpoint: str, stderr: str) -> str:
    """Say in one line why fusermount3 failed, and what helps where that is known."""
    if not os.path.exists("/dev/fuse"):
        return "this machine has no /dev/fuse: load the module fuse, or give it to the container (--device /dev/fuse)"
    lines = [line.removeprefix("fusermount3:").strip() for line in stderr.splitlines() if line.strip()]
    reason = lines[-1] if lines else "fusermount3 gave no reason"
    if "user_allow_other" in reason:
        return "--allow-other needs the line user_allow_other in /etc/fuse.conf: ask the administrator, or go without"
    if "/dev/fuse" in reason:
        return f"/dev/fuse can't be opened by you ({reason}): ask the administrator"
    return f"{mountpoint} can't be mounted: {reason}"
