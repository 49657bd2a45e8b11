"""Where the sockets of running mounts stand: one a mount, in a folder that is only ours."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ..errors import MountError

SUFFIX = ".sock"


def socket_path(folder: Path, mountpoint: str) -> Path:
    """Return the socket of the mount at ``mountpoint`` (absolute, as in /proc/self/mountinfo)."""
    name = hashlib.sha1(os.fsencode(mountpoint)).hexdigest()[:16]
    return folder / f"mount-{name}{SUFFIX}"


def list_sockets(folder: Path) -> list[Path]:
    """Return the sockets of mounts, also of those that ended without removing theirs."""
    return sorted(folder.glob(f"mount-*{SUFFIX}"))


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """Give an address for ``path`` that fits: the kernel takes 107 bytes, a home folder on a cluster may be longer."""
    fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


def connect(path: Path, timeout_s: float) -> socket.socket:
    """Connect to a running mount; MountError where there is none."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        with short_address(path) as address:
            sock.connect(address)
    except OSError as exc:
        sock.close()
        raise MountError(_why_no_connection(exc)) from exc
    return sock


def _why_no_connection(exc: OSError) -> str:
    if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED):
        return "no mount is running there; start one with: kacheryfs mount MOUNTPOINT"
    if exc.errno == errno.EACCES:
        return "the mount belongs to another user"
    return f"the running mount can't be reached ({exc.strerror or exc})"


def listen(path: Path, *, is_alive: Callable[[Path], bool]) -> socket.socket:
    """Return a listening socket at ``path``; one that nobody answers at is replaced, MountError where somebody does."""
    if path.exists() and is_alive(path):
        raise MountError("a mount is running there already; unmount it first with: kacheryfs umount MOUNTPOINT")
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_address(path) as address:
            sock.bind(address)
        path.chmod(0o600)
        sock.listen(64)
    except OSError as exc:
        sock.close()
        raise MountError(f"{path}: the control socket can't be made ({exc.strerror})") from exc
    return sock


def is_answered(path: Path) -> bool:
    """Tell whether somebody listens at ``path``."""
    try:
        connect(path, 1.0).close()
    except MountError:
        return False
    return True


def remove(path: Path) -> None:
    """Remove the socket's name."""
    path.unlink(missing_ok=True)


class Socket(Protocol):
    """A socket of the standard library, or trio's."""

    def getsockopt(self, level: int, optname: int, buflen: int) -> bytes: ...


def user_of(sock: Socket) -> int:
    """Return the user at the other end, as the kernel knows it."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)
