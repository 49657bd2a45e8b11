"""Looks after reads that wait: overdue runs get a second provider, stalled flights get new ones; closes idle files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import trio

from .files import OpenFiles
from .finder import Finder
from .openfile import OpenFile
from .peerset import PeerSet
from .scheduler import Scheduler
from .tasks import Tasks

TICK_S = 0.05
"""How often runs are looked at: what stalls is noticed a quarter of a second later at the earliest."""
LOOK_EVERY_S = 2.0
"""How often the peers are asked anew who has a file that somebody waits for."""
CLOSE_EVERY_S = 5.0
"""How often files are looked for that nobody reads any more."""
MAX_LOOKS = 32
"""Files of which the peers are asked at once."""


class Revival:
    """Four turns, each repeated for as long as the engine runs."""

    def __init__(self, scheduler: Scheduler, finder: Finder, files: OpenFiles, peers: PeerSet) -> None:
        self._scheduler = scheduler
        self._finder = finder
        self._files = files
        self._changed = trio.Event()
        self._has_other_peers = trio.Event()
        peers.on_change(self._wake)

    def start(self, tasks: Tasks) -> None:
        tasks.repeat(self._watch_overdue)
        tasks.repeat(self._revive_stalled)
        tasks.repeat(self._introduce)
        tasks.repeat(self._close_idle)

    def _wake(self) -> None:
        self._changed.set()
        self._has_other_peers.set()

    async def _watch_overdue(self) -> None:
        """Notice overdue runs."""
        await self._scheduler.fleet.wait_for_any()
        planned_at = trio.current_time() + TICK_S
        await trio.sleep_until(planned_at)
        now = trio.current_time()
        self._scheduler.ask_others_too(now, now - planned_at)

    async def _revive_stalled(self) -> None:
        """Try stalled flights again: at once when a peer comes or comes back, else every few seconds."""
        await self._scheduler.stalled.wait_for_any()
        with trio.move_on_after(LOOK_EVERY_S):
            await self._changed.wait()
        self._changed = trio.Event()
        await self._for_each(self._scheduler.stalled.files(), self._revive)

    async def _introduce(self) -> None:
        """Ask peers that are new, or back, about what is being read: one may be faster, or claim something else."""
        await self._has_other_peers.wait()
        self._has_other_peers = trio.Event()
        await self._for_each([file for file in self._files if file.n_readers], self._finder.refresh)

    async def _close_idle(self) -> None:
        await trio.sleep(CLOSE_EVERY_S)
        self._files.close_idle()

    async def _for_each(self, files: Iterable[OpenFile], act: Callable[[OpenFile], Awaitable[None]]) -> None:
        limit = trio.CapacityLimiter(MAX_LOOKS)

        async def act_limited(file: OpenFile) -> None:
            async with limit:
                await act(file)

        async with trio.open_nursery() as nursery:
            for file in files:
                nursery.start_soon(act_limited, file)

    async def _revive(self, file: OpenFile) -> None:
        if file.providers.usable():
            self._scheduler.retry_stalled(file)
        await self._finder.refresh(file)
        if file.providers.usable():
            self._scheduler.retry_stalled(file)
