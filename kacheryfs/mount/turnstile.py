"""What pyfuse3's loop waits with, made for a kernel that has the next request ready: no turn of the event loop each.

pyfuse3 takes its lock and its waiting from whatever is called ``trio`` in it (so its asyncio mode works). With trio's
own, a request costs a lock handed from task to task, two ``epoll`` calls and two turns of the loop: 60 µs, where
reading and answering 128 KiB takes 80.
"""

from __future__ import annotations

import select
from collections import OrderedDict
from types import TracebackType
from typing import Any

import trio

MAX_AT_ONCE = 8
"""Requests taken before everybody else has a turn: 8 × 1 MiB take 3 ms."""


class Turnstile:
    """A lock that whoever let go of it may take again at once; others are let in when it is free as they come by."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: OrderedDict[trio.lowlevel.Task, None] = OrderedDict()
        self._is_waking = False  # Invariant: then a task was let go of and comes by in the next turn

    async def __aenter__(self) -> None:
        while self._is_taken:
            await self._wait()
        self._is_taken = True

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_taken = False
        self._wake_one()

    async def _wait(self) -> None:
        task = trio.lowlevel.current_task()
        self._waiting[task] = None

        def leave(_: object) -> trio.lowlevel.Abort:
            del self._waiting[task]
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(leave)
        self._is_waking = False  # if somebody was quicker, it wakes the next one when it lets go

    def _wake_one(self) -> None:
        if self._waiting and not self._is_waking:
            self._is_waking = True
            task, _ = self._waiting.popitem(last=False)
            trio.lowlevel.reschedule(task)


class EagerTrio:
    """trio, but for the two things that pyfuse3 does once a request."""

    Lock = Turnstile

    def __init__(self) -> None:
        self.lowlevel = EagerLowLevel()

    def __getattr__(self, name: str) -> Any:
        return getattr(trio, name)


class EagerLowLevel:
    """``trio.lowlevel``; ``wait_readable`` returns at once, a few times, while the next request is there."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._polled_fd = -1
        self._n_at_once = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(trio.lowlevel, name)

    async def wait_readable(self, fd: int) -> None:
        if fd != self._polled_fd:
            self._poll, self._polled_fd = select.poll(), fd
            self._poll.register(fd, select.POLLIN)
        self._n_at_once += 1
        if self._n_at_once < MAX_AT_ONCE and self._poll.poll(0):
            return
        self._n_at_once = 0
        await trio.lowlevel.wait_readable(fd)
