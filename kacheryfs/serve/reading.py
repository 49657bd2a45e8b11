"""Reads of an open file that are checked before and after they were made."""

from __future__ import annotations

import os

from ..core.model import ByteRange
from ..errors import ChangedError
from .source import Readable


def read_checked(readable: Readable, span: ByteRange) -> bytes:
    """Return the bytes of ``span``; blocking.

    ChangedError, ProofError: not what was promised; StoreError, OSError: the disk.
    """
    with readable.hold(span):
        readable.check(span)
        data = _read(readable.fd, span)
        readable.check(span)
    return data


def _read(fd: int, span: ByteRange) -> bytes:
    data = os.pread(fd, len(span), span.start)
    while len(data) < len(span):
        more = os.pread(fd, len(span) - len(data), span.start + len(data))
        if not more:
            raise ended_early(span.start + len(data))
        data += more
    return data


def ended_early(offset: int) -> ChangedError:
    return ChangedError(f"a served file ended early, at byte {offset}; it was cut while it was read")
