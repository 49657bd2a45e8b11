"""What there is to say about one block: for ``kacheryfs why``."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from .fleet import Fleet
from .flights import FlightState
from .openfile import OpenFile
from .runs import Run


class BlockState(enum.Enum):
    """Where a block stands."""

    PRESENT = "present"
    MISSING = "missing"
    """And nobody asked for it."""
    PENDING = "pending"
    """Waits for its turn."""
    RUNNING = "running"
    STALLED = "stalled"
    """Nobody can be asked for it now."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """One request that carries the block; times are of trio's clock."""

    url: str
    since: float
    received_bytes: int
    n_bytes: int
    rate_bytes_per_s: float | None
    """Its peer's, over all of its requests."""
    overdue_at: float | None
    """When another provider is asked too, if nothing lands before; None where there is no other."""
    hold_s: float
    """How long the peer, which fetches the block itself, may hold its answer back; 0.0: it should have it."""


@dataclass(frozen=True, slots=True)
class BlockReport:
    """One block of one file."""

    block: int
    state: BlockState
    n_waiters: int = 0
    runs: tuple[RunReport, ...] = ()
    tried: Mapping[str, str] = field(default_factory=dict)
    """What those said that failed at it, by URL."""


_STATES = {
    FlightState.PENDING: BlockState.PENDING,
    FlightState.RUNNING: BlockState.RUNNING,
    FlightState.STALLED: BlockState.STALLED,
}


def describe_block(file: OpenFile, block: int, fleet: Fleet) -> BlockReport:
    """Return what is known of a block that is fetched, or isn't."""
    flight = file.flights.get(block)
    if flight is None:
        is_present = block in file.recent or file.stored.is_present(block)
        return BlockReport(block, BlockState.PRESENT if is_present else BlockState.MISSING)
    carrying = tuple(_describe_run(run, fleet) for run in fleet if flight in run.flights)
    return BlockReport(block, _STATES[flight.state], flight.waiters, carrying, dict(flight.tried))


def _describe_run(run: Run, fleet: Fleet) -> RunReport:
    peer = run.provider.peer
    return RunReport(
        peer.url,
        run.since,
        run.received_bytes,
        run.n_bytes,
        peer.stats.rate_bytes_per_s,
        fleet.find_overdue_at(run),
        run.hold_s,
    )
