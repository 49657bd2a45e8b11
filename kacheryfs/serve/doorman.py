"""How many connections are served at once, and how many of one address."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from .limits import ServeLimits


def neighbourhood(host: str) -> str:
    """Return what is counted as one address: an IPv4 address, the /64 of an IPv6 one (a host has all of it)."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


class Doorman:
    """Admits connections up to the limits; when all places are taken, the one that idled longest leaves."""

    def __init__(self, limits: ServeLimits) -> None:
        self._limits = limits
        self._inside: Counter[str] = Counter()  # Invariant: no zero counts
        self._idle: dict[int, trio.CancelScope] = {}  # in the order in which they began to idle

    @property
    def n_inside(self) -> int:
        return self._inside.total()

    @contextmanager
    def admit(self, host: str) -> Iterator[bool]:
        """Count a connection in and out; False: it must be turned away."""
        address = neighbourhood(host)
        is_full = self.n_inside >= self._limits.max_connections
        if self._inside[address] >= self._limits.max_connections_per_address or (is_full and not self._make_room()):
            yield False
            return
        self._inside[address] += 1
        try:
            yield True
        finally:
            self._inside[address] -= 1
            self._inside += Counter()  # drops zero counts

    @contextmanager
    def idling(self) -> Iterator[None]:
        """Mark the caller's connection as one that may be asked to leave while it waits in here."""
        with trio.CancelScope(deadline=trio.current_time() + self._limits.idle_timeout_s) as scope:
            self._idle[id(scope)] = scope
            try:
                yield
            finally:
                self._idle.pop(id(scope), None)

    def _make_room(self) -> bool:
        if not self._idle:
            return False
        self._idle.pop(next(iter(self._idle))).cancel()
        return True
