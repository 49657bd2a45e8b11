"""Locks between processes, by name: open file description locks on bytes of one file that is never removed.

The kernel frees them when their holder dies. Each is taken on a descriptor of its own, so threads of one process
exclude each other too. A lock file for each thing would have to be removed with it, which can't be done without a
race.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import StoreError

_FLOCK = struct.Struct("hhqqi0q")
"""``struct flock`` where ``off_t`` has 64 bits: type, whence, start, length, pid."""
_FIRST_POLL_S = 0.001
_LAST_POLL_S = 0.05


def _byte_of(name: str) -> int:
    """Return the byte that stands for ``name``; two names that share one only wait for each other."""
    return int.from_bytes(hashlib.sha1(name.encode()).digest()[:7], "little")


class Locks:
    """The named locks of one store."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def hold(self, name: str, *, timeout_s: float | None = None) -> Iterator[None]:
        """Hold the lock of ``name``; StoreError where it isn't free within ``timeout_s`` (None: wait), else OSError."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            flock = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _byte_of(name), 1, 0)
            if timeout_s is None:
                fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, flock)
            else:
                self._poll(fd, flock, name, timeout_s)
            yield
        finally:
            _unlock(fd)
            os.close(fd)

    def _poll(self, fd: int, flock: bytes, name: str, timeout_s: float) -> None:
        deadline, pause_s = time.monotonic() + timeout_s, _FIRST_POLL_S
        while not _try_lock(fd, flock):
            if time.monotonic() >= deadline:
                raise StoreError(f"store: the lock of {name[:8]} was held for {timeout_s:g} s by another process")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_POLL_S)


def _unlock(fd: int) -> None:
    """Free the lock by name: closing would leave it to a child that was forked meanwhile, and has the descriptor."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))


def _try_lock(fd: int, flock: bytes) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, flock)
    except OSError as exc:
        if exc.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True
