"""How much of its bound a store has used, as all processes agree on it: one small file, changed under a lock.

    magic, spent, written, evicted_blocks, evicted_bytes, evicting_since_ms, counted_at_ms, first_free
    504 slots                                                                           8 bytes each: one page

*Spent* is what lies on disk. A process that will write takes some MiB at a time in reserve, in a slot of its own, so
that most writes cost no system call; what it has in reserve counts as used. It holds a lock on its slot: when it dies,
whoever comes next adds its slot to what is spent, as it may have written that much. A count of what really lies there
(``counting``) puts right what was guessed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..core.model import ByteRange
from .forks import guarded
from .locks import is_locked, try_lock, unlock, wait_for_lock

_MAGIC = b"kfsused2"
_HEAD = struct.Struct("<8s7q")
_N_SLOTS = 504
"""One process more than these keeps nothing."""
_SLOTS = struct.Struct(f"<{_N_SLOTS}q")
_WHOLE = ByteRange(1 << 61, (1 << 61) + 1)
_FIRST_SLOT = 1 << 60
_LOCK_TIMEOUT_S = 5.0
"""It is held for two system calls; who holds it longer is stopped, and then memory must do."""


@dataclass(slots=True)
class Account:
    """What stands in the file."""

    spent: int = 0
    written: int = 0
    """All that was ever added to ``spent``; it never falls."""
    evicted_blocks: int = 0
    evicted_bytes: int = 0
    evicting_since_ms: int = 0
    counted_at_ms: int = 0
    """When what lies there was last counted; 0: never, and ``spent`` is not known."""
    first_free: int = 0
    """What was free on the disk, the store's own bytes included, when it was first used while that wasn't little."""
    slots: list[int] = field(default_factory=lambda: [0] * _N_SLOTS)

    @property
    def used_bytes(self) -> int:
        return self.spent + sum(self.slots)

    def add(self, n_bytes: int) -> None:
        self.spent += n_bytes
        self.written += n_bytes


class Ledger:
    """One process's side of the file; usable from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = guarded(threading.Lock())
        self._fd = -1
        self._pid = 0
        self._slot = -1
        self._has_begun = False
        self._budget_bytes = 0  # Invariant: slot = budget + under way + done since the file was last changed
        self._under_way_bytes = 0
        self._done_bytes = 0
        self.seen_bytes = 0
        """What was used when this process last changed the file."""

    def take(self, n_bytes: int, limit_bytes: int, reserve_bytes: int) -> bool:
        """Return whether ``n_bytes`` may be written; ``settle`` says what became of them. OSError."""
        with self._lock:
            if n_bytes > self._budget_bytes or self._pid != os.getpid():
                self._refill(n_bytes, limit_bytes, reserve_bytes)
            if n_bytes > self._budget_bytes:
                return False
            self._budget_bytes -= n_bytes
            self._under_way_bytes += n_bytes
            return True

    def settle(self, taken_bytes: int, written_bytes: int) -> None:
        """Note that of what was taken so much is on disk now."""
        with self._lock:
            self._under_way_bytes -= taken_bytes
            self._done_bytes += written_bytes
            self._budget_bytes += taken_bytes - written_bytes

    def _refill(self, n_bytes: int, limit_bytes: int, reserve_bytes: int) -> None:
        with self._changing() as account:
            left_bytes = limit_bytes - account.used_bytes + self._budget_bytes
            if left_bytes >= n_bytes:
                self._budget_bytes = min(max(n_bytes, reserve_bytes), left_bytes)

    def give_back(self, n_bytes: int, *, evicted_blocks: int = 0) -> None:
        """Note that so much went from the disk; OSError."""
        with self._lock, self._changing() as account:
            account.spent -= n_bytes
            if evicted_blocks:
                account.evicted_blocks += evicted_blocks
                account.evicted_bytes += n_bytes
                account.evicting_since_ms = account.evicting_since_ms or now_ms()

    def begin_count(self) -> int:
        """Return what ``note_count`` needs to know of the time before a count; OSError."""
        with self._lock, self._changing() as account:
            return account.written

    def note_count(self, found_bytes: int, written_before: int) -> None:
        """Put what a count found in the place of what was known; OSError.

        What was written meanwhile may be in it or not: it is added, and the next count takes it out.
        """
        with self._lock, self._changing() as account:
            account.spent = found_bytes + account.written - written_before
            account.counted_at_ms = now_ms()

    def note_first_free(self, free_bytes: int, enough_bytes: int) -> int:
        """Keep what was free at first, once for all where it is enough; return what is kept. OSError."""
        with self._lock, self._changing() as account:
            if account.first_free < enough_bytes:
                account.first_free = free_bytes
            return account.first_free

    def read(self) -> Account:
        """Return what stands in the file, an empty account where there is none."""
        try:
            with self._path.open("rb", buffering=0) as file:
                return _decode(file.read(_HEAD.size + _SLOTS.size))
        except OSError:
            return Account()

    @property
    def is_there(self) -> bool:
        return self._path.exists()

    def is_alone(self) -> bool:
        """Return whether no other process has anything in reserve here."""
        with self._lock:
            self._open()
            return not any(is_locked(self._fd, _slot_byte(slot)) for slot in range(_N_SLOTS) if slot != self._slot)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Account]:
        """Change the file: what this process has done is moved from its slot to what is spent."""
        self._open()
        if not wait_for_lock(self._fd, _WHOLE, timeout_s=_LOCK_TIMEOUT_S):
            raise OSError(errno.EAGAIN, f"the store's account was locked for {_LOCK_TIMEOUT_S:g} s by another process")
        try:
            account = _decode(os.pread(self._fd, _HEAD.size + _SLOTS.size, 0))
            self._bury_dead(account)
            if not self._has_begun:  # the slot may be that of a dead process, too
                account.add(account.slots[self._slot])
                self._has_begun = True
            account.add(self._done_bytes)
            self._done_bytes = 0
            account.slots[self._slot] = self._budget_bytes + self._under_way_bytes
            yield account
            account.slots[self._slot] = self._budget_bytes + self._under_way_bytes
            os.pwrite(self._fd, _encode(account), 0)
            self.seen_bytes = account.used_bytes
        finally:
            unlock(self._fd, _WHOLE)

    def _bury_dead(self, account: Account) -> None:
        for slot, n_bytes in enumerate(account.slots):
            if n_bytes and slot != self._slot and not is_locked(self._fd, _slot_byte(slot)):
                account.add(n_bytes)
                account.slots[slot] = 0

    def _open(self) -> None:
        """Open the file, anew where it was removed, or after a fork: a child has no share in its parent's slot."""
        if self._fd >= 0 and self._pid == os.getpid() and self._is_in_place():
            return
        self._forget()
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._pid = os.getpid()
        self._slot = next((slot for slot in range(_N_SLOTS) if try_lock(self._fd, _slot_byte(slot))), -1)
        if self._slot < 0:
            self._forget()
            raise OSError(errno.EUSERS, "too many processes write to the store")

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._fd))
        except OSError:
            return False

    def close(self) -> None:
        """Give back what is in reserve, and give up the slot."""
        with self._lock:
            self._budget_bytes = 0
            with contextlib.suppress(OSError):  # who comes next takes it for that of a dead process
                if self._fd >= 0 and self._pid == os.getpid() and self._is_in_place():
                    with self._changing():
                        pass
            self._forget()

    def _forget(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = self._slot = -1
        self._has_begun = False
        self._budget_bytes = self._under_way_bytes = self._done_bytes = 0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _slot_byte(slot: int) -> ByteRange:
    return ByteRange(_FIRST_SLOT + slot, _FIRST_SLOT + slot + 1)


def _decode(data: bytes) -> Account:
    if len(data) < _HEAD.size + _SLOTS.size or not data.startswith(_MAGIC):
        return Account()
    _, *values = _HEAD.unpack_from(data)
    account = Account(*values)
    account.slots = list(_SLOTS.unpack_from(data, _HEAD.size))
    return account


def _encode(account: Account) -> bytes:
    known = (account.spent, account.written, account.evicted_blocks, account.evicted_bytes)
    times = (account.evicting_since_ms, account.counted_at_ms)
    return _HEAD.pack(_MAGIC, *known, *times, account.first_free) + _SLOTS.pack(*account.slots)
