"""The connections to one peer: bounded, kept for the next request where they are at rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ..errors import PeerUnreachableError
from .connection import Connection
from .limits import ClientLimits
from .seam import within
from .stats import PeerStats


class Pool:
    """Lends connections, the one used last first."""

    def __init__(self, dial: Callable[[], Awaitable[Connection]], limits: ClientLimits, stats: PeerStats) -> None:
        self._dial = dial
        self._limits = limits
        self._stats = stats
        self._slots = trio.Semaphore(limits.max_connections)
        self._idle: list[Connection] = []  # Invariant: hold no slot, nobody reads from them, idle longest first
        self._lent: set[Connection] = set()  # Invariant: each holds a slot
        self._is_closed = False

    async def take(self, *, fresh: bool = False) -> Connection:
        """Lend a connection; its borrower calls ``give_back`` on every way out."""
        await self._take_slot()
        try:
            connection = (None if fresh else self._find_idle()) or await self._connect()
        except BaseException:
            self._slots.release()
            raise
        self._lent.add(connection)
        self._count()
        return connection

    async def _take_slot(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self._slots.acquire_nowait()  # a turn of the event loop less (0.1 ms) before a reader's question leaves
        except trio.WouldBlock:
            with within(self._limits.connect_s, f"none of {self._limits.max_connections} connections was free"):
                await self._slots.acquire()

    async def warm(self) -> None:
        """Have a connection at rest."""
        if not self._idle:
            connection = await self.take(fresh=True)
            connection.is_reused = True  # from now on the peer may close it at any time, as one that has served
            self.give_back(connection, may_follow=True)

    def give_back(self, connection: Connection, *, may_follow: bool) -> None:
        """Keep the connection where another request may follow on it, else close it."""
        self._lent.discard(connection)
        self._slots.release()
        self._drop_expired()
        if may_follow and not self._is_closed and len(self._idle) < self._limits.max_idle_connections:
            connection.idle_since = trio.current_time()
            self._idle.append(connection)
        else:
            connection.close()
        self._count()

    def close(self) -> None:
        """Close all, also those lent: who reads from one gets an error."""
        self._is_closed = True
        for connection in (*self._idle, *self._lent):
            connection.close()
        self._idle.clear()
        self._count()

    def _find_idle(self) -> Connection | None:
        self._drop_expired()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet():
                return connection
            connection.close()
        return None

    def _drop_expired(self) -> None:
        oldest = trio.current_time() - self._limits.idle_connection_s
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.pop(0).close()

    async def _connect(self) -> Connection:
        self._refuse_closed()
        with within(self._limits.connect_s, "no connection"):
            connection = await self._dial()
        try:
            self._refuse_closed()  # again: it may have been closed meanwhile
        except PeerUnreachableError:
            connection.close()
            raise
        return connection

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise PeerUnreachableError("closed on this side")

    def _count(self) -> None:
        self._stats.n_open_connections = len(self._idle) + len(self._lent)
