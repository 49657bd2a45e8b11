"""How long and how much a peer may take."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.wire import MAX_RESPONSE_HEAD_BYTES


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """The bounds on everything that a peer sends; each is a whole, not a time per receive."""

    connect_s: float = 5.0
    """Names, TCP and TLS together."""
    head_s: float = 5.0
    """From asking to the end of the answer's head."""
    idle_s: float = 5.0
    """Without one byte of a body."""
    min_rate_bytes_per_s: float = 4 * 1024
    min_rate_window_s: float = 10.0
    """A body is cut where it stays below the rate over this long (only waiting for the peer counts)."""
    head_bytes: int = MAX_RESPONSE_HEAD_BYTES
    max_connections: int = 64
    """At once; who comes later waits up to ``connect_s`` for one."""
    max_idle_connections: int = 16
    idle_connection_s: float = 45.0
    """Kept this long for the next request: less than nginx's 75 s, so that it's seldom the peer who closes first."""
