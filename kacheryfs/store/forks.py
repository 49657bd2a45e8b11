"""Keeps a fork from copying SQLite in the middle of something: a child's first statement would wait for ever.

SQLite has locks of its own for the whole process (its allocator's, for one). A child that is forked while another
thread holds one inherits it locked, with nobody to free it. So whoever uses SQLite here does so under a lock that was
``guarded``, and a fork takes all of these first.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Protocol, TypeVar
from weakref import WeakSet

WAIT_S = 5.0
"""A statement takes milliseconds; one that waits for another process's transaction does so asleep, locks free."""


class Lock(Protocol):
    """A ``threading.Lock`` or ``RLock``."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...

    def release(self) -> None: ...


L = TypeVar("L", bound=Lock)

_guarded: WeakSet[Lock] = WeakSet()
_choosing = threading.Lock()
_held: dict[int, list[Lock]] = {}
"""What a thread that is forking holds."""


def guarded(lock: L) -> L:
    """Return ``lock``, which no other thread will hold while this process forks."""
    with _choosing:
        _guarded.add(lock)
    return lock


def _hold_all() -> None:
    with _choosing:
        locks = list(_guarded)
    _held[threading.get_ident()] = [lock for lock in locks if lock.acquire(timeout=WAIT_S)]


def _release_all() -> None:
    for lock in _held.pop(threading.get_ident(), ()):
        with suppress(RuntimeError):  # an RLock, where the interpreter gave this thread another number
            lock.release()


def _start_anew() -> None:
    """In a child: what the parent had open isn't used here, but its locks must not stop anybody either."""
    global _choosing
    _choosing = threading.Lock()
    _release_all()
    _held.clear()


os.register_at_fork(before=_hold_all, after_in_parent=_release_all, after_in_child=_start_anew)
