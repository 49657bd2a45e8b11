"""The download limit: a bucket of bytes that fills at the rate that was set, shared by every run."""

from __future__ import annotations

import trio

BURST_S = 0.1
"""How much an idle line saves up: little, so that the limit holds over any second."""
STEP_S = 0.02
"""A run takes this much at most at a time, so that others get their turn."""
MIN_STEP_BYTES = 1024


class Throttle:
    """Bytes are taken before they are received; None: no limit, and nothing is ever waited for."""

    def __init__(self, bytes_per_s: float | None) -> None:
        self.bytes_per_s = bytes_per_s
        self._free_at = 0.0
        self._turn = trio.StrictFIFOLock()

    async def take(self, n_bytes: int) -> int:
        """Wait until some of ``n_bytes`` may be received; return how many."""
        if self.bytes_per_s is None:
            return n_bytes
        n_taken = min(n_bytes, max(int(self.bytes_per_s * STEP_S), MIN_STEP_BYTES))
        async with self._turn:
            now = trio.current_time()
            self._free_at = max(self._free_at, now - BURST_S) + n_taken / self.bytes_per_s
            await trio.sleep_until(self._free_at)
        return n_taken

    def give_back(self, n_bytes: int) -> None:
        """Return what was taken and did not come."""
        if self.bytes_per_s is not None:
            self._free_at -= n_bytes / self.bytes_per_s
