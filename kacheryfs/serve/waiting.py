"""Requests that wait for blocks which are on their way to this machine: bounded, and without a thread.

Another process fetches the blocks (the mount beside us), and tells of it only by the store's presence. So that is
looked at, a few memory reads every ``POLL_S``: 128 requests that wait for 4.5 MiB each, the most that are let in, cost
17 % of a core.
"""

from __future__ import annotations

import select
from collections import Counter

import trio

from ..core.model import ByteRange
from .limits import ServeLimits
from .source import Readable

POLL_S = 0.02
"""A twentieth of what 1 MiB takes at 2.5 MB/s, the share of each of eight peers in a line of 20 MB/s."""


class Waiters:
    """How many requests wait, in all and of one address; who finds no place is answered as if it couldn't wait."""

    def __init__(self, limits: ServeLimits) -> None:
        self._limits = limits
        self._waiting: Counter[str] = Counter()  # Invariant: no zero counts

    @property
    def n_waiting(self) -> int:
        return self._waiting.total()

    async def wait_for(self, readable: Readable, span: ByteRange, wait_s: float, address: str, sock_fd: int) -> int:
        """Return up to which byte ``span`` is here, once its first byte is.

        The span's start where it didn't come within ``wait_s``, isn't on its way (any more), or the client, known by
        its neighbourhood and socket, hung up.
        """
        missing = readable.find_missing(span)
        if missing == span.start:
            missing = await self._wait(readable, span, wait_s, address, sock_fd)
        return span.stop if missing is None else missing

    async def _wait(self, readable: Readable, span: ByteRange, wait_s: float, address: str, sock_fd: int) -> int | None:
        if self.n_waiting >= self._limits.max_waiting:
            return span.start
        if self._waiting[address] >= self._limits.max_waiting_per_address:
            return span.start
        self._waiting[address] += 1
        try:
            with trio.move_on_after(wait_s):
                return await _poll(readable, span, sock_fd)
            return span.start
        finally:
            self._waiting[address] -= 1
            self._waiting += Counter()  # drops zero counts


async def _poll(readable: Readable, span: ByteRange, sock_fd: int) -> int | None:
    """Look until the first byte is here, or can't be expected."""
    hung_up = select.poll()
    hung_up.register(sock_fd, select.POLLRDHUP)
    first = ByteRange(span.start, span.start + 1)
    while readable.is_coming(first) and not hung_up.poll(0):
        await trio.sleep(POLL_S)
        missing = readable.find_missing(span)
        if missing != span.start:
            return missing
    return span.start
