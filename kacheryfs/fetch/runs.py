"""One request under way, and how long it should be."""

from __future__ import annotations

import trio

from ..core.choice import UNKNOWN_RATE_BYTES_PER_S
from ..core.model import BlockRange
from ..core.ownership import UNIT_BYTES
from .flights import Flight, FlightState
from .openfile import OpenFile
from .providers import Provider

MAX_RUN_BYTES = 8 * 1024 * 1024
FIRST_RUN_BYTES = 1024 * 1024
"""The longest run asked of a provider whose rate isn't known yet."""
RUN_S = 0.5
"""A run is no longer than its provider delivers in this time: a slow one holds few blocks up."""

RUN_TIMEOUT_S = 60.0
MIN_RATE_BYTES_PER_S = 4096
"""A run may take this much longer; peers have closer limits of their own, this bounds any."""


class Run:
    """One request under way."""

    def __init__(self, file: OpenFile, provider: Provider, blocks: BlockRange, hold_s: float) -> None:
        """``hold_s`` is how long the provider may hold the answer back until it has the blocks itself."""
        self.file = file
        self.provider = provider
        self.blocks = blocks
        self.hold_s = hold_s
        self.n_bytes = len(file.layout.bytes_of(blocks))
        self.buffer_bytes = max(FIRST_RUN_BYTES, file.layout.block_size(blocks.start))
        self.flights = [file.flights[block] for block in blocks]
        """What it carries; by the time it ends the file's table may hold another flight of the same block."""
        self.since = self.progress_at = self.looked_at = trio.current_time()
        self.received_bytes = 0
        self.received_at = self.since
        self.landed_bytes = 0
        self.useful_bytes = 0
        """Of blocks that it was the first to land."""
        self.rate_bytes_per_s = provider.peer.stats.rate_bytes_per_s
        """What was expected of its peer when it began: one that slows down is late by this."""
        self.scope = trio.CancelScope(deadline=self.since + run_timeout_s(self.n_bytes))
        self._received_at_progress = 0

    @property
    def n_awaited(self) -> int:
        """How many of its first blocks somebody waits for; the rest comes for the future."""
        return next((n for n, flight in enumerate(self.flights) if not flight.waiters), len(self.flights))

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for anything that it still carries."""
        return any(flight.waiters and flight.state is not FlightState.LANDED for flight in self.flights)

    @property
    def is_needless(self) -> bool:
        """Whether others have landed all that it carries."""
        return all(flight.state is FlightState.LANDED for flight in self.flights)

    @property
    def n_unlanded_bytes(self) -> int:
        return self.n_bytes - self.landed_bytes

    def note_received(self, n_bytes: int, now: float) -> None:
        self.received_bytes += n_bytes
        self.received_at = now
        if not self.hold_s:
            self.provider.peer.stats.rate.note(n_bytes, now)

    def note_landed(self, block: int, now: float) -> None:
        self.landed_bytes += self.file.layout.block_size(block)
        self._note_progress(now)

    def _note_progress(self, now: float) -> None:
        self.progress_at, self._received_at_progress = now, self.received_bytes

    def note_overdue(self, now: float, n_runs: int) -> None:
        """Expect of its peer, which has ``n_runs`` runs under way, no more than came since this one landed anything."""
        if self.hold_s:
            self.provider.note_held_too_long(now)
        else:
            n_bytes = self.received_bytes - self._received_at_progress
            self.provider.peer.stats.rate.slump(n_runs * n_bytes / max(now - self.progress_at, 0.001), now)
        self._note_progress(now)


def run_timeout_s(n_bytes: int) -> float:
    """Return how long a run of ``n_bytes`` may take at the very most."""
    return RUN_TIMEOUT_S + n_bytes / MIN_RATE_BYTES_PER_S


def run_bytes(file: OpenFile, provider: Provider, flight: Flight, hold_s: float) -> int:
    """Return how long a run asked of ``provider``, held back up to ``hold_s``, should be that begins with ``flight``.

    What was asked for together is divided among all who have the file, by their rates: they end at about the same time.
    Of those who read together each has units of its own instead; what an owner holds back comes as it comes to itself.
    """
    rate = provider.peer.stats.rate_bytes_per_s
    if rate is None:
        return FIRST_RUN_BYTES
    longest = int(min(rate * RUN_S, MAX_RUN_BYTES))
    if hold_s:
        return max(longest, UNIT_BYTES)
    is_by_units = flight.is_guessed and file.providers.has_partial
    if is_by_units and provider.is_partial:
        return longest
    among = [other for other in file.providers.usable() if not (is_by_units and other.is_partial)]
    rates = [other.peer.stats.rate_bytes_per_s or UNKNOWN_RATE_BYTES_PER_S for other in among]
    share = flight.n_together * file.layout.block_bytes * rate / max(sum(rates), rate)
    return int(min(longest, share))
