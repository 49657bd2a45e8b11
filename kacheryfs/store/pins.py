"""What the user wants to keep: files that are never evicted, each under the link for which it was pinned.

One file for each link below ``pins/``, put there in one step, so that every process sees a pin at once and a killed
one leaves none half made.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.model import Blake3, Sha1
from ..errors import StoreError
from .folder import LOCK_TIMEOUT_S, StoreFolder

logger = logging.getLogger(__name__)

EVICTION_LOCK = "evict"
"""Who evicts holds it for one victim at a time, and so does who pins: once ``pin`` has returned, nothing goes."""
_STAMP_GRAIN_NS = 50_000_000
"""The folder's time of change may stand still for a timer tick (10 ms at most); what was read so shortly after a change
isn't trusted for later."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A pinned link, with the files that it stood for at that time."""

    link: str
    sha1s: frozenset[Sha1]
    since_s: float
    """Seconds since 1970."""


class Pins:
    """The pins of one store."""

    def __init__(self, folder: StoreFolder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._stamp_ns = -1
        self._pins: list[Pin] = []
        self._sha1s: frozenset[Sha1] = frozenset()

    def pin(self, link: str, sha1s: Iterable[Sha1]) -> None:
        """Keep these files under the name of ``link``, in place of what was pinned under it; StoreError."""
        values = {"link": link, "sha1s": sorted(sha1.hex for sha1 in sha1s), "since_s": time.time()}
        try:
            self._folder.make_ready()
            with self._folder.locks.hold(EVICTION_LOCK, timeout_s=LOCK_TIMEOUT_S):
                self._folder.write_object(self._place(link), json.dumps(values).encode(), is_synced=True)
        except OSError as exc:
            raise StoreError(f"store {self._folder.places.root}: the pin can't be kept: {exc.strerror}") from exc

    def unpin(self, link: str) -> bool:
        """Let the link's files go; False where it wasn't pinned, StoreError where the pin can't be removed."""
        try:
            os.unlink(self._place(link))
        except FileNotFoundError:
            return False
        except OSError as exc:
            raise StoreError(f"store {self._folder.places.root}: the pin can't be removed: {exc.strerror}") from exc
        return True

    def all(self) -> list[Pin]:
        """Return all pins, by their links; StoreError where one can't be read now."""
        with self._lock:
            self._refresh()
            return self._pins

    def is_pinned(self, sha1: Sha1) -> bool:
        """Return whether a file is to stay; StoreError where that can't be told now, and then nothing may go."""
        with self._lock:
            self._refresh()
            return sha1 in self._sha1s

    def _place(self, link: str) -> Path:
        return self._folder.places.pins / Blake3.of(link.encode("utf-8", "surrogateescape")).hex

    def _refresh(self) -> None:
        """Read the folder again if it changed: one ``stat`` where it didn't."""
        stamp_ns = self._find_stamp_ns()
        if stamp_ns == self._stamp_ns:
            return
        is_settled = time.time_ns() - stamp_ns > _STAMP_GRAIN_NS
        self._pins = sorted(self._read(), key=lambda pin: pin.link)
        self._sha1s = frozenset().union(*(pin.sha1s for pin in self._pins))
        self._stamp_ns = stamp_ns if is_settled else -1

    def _find_stamp_ns(self) -> int:
        """Return when the folder was last changed, 0 where there is none: nothing was pinned yet."""
        with _looking_at(self._folder.places.pins):
            return os.stat(self._folder.places.pins).st_mtime_ns
        return 0

    def _read(self) -> list[Pin]:
        found: list[Pin] = []
        with _looking_at(self._folder.places.pins):
            for path in self._folder.places.pins.iterdir():
                pin = _read_pin(path)
                if pin is not None:
                    found.append(pin)
        return found


@contextlib.contextmanager
def _looking_at(folder: Path) -> Iterator[None]:
    """Pass over a folder that isn't there; another failure doesn't tell that nothing is pinned: StoreError."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as exc:
        raise StoreError(f"pins {folder} can't be read now: {exc.strerror}") from exc


def _read_pin(path: Path) -> Pin | None:
    try:
        values = json.loads(path.read_bytes())
        return Pin(str(values["link"]), frozenset(map(Sha1.from_hex, values["sha1s"])), float(values["since_s"]))
    except FileNotFoundError:  # unpinned meanwhile
        return None
    except OSError as exc:  # too many open files, a bad disk: no reason to take it for unpinned
        raise StoreError(f"pin {path} can't be read now: {exc.strerror}") from exc
    except (ValueError, TypeError, KeyError) as exc:
        logger.warning("pin %s can't be read: %s; pin its link again", path, exc)
        return None
