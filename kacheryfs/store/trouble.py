"""Says once that nothing can be stored for now, and once that it can again."""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import StoreError

logger = logging.getLogger(__name__)

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_WARN_AGAIN_S = 60.0
"""Around the limit of a full disk single blocks still fit: not a warning for each."""


class Trouble:
    """Whether writing to the store fails at the moment. Reads go on from the network and memory."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._lock = threading.Lock()
        self._is_reported = False
        self.reason = ""
        """What the last trouble was, and what helps; it may be over."""
        self._last_warning_s = float("-inf")

    def note(self, exc: OSError | StoreError) -> None:
        """Remember what the disk refused before anything was to be kept."""
        with self._lock:
            self.reason = _words_of(exc)
        logger.debug("store %s: can't be written for now: %s", self._root, self.reason)

    def report(self, exc: OSError | StoreError) -> None:
        """Log one warning at the start of a bad time; quiet (debug) after it."""
        reason = _words_of(exc)
        with self._lock:
            self.reason = reason
            now = self._clock()
            is_news = not self._is_reported and now >= self._last_warning_s + _WARN_AGAIN_S
            self._is_reported = True
            if is_news:
                self._last_warning_s = now
        logger.log(
            logging.WARNING if is_news else logging.DEBUG,
            "store %s: new blocks are not kept for now, reads go on: %s",
            self._root,
            reason,
        )

    @contextlib.contextmanager
    def reported(self) -> Iterator[None]:
        """Report what the disk refuses inside, and go on after it: no read depends on it."""
        try:
            yield
        except (OSError, StoreError) as exc:
            self.report(exc)

    def clear(self) -> None:
        """Note that something was stored."""
        if self._is_reported:
            with self._lock:
                self._is_reported = False
            logger.info("store %s: keeping blocks again", self._root)


def _words_of(exc: OSError | StoreError) -> str:
    """Return what is wrong and what helps; a StoreError says both itself."""
    if isinstance(exc, StoreError):
        return str(exc)
    help_words = "free its disk, or name another" if exc.errno in FULL else "name another"
    return f"{exc.strerror or exc}; {help_words} with --store"
