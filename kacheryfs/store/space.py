"""How much may still be written: the store stays below its bound, and stops growing before the disk is full."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..core.quantities import CacheSize
from .bounds import Bounds, Floors
from .ledger import Ledger
from .places import Places

_MEASURE_AGAIN_BYTES = 64 * 1024 * 1024
_MEASURE_AGAIN_S = 1.0
"""A measurement is one statvfs; others write to the disk too, so it isn't trusted for longer. Nor is the bound."""
_MAX_RESERVE_BYTES = 8 * 1024 * 1024
_MAX_MARGIN_BYTES = 16 * 1024 * 1024
HIGH, LOW = 0.96, 0.92
"""Shares of the bound where eviction begins and where it ends: of 50 GB, 2 GB in one go."""
FILE_BYTES = 24 * 1024
"""What a file counts for beside its blocks and their presence: its folders, at most five of 4 KiB, and its row in the
index. Taken, counted and given back alike, whatever was made: so nothing adds up."""


_NEARLY_FULL_FRACTION = 0.1
_NEARLY_FULL_BYTES = 2_000_000_000
"""With less of the disk free, or less than this, half of it isn't kept as the bound: it would stay tiny for ever."""


class FreeSpace:
    """A budget of bytes of the disk, measured again after each second, each 64 MiB, and whenever it says no."""

    def __init__(
        self,
        root: Path,
        min_free_fraction: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        min_free_bytes: int = 0,
    ) -> None:
        self._root = root
        self._min_free_fraction = min_free_fraction
        self._min_free_bytes = min_free_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._budget_bytes = 0  # Invariant: what may be written until the next measurement
        self._measured_at_s = float("-inf")

    def take(self, n_bytes: int) -> bool:
        """Return whether ``n_bytes`` may be written, and count them as written."""
        with self._lock:
            now = self._clock()
            if n_bytes > self._budget_bytes or now >= self._measured_at_s + _MEASURE_AGAIN_S:
                self._budget_bytes = self._measure(n_bytes)
                self._measured_at_s = now
            if n_bytes > self._budget_bytes:
                return False
            self._budget_bytes -= n_bytes
            return True

    def keep_free(self, n_bytes: int) -> None:
        """Keep so much of the disk free from now on, beside the share of it that always stays so."""
        with self._lock:
            if n_bytes != self._min_free_bytes:
                self._min_free_bytes, self._budget_bytes = n_bytes, 0

    def _measure(self, n_bytes: int) -> int:
        allowance = max(_MEASURE_AGAIN_BYTES, n_bytes)
        try:
            return min(self.left_bytes(), allowance)
        except OSError:  # no answer: the write itself will say what is wrong
            return allowance

    def left_bytes(self) -> int:
        """Return what the disk has left before the floor; negative below it. OSError."""
        disk = os.statvfs(self._root)
        keep = max(int(disk.f_blocks * self._min_free_fraction) * disk.f_frsize, self._min_free_bytes)
        return disk.f_bavail * disk.f_frsize - keep


