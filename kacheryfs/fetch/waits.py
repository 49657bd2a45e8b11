"""The reads that wait for the network: each with a deadline, each can be seen and cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import trio

from ..core.model import BlockRange
from ..core.request import Trust
from ..errors import CancelledError, TimedOutError
from .openfile import OpenFile


@dataclass(eq=False, slots=True)
class Wait:
    """One read that waits."""

    file: OpenFile
    blocks: BlockRange
    since: float
    scope: trio.CancelScope
    is_cancelled: bool = False


class Waits:
    """All reads of this process that wait now."""

    def __init__(self, read_timeout_s: float) -> None:
        self._read_timeout_s = read_timeout_s
        self._waits: set[Wait] = set()
        self._is_closed = False

    def __iter__(self) -> Iterator[Wait]:
        return iter(list(self._waits))

    @contextmanager
    def waiting(self, file: OpenFile, blocks: BlockRange, trust: Trust) -> Iterator[Wait]:
        """Bound the body by the read timeout: TimedOutError past it.

        CancelledError when somebody cancels, ClaimError as soon as the file can't be read under a name of this trust.
        """
        if self._is_closed:
            raise CancelledError("the mount is going away")
        now = trio.current_time()
        with trio.CancelScope(deadline=now + self._read_timeout_s) as scope:
            wait = Wait(file, blocks, now, scope)
            self._waits.add(wait)
            file.waiting[scope] = trust
            try:
                yield wait
            finally:
                del file.waiting[scope]
                self._waits.discard(wait)
        if not scope.cancelled_caught:
            return
        file.check_readable(trust)
        name = f"sha1 {file.proof.sha1.short}, block {blocks.start}"
        if wait.is_cancelled:
            raise CancelledError(f"{name}: the read was cancelled") from None
        words = "; ".join(file.words())
        raise TimedOutError(f"{name}: no peer could serve it within {self._read_timeout_s:g} s ({words})") from None

    def cancel(self, file: OpenFile | None = None) -> int:
        """End the waiting reads of ``file``, or all; return how many."""
        chosen = [wait for wait in self._waits if file is None or wait.file is file]
        for wait in chosen:
            wait.is_cancelled = True
            wait.scope.cancel()
        return len(chosen)

    def close(self) -> int:
        """End all waiting reads and let none wait again: for unmounting."""
        self._is_closed = True
        return self.cancel()
