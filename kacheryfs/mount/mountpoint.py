"""Makes a mountpoint ready: there, empty, and free of what a crash left behind."""

from __future__ import annotations

import errno
import os
import threading
from enum import Enum

from ..errors import MountError
from .mounts import find_mount, unmount

PROBE_TIMEOUT_S = 5.0


class Health(Enum):
    """How a mount answers."""

    ALIVE = "alive"
    DEAD = "dead"
    SILENT = "silent"


def resolve_mountpoint(path: str) -> str:
    """Return the absolute path that the kernel knows a mountpoint by, without touching a mount that stands there."""
    if "\0" in path or not path:
        raise MountError("a mountpoint is the path of a folder")
    parent, name = os.path.split(os.path.abspath(path))
    plain = os.path.join(os.path.realpath(parent), name)
    return plain if find_mount(plain) else os.path.realpath(plain)


def prepare_mountpoint(path: str) -> str:
    """Return where to mount, made if needed and cleared of a dead mount; MountError says in one line why not.

    Blocks; never to be called by the process that serves this mountpoint already.
    """
    where = resolve_mountpoint(path)
    if find_mount(where):
        _clear(where)
    try:
        os.makedirs(where, exist_ok=True)
        names = os.listdir(where)
    except FileExistsError as exc:
        raise MountError(f"{where} is not a folder: choose an empty folder to mount at") from exc
    except OSError as exc:
        raise MountError(f"{where} can't be mounted at ({exc.strerror})") from exc
    if names:
        raise MountError(f"{where} is not empty: choose an empty folder to mount at")
    if not os.access(where, os.W_OK):
        raise MountError(f"{where} is not writable by you: choose a folder of yours to mount at")
    return where


def _clear(where: str) -> None:
    health = probe(where)
    if health is Health.ALIVE:
        raise MountError(f"{where} is mounted already: kacheryfs status shows it, kacheryfs umount ends it")
    if health is Health.SILENT:
        raise MountError(f"{where} is mounted by a process that doesn't answer: kacheryfs umount --force ends it")
    unmount(where, is_lazy=True)


def probe(where: str, timeout_s: float = PROBE_TIMEOUT_S) -> Health:
    """Ask a mount for a sign of life, by a thread that is left behind if the mount never answers."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(_ask_errno(where)), daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not found:
        return Health.SILENT
    return Health.DEAD if found[0] in (errno.ENOTCONN, errno.ECONNABORTED) else Health.ALIVE


def _ask_errno(where: str) -> int:
    try:
        os.statvfs(where)  # os.stat is answered out of the kernel's cache, also for the dead
    except OSError as exc:
        return exc.errno or 0
    return 0
