"""The arithmetic of a line: what is sent arrives one after the other at a capped rate, then a delay later."""

from __future__ import annotations


class Line:
    """One direction of a line that every connection shares.

    A bucket without credit: an idle line saves nothing up, so that no interval carries more than ``rate`` allows.
    ``rate_bytes_per_s`` None: no cap.
    """

    def __init__(self, delay_s: float, rate_bytes_per_s: float | None) -> None:
        self.delay_s = delay_s
        self._free_at = 0.0
        self.set_rate(rate_bytes_per_s)

    def set_rate(self, rate_bytes_per_s: float | None) -> None:
        """Change the cap for what is sent from now on."""
        self.rate_bytes_per_s = rate_bytes_per_s
        self._s_per_byte = 1 / rate_bytes_per_s if rate_bytes_per_s else 0.0

    def send(self, now: float, n_bytes: int) -> float:
        """Put bytes on the line at ``now``; return when the last of them arrives."""
        self._free_at = max(self._free_at, now) + n_bytes * self._s_per_byte
        return self._free_at + self.delay_s

    def backlog_s(self, now: float) -> float:
        """Return for how long the line is busy with what was put on it."""
        return max(self._free_at - now, 0.0)


class Rounds:
    """Counts the round trips that followed upon each other, from requests and answers in the order they happened.

    A request that leaves after an answer of round k came in belongs to round k + 1, whoever got that answer: requests
    that are under way together are one round. A new connection costs a round of its own, as a handshake does.
    """

    def __init__(self) -> None:
        self.answered = 0
        self._round_of: dict[int, int] = {}

    def connect(self, connection: int) -> None:
        """A connection is opened: its handshake is a round, answered before its first request leaves."""
        self._round_of[connection] = self.answered + 1

    def ask(self, connection: int) -> None:
        """A request leaves."""
        self._round_of[connection] = max(self.answered, self._round_of.get(connection, 0)) + 1

    def answer(self, connection: int) -> None:
        """The first bytes of the answer to this connection's last request come in."""
        self.answered = max(self.answered, self._round_of.get(connection, 0))
