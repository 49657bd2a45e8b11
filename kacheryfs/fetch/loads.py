"""What is under way with each peer, over all files: a slow one must not hold everybody's downloads up."""

from __future__ import annotations

from dataclasses import dataclass

from ..peers.peer import Peer

MAX_PEER_RUNS = 16
"""Of one peer at once. With one lab behind a thin line, the runs of others go on."""


@dataclass(slots=True)
class Load:
    """One peer's."""

    n_runs: int = 0
    n_bytes: int = 0

    @property
    def is_full(self) -> bool:
        return self.n_runs >= MAX_PEER_RUNS


class Loads:
    """The load of every peer that has any."""

    def __init__(self) -> None:
        self._loads: dict[str, Load] = {}

    def of(self, peer: Peer) -> Load:
        return self._loads.get(peer.url) or Load()

    def add(self, peer: Peer, n_bytes: int) -> None:
        load = self._loads.setdefault(peer.url, Load())
        load.n_runs += 1
        load.n_bytes += n_bytes

    def remove(self, peer: Peer, n_bytes: int) -> None:
        load = self._loads[peer.url]
        load.n_runs -= 1
        load.n_bytes -= n_bytes
        if not load.n_runs:
            del self._loads[peer.url]