class Room:
    """What the store may write: below its bound, as its processes have agreed, and above the floor of free space."""

    def __init__(
        self,
        root: Path,
        ledger: Ledger,
        size: CacheSize | None,
        min_free_fraction: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``size`` None: no bound but the floor."""
        self._root = root
        self._size = size
        self._clock = clock
        self._limit_bytes: int | None = None
        self._looked_at_s = 0.0
        self._is_holding = False
        self.is_bound_held = False
        """Whether the bound at the last look is that of a live process that has all go by it."""
        self._is_anothers = False
        self._is_floor_anothers = False
        """Whether that is another one's."""
        self._bounds = Bounds(Places(root).lock)
        self._floors = Floors(Places(root).lock)
        self._has_floor = size is not None and size.free_bytes is not None
        self._own_floor_bytes = (size and size.free_bytes) or 0
        self.is_filling = False
        """Whether so much was used at the last look that room should be made."""
        self.ledger = ledger
        self.free = FreeSpace(root, min_free_fraction, clock, min_free_bytes=self._own_floor_bytes)

    @property
    def limit_bytes(self) -> int:
        """The bound on all that lies in the store's folder, by the smallest of those that are held; OSError."""
        now = self._clock()
        if self._limit_bytes is None or now >= self._looked_at_s + _MEASURE_AGAIN_S:
            self._limit_bytes = self._find_limit()
            self._looked_at_s = now
        return self._limit_bytes

    def hold_bound(self) -> None:
        """Have every process on this store go by this one's bound, too, until ``close``; anew whenever it looks.

        Or by what it keeps free. A default ('auto') is nobody's wish.
        """
        self._is_holding = self._size is not None and self._size != CacheSize()
        self._limit_bytes = None
        if self._is_holding:
            with contextlib.suppress(OSError):  # no store yet: the disk is full
                self.limit_bytes  # noqa: B018  # a look

    def _find_limit(self) -> int:
        """Return our own bound or what is held, the smaller; 'auto' gives way to a larger one, too."""
        is_default = self._size == CacheSize()
        floor_bytes = self._find_floor()
        self._is_floor_anothers = (floor_bytes or 0) > self._own_floor_bytes
        self.free.keep_free(max(floor_bytes or 0, self._own_floor_bytes))
        own_bytes = self._find_own_limit()
        if self._is_holding and not self._has_floor:
            with contextlib.suppress(OSError):  # a store that can't be written now
                self._bounds.hold(own_bytes)
        held_bytes = self._bounds.find()
        if held_bytes is None and floor_bytes is not None and is_default:
            held_bytes = self._find_limit_above(floor_bytes)
        is_held = held_bytes is not None and (held_bytes <= own_bytes or is_default)
        self.is_bound_held = is_held
        self._is_anothers = is_held and (not self._is_holding or held_bytes != own_bytes)
        return held_bytes if held_bytes is not None and is_held else own_bytes

    def _find_floor(self) -> int | None:
        """Return the most that a live process wants to stay free, having held what this one wants."""
        if self._is_holding and self._has_floor:
            with contextlib.suppress(OSError):
                self._floors.hold(self._own_floor_bytes)
        return self._floors.find()

    def _find_limit_above(self, floor_bytes: int) -> int:
        disk = os.statvfs(self._root)
        return max(0, disk.f_blocks * disk.f_frsize - floor_bytes)

    def _find_own_limit(self) -> int:
        size = self._size
        if size is not None and size.n_bytes is not None:
            return size.n_bytes
        if size is None or size.free_bytes is not None:
            return self._find_limit_above(self._own_floor_bytes)
        disk = os.statvfs(self._root)
        total_bytes = disk.f_blocks * disk.f_frsize
        if size.disk_fraction is not None:
            return int(total_bytes * size.disk_fraction)
        return self._find_first_free(disk.f_bavail * disk.f_frsize, total_bytes) // 2

    def _find_first_free(self, free_bytes: int, total_bytes: int) -> int:
        """Return what was free when the store was first used and the disk wasn't nearly full; until then, what is."""
        account = self.ledger.read()
        enough_bytes = max(int(total_bytes * _NEARLY_FULL_FRACTION), _NEARLY_FULL_BYTES)
        if account.first_free >= enough_bytes:
            return account.first_free
        found_bytes = free_bytes + account.spent
        if found_bytes >= enough_bytes and account.counted_at_ms:  # before that, what lies here isn't known
            with contextlib.suppress(OSError):  # a store that only others may write to, and keep this for
                return self.ledger.note_first_free(found_bytes, enough_bytes)
        return found_bytes

    def take(self, n_bytes: int) -> bool:
        """Return whether ``n_bytes`` may be written; ``settle`` says how many were. OSError."""
        limit_bytes = self.limit_bytes
        usable_bytes = limit_bytes - self.margin_bytes(limit_bytes)
        if not self.free.take(n_bytes):
            return False
        is_taken = self.ledger.take(n_bytes, usable_bytes, min(limit_bytes // 256, _MAX_RESERVE_BYTES))
        self.is_filling = self.ledger.seen_bytes > HIGH * usable_bytes
        return is_taken

    def close(self) -> None:
        """Give back what is in reserve, and hold no bound any more."""
        self._is_holding = False
        self._bounds.release()
        self._floors.release()
        self.ledger.close()

    def words_of_refusal(self, n_bytes: int) -> str:
        """Tell why so much can't be taken now, and what helps. OSError."""
        if self.free.left_bytes() < n_bytes and self._is_floor_anothers:
            return (
                "another kacheryfs here keeps the rest of the disk free: start that with a smaller cache_size 'free …'"
            )
        if self.free.left_bytes() < n_bytes:
            return "the disk is nearly full; free it, or name another with --store"
        if self._is_anothers:
            return (
                "the cache is full of what is pinned or in use, by the cache_size of another kacheryfs that runs here: "
                "start that with a higher one, or unpin something"
            )
        return "the cache is full of what is pinned or in use; set cache_size higher, or unpin something"

    def settle(self, taken_bytes: int, written_bytes: int) -> None:
        self.ledger.settle(taken_bytes, written_bytes)

    def excess_bytes(self, share: float) -> int:
        """Return how much must go so that ``share`` of the bound is used, or the disk has its floor; may be negative.

        OSError.
        """
        limit_bytes = self.limit_bytes
        above_bytes = self.ledger.read().used_bytes - int((limit_bytes - self.margin_bytes(limit_bytes)) * share)
        slack_bytes = min(int(limit_bytes * (1 - share)), 4 * _MEASURE_AGAIN_BYTES)
        return max(above_bytes, slack_bytes - self.free.left_bytes())

    def margin_bytes(self, limit_bytes: int) -> int:
        """Return what is left unused for what isn't counted as it grows: the index's log, folders, the file's maps."""
        return min(limit_bytes // 16, _MAX_MARGIN_BYTES)
