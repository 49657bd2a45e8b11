"""The upload limit: a bucket of bytes that fills at the rate that was set, shared fairly between addresses.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): of the addresses that wait, the one goes next whose last step
began first in virtual time, which counts bytes. So two addresses get half each, whether one has a connection or a
hundred, and one that was away saves up nothing.
"""

from __future__ import annotations

from collections import deque

import trio

UNLIMITED_STEP_BYTES = 64 * 1024 * 1024
"""After so many bytes a thread serves the next transfer that waits for one."""
_STEP_S = 0.02
_MIN_STEP_BYTES = 4 * 1024
_MAX_STEP_BYTES = 1024 * 1024
_BURST_S = 0.1
"""How much an idle line saves up: little, so that the limit holds over any second."""
_MAX_DEBT_S = 0.5
"""So much of small answers goes out before bulk that waits; then they wait like all."""


class Uploads:
    """Says who may send how much, when."""

    def __init__(self, bytes_per_s: int | None) -> None:
        self.bytes_per_s = bytes_per_s
        self._free_at = 0.0  # when what was granted so far is paid for
        self._nap = trio.CancelScope()  # Invariant: its deadline is ``_free_at`` while who grants sleeps
        self._waiting: dict[str, deque[trio.Event]] = {}  # Invariant: no empty queues
        self._next_start: dict[str, float] = {}  # Invariant: of who waits, and of who is ahead of the virtual time then
        self._virtual_time = 0.0
        self._has_waiters = trio.Event()

    async def run(self) -> None:
        """Grant steps until cancelled."""
        while True:
            await self._has_waiters.wait()
            with trio.CancelScope(deadline=self._free_at) as self._nap:
                await trio.sleep_forever()
            if self._waiting:
                self._grant()

    async def take(self, address: str) -> int:
        """Wait for a step; returns how many bytes may be sent in it."""
        if self.bytes_per_s is None:
            return UNLIMITED_STEP_BYTES
        event = trio.Event()
        self._enqueue(address, event)
        try:
            await event.wait()
        except trio.Cancelled:
            self._leave(address, event)
            raise
        return self._step_bytes

    async def take_small(self, address: str, n_bytes: int) -> None:
        """Wait only while small answers have gone out far ahead of the limit."""
        if self.bytes_per_s is None:
            return
        while self._free_at > trio.current_time() + _MAX_DEBT_S:
            self.give_back(address, await self.take(address))
        self._pay(address, n_bytes)

    def give_back(self, address: str, n_bytes: int) -> None:
        """Return what was granted and not sent."""
        self._pay(address, -n_bytes)

    @property
    def _step_bytes(self) -> int:
        assert self.bytes_per_s is not None
        return min(max(int(self.bytes_per_s * _STEP_S), _MIN_STEP_BYTES), _MAX_STEP_BYTES)

    def _enqueue(self, address: str, event: trio.Event) -> None:
        self._next_start[address] = max(self._next_start.get(address, 0.0), self._virtual_time)
        self._waiting.setdefault(address, deque()).append(event)
        self._has_waiters.set()

    def _leave(self, address: str, event: trio.Event) -> None:
        """Forget who is cancelled: in the queue, or granted a step already."""
        if event.is_set():
            self.give_back(address, self._step_bytes)
        else:
            self._waiting[address].remove(event)
            self._drop_if_empty(address)

    def _grant(self) -> None:
        address = min(self._waiting, key=self._next_start.__getitem__)
        self._virtual_time = self._next_start[address]
        self._waiting[address].popleft().set()
        self._drop_if_empty(address)
        self._pay(address, self._step_bytes)
        self._next_start = {
            key: start for key, start in self._next_start.items() if key in self._waiting or start > self._virtual_time
        }

    def _drop_if_empty(self, address: str) -> None:
        if not self._waiting[address]:
            del self._waiting[address]
        if not self._waiting:
            self._has_waiters = trio.Event()
            self._next_start.clear()

    def _pay(self, address: str, n_bytes: int) -> None:
        if self.bytes_per_s is not None:
            earliest = trio.current_time() - _BURST_S
            self._nap.deadline = self._free_at = max(self._free_at, earliest) + n_bytes / self.bytes_per_s
            if self._waiting:
                self._next_start[address] = self._next_start.get(address, self._virtual_time) + n_bytes
