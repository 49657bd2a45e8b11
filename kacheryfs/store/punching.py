"""Giving the disk of a file's blocks back: a hole where their data were, which only who holds their lock may make."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ..core.model import BlockRange, ByteRange, Layout
from .locks import try_lock, unlock
from .presence import Presence, disk_cost

_PAGE = 4096
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def can_punch(folder: Path) -> bool:
    """Return whether files in ``folder`` can have holes made; OSError where that can't be tried."""
    path = folder / secrets.token_hex(8)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.unlink(path)
        os.ftruncate(fd, 2 * _PAGE)  # no data: a full disk takes none, and is when it matters
        _punch(fd, 0, _PAGE)
    except OSError as exc:
        if exc.errno in _UNSUPPORTED:
            return False
        raise
    finally:
        os.close(fd)
    return True


def evict_blocks(fd: int, presence: Presence, layout: Layout, blocks: BlockRange) -> int:
    """Take blocks away from everybody; the caller holds their lock. Return their bytes that were present. OSError.

    In this order, which readers rely on: presence, generation (both ``clear``), data.
    """
    present_bytes = sum(disk_cost(layout, block) for block in blocks if presence.bits[block])
    presence.clear(blocks.start, len(blocks))
    punch_blocks(fd, layout, blocks)
    return present_bytes


def mend_blocks(fd: int, presence: Presence, layout: Layout, blocks: BlockRange) -> int:
    """Make holes where there are data without presence; return the bytes that this freed. OSError.

    Each run by itself: whoever puts or sends something keeps that run alone.
    """
    return sum(_mend_run(fd, presence, layout, run) for run in _missing_runs(presence, blocks))


def _mend_run(fd: int, presence: Presence, layout: Layout, run: BlockRange) -> int:
    span = layout.bytes_of(run)
    if not _has_data(fd, span):  # most have none, and each new generation has readers look again
        return 0
    with holding_alone(fd, span) as is_alone:
        missing = list(_missing_runs(presence, run)) if is_alone else []
        if not missing:
            return 0
        before = os.fstat(fd).st_blocks
        presence.renew()  # a reader may have looked before its evictor was killed
        for blocks in missing:
            punch_blocks(fd, layout, blocks)
        return max(before - os.fstat(fd).st_blocks, 0) * 512


def _missing_runs(presence: Presence, blocks: BlockRange) -> Iterator[BlockRange]:
    bits = presence.read(blocks)
    start = bits.find(b"\0")
    while start >= 0:
        stop = bits.find(b"\1", start)
        stop = len(bits) if stop < 0 else stop
        yield BlockRange(blocks.start + start, blocks.start + stop)
        start = bits.find(b"\0", stop)


def _has_data(fd: int, span: ByteRange) -> bool:
    try:
        return os.lseek(fd, span.start, os.SEEK_DATA) < span.stop
    except OSError as exc:
        if exc.errno == errno.ENXIO:  # a hole up to the end of the file
            return False
        raise


def punch_blocks(fd: int, layout: Layout, blocks: BlockRange) -> None:
    """Make a hole of the pages that belong to these blocks alone.

    Whole pages, also beyond the end of the file: the kernel zeroes a part of a page in place, and a page that was taken
    by ``sendfile`` may still be on its way.
    """
    span = layout.bytes_of(blocks)
    start = -(-span.start // _PAGE) * _PAGE
    stop = span.stop if span.stop < layout.size_bytes else span.stop + _PAGE - 1
    stop = stop // _PAGE * _PAGE
    if start < stop:
        _punch(fd, start, stop)


def _punch(fd: int, start: int, stop: int) -> None:
    if _fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, start, stop - start) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def holding_alone(fd: int, span: ByteRange) -> Iterator[bool]:
    """Yield whether nobody else holds ``span``, keeping it then."""
    is_free = try_lock(fd, span)
    try:
        yield is_free
    finally:
        if is_free:
            unlock(fd, span)
