"""Looks after reads that wait: overdue runs get a second provider, stalled flights get new ones."""

from __future__ import annotations

import trio

from .finder import Finder
from .openfile import OpenFile
from .peerset import PeerSet
from .scheduler import Scheduler

TICK_S = 0.25
LOOK_EVERY_S = 2.0
"""How often the peers are asked anew who has a file that somebody waits for."""


class Revival:
    """Two loops for as long as the engine runs."""

    def __init__(self, scheduler: Scheduler, finder: Finder, peers: PeerSet) -> None:
        self._scheduler = scheduler
        self._finder = finder
        self._changed = trio.Event()
        peers.on_change(self._wake)

    def _wake(self) -> None:
        self._changed.set()

    async def watch_overdue(self) -> None:
        """Notice overdue runs."""
        while True:
            await trio.sleep(TICK_S)
            self._scheduler.ask_others_too(trio.current_time())

    async def revive_stalled(self) -> None:
        """Try stalled flights again: at once when a peer comes or comes back, else every few seconds."""
        while True:
            await self._scheduler.stalled.wait_for_any()
            with trio.move_on_after(LOOK_EVERY_S):
                await self._changed.wait()
            self._changed = trio.Event()
            await self._revive()

    async def _revive(self) -> None:
        limit = trio.CapacityLimiter(8)
        async with trio.open_nursery() as nursery:
            for file in self._scheduler.stalled.files():
                nursery.start_soon(self._revive_one, file, limit)

    async def _revive_one(self, file: OpenFile, limit: trio.CapacityLimiter) -> None:
        if file.providers.usable():
            self._scheduler.retry_stalled(file)
        async with limit:
            await self._finder.refresh(file)
        if file.providers.usable():
            self._scheduler.retry_stalled(file)
