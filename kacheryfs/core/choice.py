"""Which provider to ask for a run: the one that should deliver it first, by what it has delivered so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

UNKNOWN_RATE_BYTES_PER_S = 50e6
"""What a provider that has not delivered yet is thought capable of: optimistic, so that each is tried."""
UNKNOWN_ROUND_TRIP_S = 0.02


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is known of one provider at the moment of choosing."""

    index: int
    round_trip_s: float | None
    rate_bytes_per_s: float | None
    queued_bytes: int
    slower: float = 1.0
    """How many times as long it should seem to take: to spare it."""


def expected_s(candidate: Candidate, n_bytes: int) -> float:
    """Return when ``candidate`` should have delivered ``n_bytes`` more, in seconds from now."""
    rate = candidate.rate_bytes_per_s or UNKNOWN_RATE_BYTES_PER_S
    round_trip_s = UNKNOWN_ROUND_TRIP_S if candidate.round_trip_s is None else candidate.round_trip_s
    return (round_trip_s + (candidate.queued_bytes + n_bytes) / rate) * candidate.slower


def choose(candidates: Sequence[Candidate], n_bytes: int) -> int | None:
    """Return the ``index`` of the best candidate for ``n_bytes``, None where there is none."""
    if not candidates:
        return None
    return min(candidates, key=lambda c: (expected_s(c, n_bytes), c.index)).index
