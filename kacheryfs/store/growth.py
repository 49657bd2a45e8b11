"""Lets the store grow, and makes room: ahead of need in a thread of its own, else by who finds none."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import StoreError
from .evictor import Evictor
from .forks import Turn
from .ledger import now_ms
from .space import HIGH, LOW, Room
from .trouble import FULL

logger = logging.getLogger(__name__)

_LOOK_S = 10.0
"""How often the disk's free space is looked at: others fill it too."""
_COUNT_AGAIN_MS = 3600 * 1000
_COUNT_SOON_MS = 30 * 1000
_TURN_BYTES = 64 * 1024 * 1024
_TRIES = 16
_BUSY_S = 0.01


@dataclass(slots=True)
class Grant:
    """What may be written; ``written`` is lowered by what turned out to be there already.

    ``kept``: what was new on disk so far, which is all that counts where the writing fails.
    """

    taken: int
    written: int
    kept: int = 0

    def keep(self, n_bytes: int) -> None:
        self.kept += n_bytes


class Growth:
    """Decides whether something may be written, and has the coldest evicted where it may not yet."""

    def __init__(
        self, room: Room, evictor: Evictor, *, count: Callable[[], None], make_ready: Callable[[], None]
    ) -> None:
        """``count`` enters what lies in the store into the account; ``make_ready`` makes a removed folder again."""
        self._room = room
        self._evictor = evictor
        self._count = count
        self._make_ready = make_ready
        self._lock = Turn()
        self._thread: threading.Thread | None = None
        self._pid = 0  # of the process that the thread runs in: a fork leaves it behind
        self._wakes = threading.Event()
        self._is_closed = False
        self._count_took_ms = 0

    def write(self, n_bytes: int, act: Callable[[Grant], None]) -> None:
        """Have ``act`` write so much, twice where the disk is full and evicting helps; StoreError, OSError.

        A quota ends sooner than the space that the disk says it has.
        """
        try:
            with self.taking(n_bytes) as grant:
                act(grant)
        except OSError as exc:
            if exc.errno not in FULL or not self._evictor.free(n_bytes):
                raise
            with self.taking(n_bytes) as grant:
                act(grant)

    @contextlib.contextmanager
    def taking(self, n_bytes: int) -> Iterator[Grant]:
        """Have ``n_bytes`` for writing inside; StoreError where there is no room for them, OSError."""
        try:
            is_taken = self._take(n_bytes)
        except FileNotFoundError:  # somebody removed the store
            self._make_ready()
            is_taken = self._take(n_bytes)
        if not is_taken:
            raise StoreError(self._room.words_of_refusal(n_bytes))
        grant = Grant(n_bytes, n_bytes)
        try:
            yield grant
        except BaseException:
            grant.written = min(grant.kept, grant.taken)
            raise
        finally:
            self._room.settle(grant.taken, grant.written)

    def _take(self, n_bytes: int) -> bool:
        if self._pid != os.getpid():
            self._start()
        if not n_bytes:
            return True
        if self._room.take(n_bytes):
            if self._room.is_filling:
                self._wakes.set()
            return True
        return self._evict_and_take(n_bytes)

    def _evict_and_take(self, n_bytes: int) -> bool:
        with self._evictor.alone():
            return self._make_room(n_bytes) or (self._count_anew() and self._room.take(n_bytes))

    def _make_room(self, n_bytes: int) -> bool:
        for _ in range(_TRIES):
            if self._room.take(n_bytes):  # somebody else may have made room
                return True
            if not self._evictor.free(max(n_bytes, self._room.excess_bytes(HIGH))):
                if not self._evictor.was_busy:
                    break
                time.sleep(_BUSY_S)
        self._evictor.give_up()
        return self._room.take(n_bytes)

    def _count_anew(self) -> bool:
        """Count before a put is refused, unless somebody did lately; return whether that was done. OSError."""
        age_ms = now_ms() - self._room.ledger.read().counted_at_ms
        if age_ms < max(_COUNT_SOON_MS, 50 * self._count_took_ms):
            return False
        started_ms = now_ms()
        self._count()
        self._count_took_ms = now_ms() - started_ms
        return True

    def _start(self) -> None:
        """Count what lies here where nobody knows, and start the thread; once, and again in a child of a fork."""
        with self._lock:
            if self._is_closed or self._pid == os.getpid():
                return
            is_known = self._room.ledger.read().counted_at_ms > 0
            if not is_known:
                self._count()
            # Nobody knows what a process did that was killed: count at the start.
            self._thread = threading.Thread(target=self._tend, args=(is_known,), name="store-evictor", daemon=True)
            self._thread.start()
            self._pid = os.getpid()

    def _tend(self, must_count: bool) -> None:
        while not self._is_closed:
            try:
                must_count = self._count_where_due(must_count)
                if self._room.excess_bytes(HIGH) > 0:
                    self._evict_ahead()
            except (OSError, StoreError) as exc:  # a disk in trouble: who puts says so
                logger.debug("store: nothing was evicted: %s", exc)
            self._wakes.wait(_LOOK_S)
            self._wakes.clear()

    def _evict_ahead(self) -> None:
        """Evict down to the low mark, in turns, so that who finds no room needn't wait for all of it."""
        while not self._is_closed and (excess_bytes := self._room.excess_bytes(LOW)) > 0:
            if not self._evictor.free(min(excess_bytes, _TURN_BYTES)):
                return

    def _count_where_due(self, must_count: bool) -> bool:
        ledger = self._room.ledger
        if not ledger.is_there:  # somebody removed the store: nothing is made there again but by who puts
            return must_count
        if now_ms() >= ledger.read().counted_at_ms + _COUNT_AGAIN_MS or (must_count and ledger.is_alone()):
            self._count()
        return False

    def close(self) -> None:
        """End the thread; what it does now is ended first."""
        with self._lock:
            self._is_closed = True
        self._wakes.set()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join()
        self._room.close()
