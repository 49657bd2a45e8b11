"""One request under way, how long it is, and when it is overdue."""

from __future__ import annotations

import trio

from ..core.choice import UNKNOWN_RATE_BYTES_PER_S
from ..core.model import BlockRange
from .flights import FlightState
from .openfile import OpenFile
from .providers import Provider

MAX_RUN_BYTES = 8 * 1024 * 1024
FIRST_RUN_BYTES = 1024 * 1024
"""The longest run asked of a provider whose rate isn't known yet."""
RUN_S = 0.5
"""A run is no longer than its provider delivers in this time: a slow one holds few blocks up."""
OVERDUE_S = 1.0
"""A run that landed nothing for this time beyond four times what was expected: others are asked too."""
MAX_OVERDUE_S = 10.0
"""However slow a provider is known to be, this is when others are asked, who may have come since it was chosen."""


RUN_TIMEOUT_S = 60.0
MIN_RATE_BYTES_PER_S = 4096
"""A run may take this much longer; peers have closer limits of their own, this bounds any."""


class Run:
    """One request under way."""

    def __init__(self, file: OpenFile, provider: Provider, blocks: BlockRange) -> None:
        self.file = file
        self.provider = provider
        self.blocks = blocks
        self.n_bytes = len(file.layout.bytes_of(blocks))
        self.buffer_bytes = max(FIRST_RUN_BYTES, file.layout.block_size(blocks.start))
        self.progress_at = trio.current_time()
        self.flights = [file.flights[block] for block in blocks]
        """What it carries; by the time it ends the file's table may hold another flight of the same block."""
        self.has_landed = False
        self.scope = trio.CancelScope(deadline=self.progress_at + run_timeout_s(self.n_bytes))

    @property
    def n_awaited(self) -> int:
        """How many of its first blocks somebody waits for; the rest comes for the future."""
        return next((n for n, flight in enumerate(self.flights) if not flight.waiters), len(self.flights))

    @property
    def is_needless(self) -> bool:
        """Whether others have landed all that it carries."""
        return all(flight.state is FlightState.LANDED for flight in self.flights)


def run_timeout_s(n_bytes: int) -> float:
    """Return how long a run of ``n_bytes`` may take at the very most."""
    return RUN_TIMEOUT_S + n_bytes / MIN_RATE_BYTES_PER_S


def run_bytes(provider: Provider) -> int:
    """Return how long a run asked of ``provider`` should be."""
    rate = provider.peer.stats.rate_bytes_per_s
    return FIRST_RUN_BYTES if rate is None else int(min(rate * RUN_S, MAX_RUN_BYTES))


def overdue_s(run: Run) -> float:
    """Return how long ``run`` may go without landing a block before others are asked too."""
    stats = run.provider.peer.stats
    batch_bytes = min(run.buffer_bytes, run.n_bytes)
    rate = stats.rate_bytes_per_s or UNKNOWN_RATE_BYTES_PER_S
    return min(OVERDUE_S + 4 * ((stats.round_trip_s or 0.0) + batch_bytes / rate), MAX_OVERDUE_S)
