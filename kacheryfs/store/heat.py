"""How warm an extent is: when it was used last, as if later where it was dear to fetch (GreedyDual)."""

from __future__ import annotations

import time

from ..core.model import BlockRange
from .ledger import now_ms
from .presence import extents_of

_AGAIN_S = 5.0
_BONUS_S_PER_S = 600.0
"""A MiB that took a second to fetch is kept as if it had been used 10 min later."""
_MAX_BONUS_S = 24 * 3600.0


class Uses:
    """When one process last noted the use of each extent of a file: each is written every 5 s at most."""

    def __init__(self) -> None:
        self._next_s: dict[int, float] = {}

    def find_due(self, blocks: BlockRange) -> list[int]:
        """Return the extents of ``blocks`` whose use is to be written now; 0.4 µs."""
        now_s = time.monotonic()
        due = [extent for extent in extents_of(blocks) if now_s >= self._next_s.get(extent, 0.0)]
        for extent in due:
            self._next_s[extent] = now_s + _AGAIN_S
        return due


def heat_ms(refetch_s_per_mib: float) -> int:
    """Return how warm a use makes an extent now."""
    return now_ms() + int(1000 * min(refetch_s_per_mib * _BONUS_S_PER_S, _MAX_BONUS_S))
