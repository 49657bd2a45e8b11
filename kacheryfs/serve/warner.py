"""Warnings that the owner must act on, each once, however often strangers ask."""

from __future__ import annotations

import logging
import threading

log = logging.getLogger("kacheryfs.serve")

_MAX_REMEMBERED = 10_000
"""Strangers must not fill memory or log: after so many different warnings no more are given."""


class Warner:
    """Logs each warning once; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: set[str] = set()

    def warn_once(self, key: str, message: str) -> None:
        with self._lock:
            if key in self._given or len(self._given) >= _MAX_REMEMBERED:
                return
            self._given.add(key)
        log.warning("%s", message)
