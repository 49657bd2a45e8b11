"""A few numbers that the proxy writes and the bench reads, and the other way round, in a file that both have mapped."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

_ORDERS = ("epoch", "rate_bytes_per_s", "is_lying")
"""What the bench writes and the proxy obeys, also while it runs."""
_FIELDS = (*_ORDERS, "up_bytes", "down_bytes", "connections", "requests", "rounds")
_SIZE = 8 * len(_FIELDS)


@dataclass(frozen=True, slots=True)
class Counts:
    """What went through the proxy since the last reset; bytes are TCP payload: heads, bodies, everything."""

    up_bytes: int
    down_bytes: int
    connections: int
    requests: int
    rounds: int

    @property
    def wire_bytes(self) -> int:
        return self.up_bytes + self.down_bytes


class Counters:
    """The mapped numbers; each is one aligned word. The bench writes the orders, the proxy the rest."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_SIZE))
        with path.open("r+b") as file:
            self._words = memoryview(mmap.mmap(file.fileno(), _SIZE)).cast("Q")
        self._at_reset = self.read_all()

    def read_all(self) -> Counts:
        return Counts(*self._words[len(_ORDERS) :])

    def since_reset(self) -> Counts:
        now, then = self.read_all(), self._at_reset
        return Counts(
            now.up_bytes - then.up_bytes,
            now.down_bytes - then.down_bytes,
            now.connections - then.connections,
            now.requests - then.requests,
            now.rounds,
        )

    def reset(self) -> None:
        """Count from here on; the proxy starts its rounds anew at the next byte that it sees."""
        self.add("epoch")
        self.set("rounds", 0)
        self._at_reset = self.read_all()

    def get(self, field: str) -> int:
        return self._words[_FIELDS.index(field)]

    def add(self, field: str, n: int = 1) -> None:
        self._words[_FIELDS.index(field)] += n

    def set(self, field: str, n: int) -> None:
        self._words[_FIELDS.index(field)] = n
