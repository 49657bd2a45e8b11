"""When a run is overdue, so that others are asked for what it carries.

By what was expected of its peer, four times over: a fast peer that stalls is overdue after a quarter of a second, one
on a slow line isn't as long as it is as slow as always. Where somebody waits, four times what another would need is
enough: the block is asked of both, and who is first wins. So what is fetched twice is at most the runs of peers that
slowed down, and what the slowest had when a reader came to it.
"""

from __future__ import annotations

from ..core.choice import UNKNOWN_RATE_BYTES_PER_S
from .flights import FlightState
from .loads import Loads
from .recent import BATCH_BYTES
from .runs import Run

PATIENCE = 4.0
SHORTEST_S = 0.25
"""Below this a machine that is busy elsewhere would look like a slow peer."""
SHORTEST_HELD_S = 1.0
"""For who holds an answer back: the block comes to it over the line that we would load ourselves by asking again."""
UNKNOWN_S = 1.0
"""Without one byte, of a peer of which nothing is known yet: while bytes come, its line may be slow by nature."""
LONGEST_S = 10.0
"""However slow a provider is known to be, this is when others are asked, who may have come since it was chosen."""
OVERDUE_WORD = "is overdue"


def find_overdue_at(run: Run, loads: Loads, limit_bytes_per_s: float | None) -> float | None:
    """Return when ``run`` is overdue if it lands nothing before, None where nobody else can be asked.

    ``limit_bytes_per_s`` is what this machine allows itself.
    """
    other_s = _expected_of_others_s(run, loads)
    if other_s is None:
        return None
    if run.rate_bytes_per_s is None and not run.hold_s:
        return min(run.received_at + UNKNOWN_S, run.progress_at + LONGEST_S)
    patience_s = PATIENCE * _expected_s(run, loads, limit_bytes_per_s)
    if run.is_awaited:
        patience_s = min(patience_s, PATIENCE * other_s)
    shortest_s = SHORTEST_HELD_S if run.hold_s else SHORTEST_S
    return run.progress_at + min(max(patience_s, shortest_s), LONGEST_S)


def _expected_s(run: Run, loads: Loads, limit_bytes_per_s: float | None) -> float:
    """Return how long the next batch of ``run`` should take: all runs of a peer share its line."""
    if run.hold_s:
        return run.hold_s
    stats = run.provider.peer.stats
    n_bytes = min(max(BATCH_BYTES, run.file.layout.block_size(run.blocks.start)), run.n_bytes)
    s_per_byte = loads.of(run.provider.peer).n_runs / (run.rate_bytes_per_s or UNKNOWN_RATE_BYTES_PER_S)
    if limit_bytes_per_s is not None:
        s_per_byte = max(s_per_byte, loads.n_runs / limit_bytes_per_s)
    return (stats.round_trip_s or 0.0) + n_bytes * s_per_byte


def _expected_of_others_s(run: Run, loads: Loads) -> float | None:
    """Return how soon the best other provider should deliver a block of ``run``."""
    flight = next((flight for flight in run.flights if flight.state is not FlightState.LANDED), run.flights[0])
    n_bytes = run.file.layout.block_size(flight.block)
    return run.file.providers.find_expected_s(flight, n_bytes, loads)
