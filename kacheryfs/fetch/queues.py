"""The flights that wait for a run: by urgency, and what is parked until a busy peer, or a buffer, is free."""

from __future__ import annotations

from collections import defaultdict, deque

from .flights import Flight, FlightState, Urgency
from .openfile import OpenFile

MAX_QUEUED_HINTS = 4096
"""The windows of 64 streams, at half a KB a block."""

Queued = tuple[OpenFile, Flight]


class Queues:
    """First come, first served, within each urgency.

    A flight may stand here more than once, or after its run has begun; ``is_waiting`` tells which entry counts.
    """

    def __init__(self) -> None:
        self.by_urgency: dict[Urgency, deque[Queued]] = {urgency: deque() for urgency in Urgency}
        self.parked: defaultdict[str, deque[Queued]] = defaultdict(deque)
        """Demand alone: by the URL of the peer, or the name of what else is lacking."""

    def add(self, file: OpenFile, flight: Flight) -> None:
        self.by_urgency[flight.urgency].append((file, flight))

    def add_first(self, file: OpenFile, flight: Flight) -> None:
        """Put a flight that was under way before everything else of its urgency."""
        self.by_urgency[flight.urgency].appendleft((file, flight))

    @property
    def has_room_for_hints(self) -> bool:
        """Whether another hint may come; looked at anew without those that went along with others' runs."""
        ahead = self.by_urgency[Urgency.AHEAD]
        if len(ahead) >= MAX_QUEUED_HINTS:
            ahead = deque(queued for queued in ahead if is_waiting(queued[1], Urgency.AHEAD))
            self.by_urgency[Urgency.AHEAD] = ahead
        return len(ahead) < MAX_QUEUED_HINTS

    def park(self, name: str, file: OpenFile, flight: Flight) -> None:
        self.parked[name].append((file, flight))

    def unpark(self, file: OpenFile | None = None) -> None:
        """Look at what is parked, of ``file`` or all, anew: there may be other providers now."""
        demand = self.by_urgency[Urgency.DEMAND]
        for name, queue in list(self.parked.items()):
            demand.extendleft(parked for parked in reversed(queue) if file in (None, parked[0]))
            self.parked[name] = deque(parked for parked in queue if file not in (None, parked[0]))
            self.forget_empty(name)

    def unpark_from(self, name: str) -> None:
        """Look at what is parked under one name anew: nothing is under way there whose end would."""
        self.by_urgency[Urgency.DEMAND].extendleft(reversed(self.parked.pop(name, deque())))

    def forget_empty(self, name: str) -> None:
        if name in self.parked and not self.parked[name]:
            del self.parked[name]


def is_waiting(flight: Flight, urgency: Urgency) -> bool:
    """Tell whether a queue's entry is where ``flight`` waits: it has no run, and isn't more urgent by now."""
    return flight.state is FlightState.PENDING and flight.urgency is urgency
