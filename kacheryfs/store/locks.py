"""Locks between processes: open file description (OFD) locks, which the kernel frees when their holder dies.

Each lock belongs to the descriptor that it was taken on, so threads of one process exclude each other too where each
has opened its own. ``Locks`` are named: bytes of one file that is never removed, since a lock file for each thing would
have to be removed with it, which can't be done without a race. The functions lock bytes of any open file.
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

from ..core.model import ByteRange
from ..errors import StoreError

_FLOCK = struct.Struct("hhqqi0q")
"""``struct flock`` where ``off_t`` has 64 bits: type, whence, start, length, pid."""
_FIRST_POLL_S = 0.001
_LAST_POLL_S = 0.05


def _byte_of(name: str) -> ByteRange:
    """Return the byte that stands for ``name``; two names that share one only wait for each other."""
    at = int.from_bytes(hashlib.sha1(name.encode()).digest()[:7], "little")
    return ByteRange(at, at + 1)


class Locks:
    """The named locks of one store."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def hold(self, name: str, *, timeout_s: float | None = None) -> Iterator[None]:
        """Hold the lock of ``name``; StoreError where it isn't free within ``timeout_s`` (None: wait), else OSError."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        byte = _byte_of(name)
        try:
            if timeout_s is None:
                fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _flock(fcntl.F_WRLCK, byte))
            elif not wait_for_lock(fd, byte, timeout_s=timeout_s):
                raise StoreError(f"store: the lock of {name[:8]} was held for {timeout_s:g} s by another process")
            yield
        finally:
            with contextlib.suppress(OSError):
                unlock(fd, byte)  # closing alone would leave it to a child that was forked meanwhile
            os.close(fd)


def wait_for_lock(fd: int, span: ByteRange, *, timeout_s: float, is_shared: bool = False) -> bool:
    """Lock bytes of an open file; False where somebody else had them for ``timeout_s``."""
    deadline, pause_s = time.monotonic() + timeout_s, _FIRST_POLL_S
    while not try_lock(fd, span, is_shared=is_shared):
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LAST_POLL_S)
    return True


def try_lock(fd: int, span: ByteRange, *, is_shared: bool = False) -> bool:
    """Lock bytes of an open file without waiting; False where another descriptor has them in the way."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_RDLCK if is_shared else fcntl.F_WRLCK, span))
    except OSError as exc:
        if exc.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def unlock(fd: int, span: ByteRange) -> None:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, span))


def is_locked(fd: int, span: ByteRange) -> bool:
    """Return whether another descriptor has a lock, shared or not, on some of these bytes."""
    return find_locked(fd, span) is not None


def find_locked(fd: int, span: ByteRange) -> int | None:
    """Return where one such lock begins, whichever the kernel met first; None where there is none."""
    found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, span))
    kind, _, start, *_ = _FLOCK.unpack(found)
    return None if kind == fcntl.F_UNLCK else int(start)


def _flock(kind: int, span: ByteRange) -> bytes:
    assert span, "a length of 0 would lock all bytes from there on"
    return _FLOCK.pack(kind, os.SEEK_SET, span.start, len(span), 0)
