"""When a body comes too slowly: decided from how long was waited for how much, without a clock."""

from __future__ import annotations

from ..errors import PeerUnreachableError
from .limits import ClientLimits


class Pace:
    """The pace of one body. Only the time spent waiting for the peer counts, so a slow reader is nobody's fault."""

    def __init__(self, limits: ClientLimits) -> None:
        self._limits = limits
        self._waited_s = 0.0
        self._n_bytes = 0

    @property
    def wait_s(self) -> float:
        """How long the next byte may take."""
        return self._limits.idle_s

    def note(self, n_bytes: int, waited_s: float) -> None:
        """Count what came; PeerUnreachableError once a window's average is below the floor."""
        self._n_bytes += n_bytes
        self._waited_s += waited_s
        if self._waited_s < self._limits.min_rate_window_s:
            return
        if self._n_bytes < self._limits.min_rate_bytes_per_s * self._waited_s:
            rate = self._n_bytes / self._waited_s
            raise PeerUnreachableError(f"its answer comes at {rate:.0f} bytes a second, which is too slow")
        self._waited_s, self._n_bytes = 0.0, 0
