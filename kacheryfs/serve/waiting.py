"""Requests that wait for blocks which are on their way to this machine: bounded, and without a thread.

Another process fetches the blocks (the mount beside us), and tells of it only by the store's presence. So that is
looked at, a few memory reads for each request every ``POLL_S``, in one task: with one task and timer for each, eight
mounts that read one file together spent as much on looking as on everything else that their servers did.
"""

from __future__ import annotations

import select
from collections import Counter
from dataclasses import dataclass, field

import trio

from ..core.model import ByteRange
from .limits import ServeLimits
from .source import Readable

POLL_S = 0.02
"""A twentieth of what 1 MiB takes at 2.5 MB/s, the share of each of eight peers in a line of 20 MB/s."""


@dataclass(eq=False, slots=True)
class _Waiting:
    readable: Readable
    first: ByteRange
    """The byte that is waited for."""
    sock_fd: int
    is_over: trio.Event = field(default_factory=trio.Event)
    failure: Exception | None = None
    """What went wrong when it was looked at; raised in its own task, so that no request ends the turn of all."""

    @property
    def must_wait(self) -> bool:
        return self.readable.find_missing(self.first) is not None and self.readable.is_coming(self.first)

    def look(self) -> None:
        try:
            if self.must_wait:
                return
        except Exception as exc:
            self.failure = exc
        self.is_over.set()


class Waiters:
    """Looks after the requests that wait, so many in all and of one address; for others it is as if they couldn't."""

    def __init__(self, limits: ServeLimits) -> None:
        self._limits = limits
        self._n_waiting: Counter[str] = Counter()  # Invariant: no zero counts
        self._waiting: dict[int, _Waiting] = {}  # by socket
        self._hung_up = select.poll()  # Invariant: has the sockets of all that wait
        self._any = trio.Event()

    @property
    def n_waiting(self) -> int:
        return self._n_waiting.total()

    async def run(self) -> None:
        """Look after all that waits, until cancelled."""
        while True:
            await self._any.wait()
            await trio.sleep(POLL_S)
            for sock_fd, _ in self._hung_up.poll(0):
                self._waiting[sock_fd].is_over.set()
            for waiting in self._waiting.values():
                waiting.look()

    async def wait_for(self, readable: Readable, span: ByteRange, wait_s: float, address: str, sock_fd: int) -> int:
        """Return up to which byte ``span`` is here, once its first byte is.

        The span's start where it didn't come within ``wait_s``, isn't on its way (any more), or the client, known by
        its neighbourhood and socket, hung up.
        """
        missing = readable.find_missing(span)
        if missing == span.start:
            first = ByteRange(span.start, span.start + 1)
            await self._wait(_Waiting(readable, first, sock_fd), wait_s, address)
            missing = readable.find_missing(span)
        return span.stop if missing is None else missing

    async def _wait(self, waiting: _Waiting, wait_s: float, address: str) -> None:
        """Wait for a first byte; it is here then, or not to be waited for."""
        if self.n_waiting >= self._limits.max_waiting or not waiting.must_wait:
            return
        if self._n_waiting[address] >= self._limits.max_waiting_per_address:
            return
        self._add(waiting)
        self._n_waiting[address] += 1
        try:
            with trio.move_on_after(wait_s):
                await waiting.is_over.wait()
        finally:
            self._remove(waiting)
            self._n_waiting[address] -= 1
            self._n_waiting += Counter()  # drops zero counts
        if waiting.failure is not None:
            raise waiting.failure

    def _add(self, waiting: _Waiting) -> None:
        self._hung_up.register(waiting.sock_fd, select.POLLRDHUP)
        self._waiting[waiting.sock_fd] = waiting
        self._any.set()

    def _remove(self, waiting: _Waiting) -> None:
        self._hung_up.unregister(waiting.sock_fd)
        del self._waiting[waiting.sock_fd]
        if not self._waiting:
            self._any = trio.Event()
