"""How much may still be written: the store stops growing before the disk is full."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

_MEASURE_AGAIN_BYTES = 64 * 1024 * 1024
_MEASURE_AGAIN_S = 1.0
"""A measurement is one statvfs; others write to the disk too, so it isn't trusted for longer."""


class FreeSpace:
    """A budget of bytes, measured again after each second, each 64 MiB, and whenever it says no."""

    def __init__(self, root: Path, min_free_fraction: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._min_free_fraction = min_free_fraction
        self._clock = clock
        self._lock = threading.Lock()
        self._budget_bytes = 0  # Invariant: what may be written until the next measurement
        self._measured_at_s = float("-inf")

    def take(self, n_bytes: int) -> bool:
        """Return whether ``n_bytes`` may be written, and count them as written."""
        with self._lock:
            now = self._clock()
            if n_bytes > self._budget_bytes or now >= self._measured_at_s + _MEASURE_AGAIN_S:
                self._budget_bytes = self._measure(n_bytes)
                self._measured_at_s = now
            if n_bytes > self._budget_bytes:
                return False
            self._budget_bytes -= n_bytes
            return True

    def _measure(self, n_bytes: int) -> int:
        allowance = max(_MEASURE_AGAIN_BYTES, n_bytes)
        try:
            disk = os.statvfs(self._root)
        except OSError:  # no answer: the write itself will say what is wrong
            return allowance
        keep = int(disk.f_blocks * self._min_free_fraction)
        return min((disk.f_bavail - keep) * disk.f_frsize, allowance)
