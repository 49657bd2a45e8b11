"""What a peer delivers: bytes over the time in which it had something to deliver; arithmetic without a clock.

All connections to a peer share its line, so they are measured together, and by the second: a peer that is asked for
three things at once isn't three times slower, and one that slows down shows it before its next body has ended.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

RECENT_S = 2.0
"""Of busy time, after which a measurement counts a third: a slowdown to a tenth shows within a second."""
USUAL_S = 30.0
KNOWN_BYTES = 64 * 1024
"""Less than this tells of the round trip, not of the line."""
FIRST_HEALING_S = 0.5
LONGEST_HEALING_S = 8.0
"""A peer that slumped is thought capable of twice as much after this long without work; each slump doubles it.

So one that was overdue once, since a machine hiccuped, is back within seconds; one that stays slow is tried with a
short run now and then.
"""
MIN_RATE_BYTES_PER_S = 4096.0


@dataclass(slots=True)
class _Mean:
    decay_s: float
    n_bytes: float = 0.0
    busy_s: float = 0.0

    def add(self, n_bytes: int, busy_s: float) -> None:
        kept = math.exp(-busy_s / self.decay_s) if busy_s else 1.0
        self.n_bytes = self.n_bytes * kept + n_bytes
        self.busy_s = self.busy_s * kept + busy_s

    @property
    def rate(self) -> float:
        return self.n_bytes / max(self.busy_s, 1e-4)


@dataclass(slots=True)
class Rate:
    """One peer's. Times are of any one clock that doesn't go back."""

    _recent: _Mean = field(default_factory=lambda: _Mean(RECENT_S))
    _usual: _Mean = field(default_factory=lambda: _Mean(USUAL_S))
    _n_bodies: int = 0
    _measured_at: float = 0.0
    _n_bytes: int = 0
    _slumped_at: float = 0.0
    _healing_s: float = 0.0
    """0.0: it hasn't slumped."""

    def begin(self, now: float) -> None:
        """A body begins to come; the peer is busy until as many have ended."""
        self._measure(0, now)
        self._n_bodies += 1

    def note(self, n_bytes: int, now: float) -> None:
        self._n_bytes += n_bytes
        self._measure(n_bytes, now)
        if self._healing_s and self._recent.rate > self._usual.rate / 2:
            self._healing_s = 0.0

    def end(self, now: float) -> None:
        self._measure(0, now)
        self._n_bodies -= 1

    def _measure(self, n_bytes: int, now: float) -> None:
        busy_s = now - self._measured_at if self._n_bodies else 0.0
        self._recent.add(n_bytes, busy_s)
        self._usual.add(n_bytes, busy_s)
        self._measured_at = now

    def slump(self, rate_bytes_per_s: float, now: float) -> None:
        """Take note that it delivers no more than this since a moment, whatever it did before."""
        self._measure(0, now)
        if rate_bytes_per_s < self._recent.rate:
            self._recent = _Mean(RECENT_S, rate_bytes_per_s * FIRST_HEALING_S, FIRST_HEALING_S)
        if not self._healing_s or now - self._slumped_at > FIRST_HEALING_S:  # several of its runs notice one slump
            self._healing_s = min(max(2 * self._healing_s, FIRST_HEALING_S), LONGEST_HEALING_S)
            self._slumped_at = now

    def find_estimate(self, now: float) -> float | None:
        """Return the bytes a second to expect, None where too little is known."""
        if self._n_bytes < KNOWN_BYTES:
            return None
        recent = max(self._recent.rate, MIN_RATE_BYTES_PER_S)
        if not self._healing_s or self._n_bodies:
            return recent
        doublings = min((now - self._measured_at) / self._healing_s, 60.0)
        return max(recent, min(self._usual.rate, recent * math.pow(2.0, doublings)))
