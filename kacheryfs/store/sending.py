"""Holding blocks of a stored file on disk while their bytes are sent.

Who reads looks again after the read whether the blocks were there all the time (``backing``). ``sendfile`` can't be
taken back, so a sender keeps the evictor away instead: a shared lock on the bytes, from the check to the end of the
send. Bytes that the socket still has to send may be evicted: the kernel drops their pages from the file, and never
changes them in place.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Protocol

from ..core.model import ByteRange
from ..errors import StoreError
from .locks import unlock, wait_for_lock

_TIMEOUT_S = 5.0
"""An evictor has an extent for milliseconds; one that has it longer is stopped."""


class DataFile(Protocol):
    """What a sender sends from: the data file that a ``StoredFile`` has open now."""

    @property
    def fd(self) -> int: ...


class Sender:
    """A descriptor of a stored file's data for one thread at a time; ``close`` when done."""

    def __init__(self, file: DataFile) -> None:
        """StoreError where there is nothing on disk."""
        self._file = file
        try:
            # Opened anew: locks belong to a descriptor, and this way also a file whose name is gone is found.
            self.fd = os.open(f"/proc/self/fd/{file.fd}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as exc:
            raise StoreError(f"store: there is nothing to send from: {exc.strerror}") from exc

    @contextlib.contextmanager
    def holding(self, span: ByteRange) -> Iterator[None]:
        """Keep ``span`` from being evicted; what is found present (``check``) inside stays so to the end.

        StoreError: somebody has it for long, or the stored file has another data file now.
        """
        if not wait_for_lock(self.fd, span, timeout_s=_TIMEOUT_S, is_shared=True):
            raise StoreError(f"store: bytes {span.start} to {span.stop} were locked for {_TIMEOUT_S:g} s")
        try:
            self.check_current()
            yield
        finally:
            unlock(self.fd, span)

    def check_current(self) -> None:
        """Return while the stored file has this data file, else StoreError; asked again after blocks were checked.

        What was checked in between is then in this file: a stored file never goes back to a data file that it had.
        """
        try:
            is_current = os.path.samestat(os.fstat(self.fd), os.fstat(self._file.fd))
        except OSError:  # nothing is on disk any more
            is_current = False
        if not is_current:
            raise StoreError("store: the blocks were replaced while they were being sent")

    def close(self) -> None:
        os.close(self.fd)
