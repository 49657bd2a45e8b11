"""A host's addresses: looked up by one thread at a time for each peer, and kept for a while.

A look-up can't be cancelled, only abandoned, and a dead name server holds its thread for half a minute. trio's own
would take these threads from the 40 that everybody shares.
"""

from __future__ import annotations

import ipaddress
import socket

import trio

_KEPT_S = 30.0


class HostAddresses:
    """The addresses of one host, best first."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._known: list[str] = [host] if _is_literal(host) else []
        self._until = float("inf") if self._known else 0.0
        self._looking = trio.Lock()
        self._threads = trio.CapacityLimiter(1)  # held by an abandoned look-up until it ends

    async def get(self) -> list[str]:
        """Return at least one address; OSError (socket.gaierror) without."""
        async with self._looking:
            if trio.current_time() >= self._until:
                self._known = await self._look_up()
                self._until = trio.current_time() + _KEPT_S
            return self._known

    async def _look_up(self) -> list[str]:
        found = await trio.to_thread.run_sync(
            lambda: socket.getaddrinfo(self._host, None, type=socket.SOCK_STREAM),
            limiter=self._threads,
            abandon_on_cancel=True,
        )
        return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
