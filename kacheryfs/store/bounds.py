"""The bounds that live processes have everybody on their store go by.

A held bound is a lock, and no byte of any file: shared, on one byte of the store's ``lock``, far behind those that
stand for files, as many bytes on as the bound has. So it goes with its holder, killed or not. What is to stay free of
the disk is held behind all those, the more the nearer.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from ..core.model import ByteRange
from ..core.quantities import MAX_SIZE_BYTES
from .forks import guarded
from .locks import find_locked, try_lock, unlock

_FIRST = 1 << 62
_FIRST_FLOOR = _FIRST + MAX_SIZE_BYTES + 1


class Bounds:
    """One process's side of them; usable from any thread."""

    def __init__(self, path: Path, first: int = _FIRST) -> None:
        """``first`` is the byte that stands for no bytes at all."""
        self._path = path
        self._first = first
        self._lock = guarded(threading.Lock())
        self._fd = -1
        self._pid = 0
        self._held_bytes = 0  # Invariant: locked on the descriptor, if that is open

    def hold(self, n_bytes: int) -> None:
        """Hold this bound until ``release``, in the place of the one before, and anew where the store was made anew.

        OSError; the file is made by who makes the store.
        """
        n_bytes = max(0, min(n_bytes, MAX_SIZE_BYTES))  # some file systems tell of absurd sizes
        with self._lock:
            if self._fd >= 0 and self._held_bytes == n_bytes and self._is_in_place():
                return
            fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            try_lock(fd, self._byte_of(n_bytes), is_shared=True)  # nobody has it alone
            self._let_go()
            self._fd, self._pid, self._held_bytes = fd, os.getpid(), n_bytes

    def find(self) -> int | None:
        """Return the smallest bound that a live process holds, this one or another; None where none is known of."""
        try:
            with self._path.open("rb", buffering=0) as file:  # on a descriptor of its own our lock is seen, too
                return self._find_smallest(file.fileno())
        except OSError:
            return None

    def release(self) -> None:
        """Hold nothing any more."""
        with self._lock:
            self._let_go()

    def _is_in_place(self) -> bool:
        """Return whether the file wasn't removed, nor this process forked, since it was opened."""
        try:
            return self._pid == os.getpid() and os.path.samestat(os.stat(self._path), os.fstat(self._fd))
        except OSError:
            return False

    def _let_go(self) -> None:
        if self._fd < 0:
            return
        if self._pid == os.getpid():  # else it is the lock of the process that forked this one
            with contextlib.suppress(OSError):
                unlock(self._fd, self._byte_of(self._held_bytes))  # closing alone would leave it to a child
        os.close(self._fd)
        self._fd = -1

    def _byte_of(self, n_bytes: int) -> ByteRange:
        return ByteRange(self._first + n_bytes, self._first + n_bytes + 1)

    def _find_smallest(self, fd: int) -> int | None:
        """Look again below what was found until nothing is: the kernel doesn't tell of the lowest lock first."""
        found, stop = None, self._first + MAX_SIZE_BYTES + 1
        while stop > self._first and (at := find_locked(fd, ByteRange(self._first, stop))) is not None:
            found, stop = at - self._first, at
        return found


class Floors:
    """What is to stay free of the disk, held in the same way: the largest counts."""

    def __init__(self, path: Path) -> None:
        self._bounds = Bounds(path, _FIRST_FLOOR)

    def hold(self, n_bytes: int) -> None:
        """As of ``Bounds``."""
        self._bounds.hold(MAX_SIZE_BYTES - n_bytes)

    def find(self) -> int | None:
        """Return the largest floor that a live process holds; None where none is known of."""
        found = self._bounds.find()
        return None if found is None else MAX_SIZE_BYTES - found

    def release(self) -> None:
        self._bounds.release()
