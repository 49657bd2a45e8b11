"""What is under way with each peer, over all files: a slow one must not hold everybody's downloads up."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.choice import UNKNOWN_RATE_BYTES_PER_S, UNKNOWN_ROUND_TRIP_S
from ..peers.peer import Peer
from ..peers.stats import PeerStats
from .flights import Urgency

MAX_PEER_RUNS = {Urgency.DEMAND: 16, Urgency.AHEAD: 8, Urgency.PREFETCH: 4}
"""Of one peer at once, up to which one of this urgency may begin. With one lab behind a thin line, the runs of others
go on."""
ENOUGH_RUNS = 2
"""For whom nobody waits yet: while the answer to one is on its way the other keeps the line busy."""
ENOUGH_S = 0.05
"""Beyond the round trip. More than that to deliver makes a line no faster: runs that share it all end late, and what is
left for later goes to whoever is free then."""


@dataclass(slots=True)
class Load:
    """One peer's."""

    n_runs: int = 0
    n_bytes: int = 0
    """Asked for, and not landed yet."""
    n_held: int = 0
    """Besides these: answers that it holds back until the blocks have come to it, which says nothing of its line."""

    def is_full_for(self, urgency: Urgency, stats: PeerStats) -> bool:
        """Tell whether another run of this urgency should wait for the end of one of these."""
        if self.n_runs >= MAX_PEER_RUNS[urgency]:
            return True
        if urgency is Urgency.DEMAND or self.n_runs < ENOUGH_RUNS:
            return False
        round_trip_s = UNKNOWN_ROUND_TRIP_S if stats.round_trip_s is None else stats.round_trip_s
        return self.n_bytes >= (round_trip_s + ENOUGH_S) * (stats.rate_bytes_per_s or UNKNOWN_RATE_BYTES_PER_S)


class Loads:
    """The load of every peer that has any."""

    def __init__(self) -> None:
        self._loads: dict[str, Load] = {}

    def of(self, peer: Peer) -> Load:
        return self._loads.get(peer.url) or Load()

    def is_full_for(self, urgency: Urgency, peer: Peer) -> bool:
        return self.of(peer).is_full_for(urgency, peer.stats)

    @property
    def n_runs(self) -> int:
        return sum(load.n_runs for load in self._loads.values())

    def begin(self, peer: Peer, n_bytes: int) -> None:
        load = self._loads.setdefault(peer.url, Load())
        load.n_runs += 1
        load.n_bytes += n_bytes

    def begin_held(self, peer: Peer) -> None:
        self._loads.setdefault(peer.url, Load()).n_held += 1

    def land(self, peer: Peer, n_bytes: int) -> None:
        self._loads[peer.url].n_bytes -= n_bytes

    def end(self, peer: Peer, n_bytes: int) -> None:
        """A run is over, ``n_bytes`` of it not landed."""
        load = self._loads[peer.url]
        load.n_runs -= 1
        load.n_bytes -= n_bytes
        self._forget_idle(peer)

    def end_held(self, peer: Peer) -> None:
        self._loads[peer.url].n_held -= 1
        self._forget_idle(peer)

    def _forget_idle(self, peer: Peer) -> None:
        load = self._loads[peer.url]
        if not load.n_runs and not load.n_held:
            del self._loads[peer.url]
