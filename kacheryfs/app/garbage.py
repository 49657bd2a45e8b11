"""Python's garbage collector and h5py: two that would wait for each other for ever, kept apart.

h5py holds one lock (``phil``) during every call, also while it reads a Python file object: one of ours, which waits for
the engine's threads. The collector runs in whatever thread makes an object at that moment, an engine's too, and throws
away whatever is garbage, h5py's objects too, for which it needs that lock: the engine waits for the reader, the reader
for the engine. (fsspec's users know the same standstill.)

So a collection begins with a look at the lock. Where it is free, or this thread's own, the thread that collects takes
it for that long. Where another thread is inside of h5py, this collection finds nothing: all objects are put aside
("frozen", two list operations) and brought back when it ends. The next one finds them.
"""

from __future__ import annotations

import gc
import sys
import threading
from typing import Any

_lock = threading.Lock()
_is_on = False


class _Collections:
    """What the collection under way has taken; collections never run inside each other."""

    def __init__(self) -> None:
        self._taken: Any = None
        self._is_frozen = False

    def __call__(self, phase: str, _: dict[str, int]) -> None:
        objects = sys.modules.get("h5py._objects")
        if phase == "stop":
            self._end()
        elif objects is not None:
            self._begin(objects.phil)

    def _begin(self, phil: Any) -> None:
        if phil.acquire(False):
            self._taken = phil
        else:
            gc.freeze()
            self._is_frozen = True

    def _end(self) -> None:
        if self._is_frozen:
            self._is_frozen = False
            gc.unfreeze()
        if self._taken is not None:
            phil, self._taken = self._taken, None
            phil.release()


def keep_from_h5py() -> None:
    """Have every later collection of this process look out for h5py; once is enough."""
    global _is_on
    with _lock:
        if not _is_on:
            gc.callbacks.append(_Collections())
            _is_on = True
