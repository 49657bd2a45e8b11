"""Keeps a fork from copying SQLite in the middle of something: a child's first statement would wait for ever.

SQLite has locks of its own for the whole process (its allocator's, for one). A child that is forked while another
thread holds one inherits it locked, with nobody to free it. So whoever uses SQLite here does so under a lock that was
``guarded``, and a fork takes all of these first. What may take seconds (a look at all files, eviction) has its own kind
of lock, a ``Turn``: no fork waits for it, and a child has it free.
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


class Turn:
    """A lock, for one thread at a time again and again, that is free in a child, whoever had it when it was forked.

    The child finds what it guards as it was then, maybe half done: for what is right, or made again, in any state.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        with _choosing:
            _turns.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def start_anew(self) -> None:
        self._lock = threading.RLock()


_turns: WeakSet[Turn] = WeakSet()


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
    for turn in list(_turns):
        turn.start_anew()


os.register_at_fork(before=_hold_all, after_in_parent=_release_all, after_in_child=_start_anew)
