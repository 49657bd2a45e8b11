"""A flight: one block under way, shared by everybody who waits for it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import trio

from ..core.manifest import VerifiedBlock


class Urgency(enum.IntEnum):
    """Why a block is fetched; a lower one goes first."""

    DEMAND = 0
    """Somebody reads it."""
    AHEAD = 1
    """Guessed from reading."""
    PREFETCH = 2
    """Asked for, and nobody reads it yet."""


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
    urgency: Urgency
    n_together: int
    """How many blocks were asked for in one go: what its run may take, or share with those of others."""
    state: FlightState = FlightState.PENDING
    done: trio.Event = field(default_factory=trio.Event)
    waiters: int = 0
    carriers: list[str] = field(default_factory=list)
    """The URLs of the peers whose runs carry it now; more than one once the first is overdue."""
    tried: dict[str, str] = field(default_factory=dict)
    """What the peers said that failed at it, or are overdue, since it was last stalled; by their URLs."""
    landed: VerifiedBlock | None = None
    """The block itself, only where the store could not keep it, and until the last who waited has left."""

    is_guessed: bool = False
    """It was asked for early, by what was read so far or for later; what comes behind a demand isn't."""

    @property
    def asked(self) -> set[str]:
        """The URLs of those that can't be asked for it: they are, or failed."""
        return {*self.carriers, *self.tried}

    def leave(self) -> None:
        """Wait for it no more."""
        self.waiters -= 1
        if not self.waiters:
            self.landed = None  # a queue may hold this flight for long

    def land(self, block: VerifiedBlock | None) -> None:
        self.landed = block if self.waiters else None
        self.state = FlightState.LANDED
        self.done.set()
