"""A flight: one block under way, shared by everybody who waits for it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import trio

from ..core.manifest import VerifiedBlock


class FlightState(enum.Enum):
    """Where a flight stands; only the scheduler changes it."""

    PENDING = "pending"
    RUNNING = "running"
    STALLED = "stalled"
    LANDED = "landed"
    DROPPED = "dropped"


@dataclass(eq=False, slots=True)
class Flight:
    """One block's fetch. Invariant: it is in its file's table until it has landed or was dropped."""

    block: int
    is_demand: bool
    state: FlightState = FlightState.PENDING
    done: trio.Event = field(default_factory=trio.Event)
    waiters: int = 0
    runs: int = 0
    """Runs that carry it now; two once the first is overdue."""
    tried: set[str] = field(default_factory=set)
    """The URLs of the peers that failed at it, or are overdue, since it was last stalled."""
    landed: VerifiedBlock | None = None
    """The block itself, only where the store could not keep it, and until the last who waited has left."""

    def leave(self) -> None:
        """Wait for it no more."""
        self.waiters -= 1
        if not self.waiters:
            self.landed = None  # a queue may hold this flight for long

    def land(self, block: VerifiedBlock | None) -> None:
        self.landed = block if self.waiters else None
        self.state = FlightState.LANDED
        self.done.set()
