"""The mounts of this machine, as the kernel tells them, and how to end one; never touches what is mounted."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..errors import MountError

FS_TYPE = "fuse.kacheryfs"
MOUNTINFO = Path("/proc/self/mountinfo")
UNMOUNT_TIMEOUT_S = 20.0

_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount of kacheryfs."""

    mountpoint: str
    minor: int
    """The minor number of its device: the name of its connection in fusectl."""
    uid: int
    """Who mounted it."""


def list_mounts() -> list[Mount]:
    """Return the mounts of kacheryfs that this process sees, dead ones too; of stacked ones the topmost is last."""
    return parse_mountinfo(MOUNTINFO.read_bytes())


def find_mount(mountpoint: str) -> Mount | None:
    """Return the topmost mount at an absolute path."""
    return next((mount for mount in reversed(list_mounts()) if mount.mountpoint == mountpoint), None)


def parse_mountinfo(data: bytes) -> list[Mount]:
    """Pick the mounts of kacheryfs out of what /proc/self/mountinfo holds (proc_pid_mountinfo(5))."""
    return [_parse_line(line) for line in data.split(b"\n") if b" - " + FS_TYPE.encode() + b" " in line]


def _parse_line(line: bytes) -> Mount:
    fields, _, tail = line.partition(b" - ")
    _, _, device, _, mountpoint = fields.split(b" ")[:5]
    user = re.search(rb"\buser_id=(\d+)", tail)
    path = _ESCAPE.sub(lambda match: bytes([int(match.group(1), 8)]), mountpoint)
    return Mount(os.fsdecode(path), int(device.split(b":")[1]), int(user.group(1)) if user else 0)


def unmount(mountpoint: str, *, is_lazy: bool = False) -> None:
    """Unmount; a lazy one also takes away what is dead or in use. MountError says why it can't be done."""
    if os.geteuid() == 0:
        _unmount_as_root(mountpoint, is_lazy)
    else:
        _unmount_as_user(mountpoint, is_lazy)


def _unmount_as_root(mountpoint: str, is_lazy: bool) -> None:
    flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if is_lazy else 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(mountpoint), flags) != 0:
        raise MountError(_why_not_unmounted(mountpoint, ctypes.get_errno()))


def _why_not_unmounted(mountpoint: str, code: int) -> str:
    if code == errno.EBUSY:
        return f"{mountpoint} is in use: close what reads there, or use --force"
    if code == errno.EINVAL:
        return f"{mountpoint} is not mounted"
    return f"{mountpoint} can't be unmounted ({os.strerror(code)})"


def _unmount_as_user(mountpoint: str, is_lazy: bool) -> None:
    command = ["fusermount3", "-u", *(["-z"] if is_lazy else []), "--", mountpoint]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=UNMOUNT_TIMEOUT_S, check=False
        )
    except FileNotFoundError as exc:
        raise MountError("fusermount3 is missing: install the package fuse3") from exc
    except subprocess.TimeoutExpired as exc:
        raise MountError(f"{mountpoint}: fusermount3 did not end within {UNMOUNT_TIMEOUT_S:g} s") from exc
    if done.returncode != 0:
        is_busy = "busy" in done.stderr.lower()
        raise MountError(
            _why_not_unmounted(mountpoint, errno.EBUSY) if is_busy else _last_line(mountpoint, done.stderr)
        )


def _last_line(mountpoint: str, stderr: str) -> str:
    lines = stderr.strip().splitlines()
    return f"{mountpoint} can't be unmounted: {lines[-1] if lines else 'fusermount3 gave no reason'}"
