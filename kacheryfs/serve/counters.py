"""What a server counts, for its owner."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Counted since the server started; changed in its event loop alone."""

    n_open: int = 0
    """Connections that are let in now."""
    n_connections: int = 0
    """Those that were let in."""
    refused: Counter[str] = field(default_factory=Counter)
    """Connections and requests that were turned away, by the reason: "full", "address", "secret"."""
    requests: Counter[int] = field(default_factory=Counter)
    """Answers by their status."""
    n_cut: int = 0
    """Bodies that ended early: the client went or was too slow, the file changed, a block didn't come."""
    sent_bytes: int = 0
    """Heads and bodies, as they were given to the kernel."""
