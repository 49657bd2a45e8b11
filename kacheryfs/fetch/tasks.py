"""Background tasks that a defect in one of them does not end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import trio

log = logging.getLogger(__name__)

AGAIN_AFTER_S = 1.0


class Tasks:
    """Starts tasks in the engine's nursery.

    An outer edge: what a task did not expect is logged with its traceback, and the engine, the mount and every reader
    go on. Whoever waits for such a task is bounded by a deadline of its own.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: Any) -> None:
        self._nursery.start_soon(_guarded, function, args)

    def repeat(self, function: Callable[[], Awaitable[object]]) -> None:
        """Run ``function`` again and again, which does its own waiting; a defect costs one turn."""
        self._nursery.start_soon(_repeated, function)


async def _guarded(function: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
    try:
        await function(*args)
    except Exception:
        log.exception("a task of the engine failed in a way that it should not")


async def _repeated(function: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await function()
        except Exception:
            log.exception("a task of the engine failed in a way that it should not, and goes on")
            await trio.sleep(AGAIN_AFTER_S)
