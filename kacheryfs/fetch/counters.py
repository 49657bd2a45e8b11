"""What an engine has done since it began, in numbers that only grow: for ``status``, ``top`` and ``why``."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field

WAIT_BOUNDS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Upper ends of the histogram's bins; the last bin has none."""


@dataclass(slots=True)
class Tally:
    """Reads, and the bytes that they returned."""

    n_reads: int = 0
    n_bytes: int = 0

    def add(self, n_bytes: int) -> None:
        self.n_reads += 1
        self.n_bytes += n_bytes


@dataclass(slots=True)
class Received:
    """The bytes of files that one peer has sent."""

    n_bytes: int = 0
    wasted_bytes: int = 0
    """Of these, what another had landed before, what failed its proof, and what a run that broke off had begun."""


@dataclass(slots=True)
class Waited:
    """How long reads waited for the network, as a histogram over ``WAIT_BOUNDS_S``."""

    bins: list[int] = field(default_factory=lambda: [0] * (len(WAIT_BOUNDS_S) + 1))
    total_s: float = 0.0
    longest_s: float = 0.0

    def add(self, elapsed_s: float) -> None:
        self.bins[bisect_left(WAIT_BOUNDS_S, elapsed_s)] += 1
        self.total_s += elapsed_s
        self.longest_s = max(self.longest_s, elapsed_s)


@dataclass(slots=True)
class Counters:
    """All of it; each read is counted once, by where the last of its bytes had to come from."""

    from_memory: Tally = field(default_factory=Tally)
    from_store: Tally = field(default_factory=Tally)
    from_network: Tally = field(default_factory=Tally)
    waited: Waited = field(default_factory=Waited)
    received: defaultdict[str, Received] = field(default_factory=lambda: defaultdict(Received))
    """By the peers' URLs."""

    @property
    def wasted_bytes(self) -> int:
        return sum(received.wasted_bytes for received in self.received.values())

    @property
    def received_bytes(self) -> int:
        return sum(received.n_bytes for received in self.received.values())
