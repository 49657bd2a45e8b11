"""What was learned about a peer by using it, for choosing between peers and for ``kacheryfs status``."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from ..core.rate import Rate

_WEIGHT = 0.25
"""Of the newest sample: an old habit is forgotten after about ten requests."""


@dataclass(slots=True)
class PeerStats:
    """Counters and smoothed measures of one peer; changed by the peer itself, but for ``rate``.

    Times are of trio's clock.
    """

    bytes_received: int = 0
    """Everything from the wire: heads, answers and bodies (of https, after decryption)."""
    n_requests: int = 0
    n_open_connections: int = 0
    round_trip_s: float | None = None
    """From a request's last byte out to its answer's first byte in, smoothed."""
    rate: Rate = field(default_factory=Rate)
    """Of the bytes of files; measured by whoever receives them, for it knows what it asked for."""
    last_error: str | None = None
    last_error_at: float | None = None
    last_answer_at: float | None = None

    @property
    def rate_bytes_per_s(self) -> float | None:
        """What it can be expected to deliver, None where nothing is known; asked within trio."""
        return self.rate.find_estimate(trio.current_time())

    def note_round_trip(self, elapsed_s: float, now: float) -> None:
        self.round_trip_s = _smooth(self.round_trip_s, elapsed_s)
        self.last_answer_at = now

    def note_error(self, message: str, now: float) -> None:
        self.last_error = message
        self.last_error_at = now


def _smooth(before: float | None, sample: float) -> float:
    return sample if before is None else before + _WEIGHT * (sample - before)
