"""Who has a data file open says so, so that nobody removes it; who can't be told of evictions forbids them.

Every descriptor that blocks are read from holds a shared lock on one byte far beyond any data (``IN_USE``). A whole
file is removed only by who got that byte for itself, tried and not waited for. A reader who looks at the presence after
each read needs no more. One who has no presence to look at holds a shared lock on all bytes too (``ALL_BYTES``), and so
nothing of the file is punched.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..core.model import ByteRange
from .locks import try_lock, wait_for_lock

ALL_BYTES = ByteRange(0, 1 << 61)
IN_USE = ByteRange(1 << 62, (1 << 62) + 1)
_TIMEOUT_S = 5.0
"""Who has a file for itself has it for one unlink, or for the punch of an extent: milliseconds."""


def open_in_use(path: Path, mode: int) -> int:
    """Open a data file and say so; FileNotFoundError also where it is being removed. OSError."""
    while True:
        fd = os.open(path, mode | os.O_CLOEXEC)
        try:
            hold_in_use(fd)
            if os.path.samestat(os.fstat(fd), os.stat(path)):  # else it was removed, or moved, before the lock was ours
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def hold_in_use(fd: int) -> None:
    """Say that ``fd`` is in use, also where it was taken for oneself before."""
    _lock_shared(fd, IN_USE)


def hold_all_bytes(fd: int) -> None:
    """Forbid that anything of the file is punched while ``fd`` is open; OSError."""
    _lock_shared(fd, ALL_BYTES)


def _lock_shared(fd: int, span: ByteRange) -> None:
    if not wait_for_lock(fd, span, timeout_s=_TIMEOUT_S, is_shared=True):
        raise OSError(errno.EAGAIN, f"a data file was locked for {_TIMEOUT_S:g} s by another process")


def take_alone(fd: int) -> bool:
    """Take a file that nobody else has open for oneself; False where somebody has."""
    return try_lock(fd, IN_USE)
