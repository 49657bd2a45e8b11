"""Reads that wait are ended before the mount is: who reads hears EIO, not that nobody is there any more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from ..errors import CancelledError


class Ending:
    """The reads that may wait; once ``end`` was called, none does."""

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()
        self._is_near = False
        self._n_ended = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Let the body wait until the end is near: CancelledError then, also where it would only begin to wait."""
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            if self._is_near:
                scope.cancel()
            try:
                yield
            finally:
                self._scopes.discard(scope)
        if scope.cancelled_caught:
            self._n_ended += 1
            raise CancelledError("the mount is going away")

    def end(self) -> int:
        """End whatever waits, now and from now on; return how many wait still, or were ended since the last call."""
        self._is_near = True
        for scope in self._scopes:
            scope.cancel()
        n_ended, self._n_ended = self._n_ended, 0
        return n_ended + len(self._scopes)
