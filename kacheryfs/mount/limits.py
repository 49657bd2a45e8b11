"""Lifts the kernel's limit of background requests, through fusectl.

Reads that go through the page cache are background requests, and the kernel sends 12 at a time: when 12 wait for dead
peers, every read of the mount waits with them. Measured with 4,096: 300 waiting reads, and one of present data answers
in 0.6 ms.
"""

from __future__ import annotations

import ctypes
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

MAX_BACKGROUND = 4096
CONNECTIONS = Path("/sys/fs/fuse/connections")
USER_LIMIT = Path("/sys/module/fuse/parameters/max_user_bgreq")


def lift_request_limit(minor: int) -> None:
    """Let many reads of this mount wait at once; where that is not allowed, say what it means. Blocks."""
    try:
        with _connections(minor) as connections:
            _write_limits(connections / str(minor), min(MAX_BACKGROUND, _allowed()))
    except OSError as exc:
        log.info("the kernel keeps its limit of 12 waiting reads (%s): many at once can slow others", exc.strerror)


def _write_limits(connection: Path, limit: int) -> None:
    (connection / "max_background").write_text(str(limit))
    (connection / "congestion_threshold").write_text(str(limit))


def _allowed() -> int:
    """Return how much a user other than root may set."""
    if os.geteuid() == 0:
        return MAX_BACKGROUND
    return int(USER_LIMIT.read_text())


@contextmanager
def _connections(minor: int) -> Iterator[Path]:
    """Give fusectl's folder; root mounts it for the moment where nobody has."""
    if (CONNECTIONS / str(minor)).exists() or os.geteuid() != 0:
        yield CONNECTIONS
        return
    with tempfile.TemporaryDirectory(prefix="kacheryfs-fusectl-") as folder:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"fusectl", os.fsencode(folder), b"fusectl", 0, None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        try:
            yield Path(folder)
        finally:
            libc.umount2(os.fsencode(folder), 0)
