"""What was learned about a peer by using it, for choosing between peers and for ``kacheryfs status``."""

from __future__ import annotations

from dataclasses import dataclass

_WEIGHT = 0.25
"""Of the newest sample: an old habit is forgotten after about ten requests."""


@dataclass(slots=True)
class PeerStats:
    """Counters and smoothed measures of one peer; changed only by the peer itself.

    Times are of trio's clock.
    """

    bytes_received: int = 0
    """Everything from the wire: heads, answers and bodies (of https, after decryption)."""
    n_requests: int = 0
    n_open_connections: int = 0
    round_trip_s: float | None = None
    """From a request's last byte out to its answer's first byte in, smoothed."""
    rate_bytes_per_s: float | None = None
    """Of one body as its reader saw it, smoothed over bodies of 64 KiB or more."""
    last_error: str | None = None
    last_error_at: float | None = None
    last_answer_at: float | None = None

    def note_round_trip(self, elapsed_s: float, now: float) -> None:
        self.round_trip_s = _smooth(self.round_trip_s, elapsed_s)
        self.last_answer_at = now

    def note_body(self, n_bytes: int, elapsed_s: float) -> None:
        if n_bytes >= 64 * 1024 and elapsed_s > 0:
            self.rate_bytes_per_s = _smooth(self.rate_bytes_per_s, n_bytes / elapsed_s)

    def note_error(self, message: str, now: float) -> None:
        self.last_error = message
        self.last_error_at = now


def _smooth(before: float | None, sample: float) -> float:
    return sample if before is None else before + _WEIGHT * (sample - before)
