"""Evicts: one victim at a time, under its locks, each tried and none waited for; what is busy stays.

Locks stand between a victim and everybody else: ``EVICTION_LOCK`` (one process evicts, nobody pins), the file's two
(nobody opens, promotes or drops it), and on the data file ``IN_USE`` for a whole file, the bytes for an extent
(nobody puts, sends or proves them). Readers hold nothing; ``blocks`` tells why they need not.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

from ..core.model import Binding, BlockRange, Sha1
from ..errors import StoreError
from .counting import disk_bytes
from .folder import LOCK_TIMEOUT_S, StoreFolder, remove_empty_folders
from .forks import Turn
from .holding import IN_USE, take_alone
from .index import Index, Row
from .ledger import Ledger
from .locks import unlock
from .partial import remove_file, remove_partial
from .pins import EVICTION_LOCK, Pins
from .places import DATA, PRESENT
from .presence import EXTENT_BLOCKS, Presence
from .promotion import make_full_presence
from .punching import can_punch, evict_blocks, holding_alone, mend_blocks
from .space import FILE_BYTES
from .victims import StoreView, Victim, extents_by_heat, is_divisible, look

logger = logging.getLogger(__name__)

_BUSY_TIMEOUT_S = 0.01
_WHOLE_BYTES = 64 * 1024 * 1024
"""A file that nobody has open goes whole up to this, or up to what is needed; of a larger one its coldest extents."""
_LOOK_AGAIN_S = 10.0
"""The order of victims is that of one look at the store, which takes a second for 10,000 files."""
_BARREN_S = 1.0
"""Where nothing could be evicted, nobody looks again for so long: each look costs as much as it finds."""
_HEAT_SLACK_MS = 6000
"""Readers note their use of an extent every 5 s: so much warmer than it was, and it goes back among the others."""
_MEND_BLOCKS = 65536
"""Of a file's 16 GiB leaks are mended in one turn."""


class Evictor:
    """Makes room in one store; one thread at a time."""

    def __init__(self, folder: StoreFolder, index: Index, pins: Pins, ledger: Ledger) -> None:
        self._folder = folder
        self._index = index
        self._pins = pins
        self._ledger = ledger
        self._lock = Turn()
        self._heap: list[Victim] = []
        self._looked_at_s = float("-inf")
        self._barren_until_s = float("-inf")
        self.was_busy = False
        """Whether what could not be evicted the last time may be in a moment."""
        self._can_punch: bool | None = None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let one thread decide at a time what must go."""
        with self._lock:
            yield

    def free(self, n_bytes: int) -> int:
        """Evict the coldest until so much is freed; return how much was, 0 where all is pinned or in use. OSError."""
        with self._lock:
            freed, is_fresh, self.was_busy = 0, time.monotonic() < self._barren_until_s, False
            while freed < n_bytes:
                if not self._heap or time.monotonic() > self._looked_at_s + _LOOK_AGAIN_S:
                    if is_fresh:
                        break
                    self._look()
                    is_fresh = True
                else:
                    freed += self._evict_next(n_bytes - freed)
            if not freed and not self.was_busy:
                self.give_up()
            return freed

    def give_up(self) -> None:
        """Don't look for victims for a while."""
        self._barren_until_s = time.monotonic() + _BARREN_S

    def free_files(self, sha1s: Collection[Sha1] | None, n_bytes: int | None) -> int:
        """Evict what these files have, or all that isn't open, as far as it is neither pinned nor in use. OSError."""
        can_be_open = sha1s is not None or n_bytes is not None
        with self._lock:
            victims = [v for v in self._look().victims if sha1s is None or v.row.binding.sha1 in sha1s]
            heapq.heapify(victims)
            self._heap, freed = victims, 0
            while self._heap and (n_bytes is None or freed < n_bytes):
                freed += self._evict_next((1 << 60) if n_bytes is None else n_bytes - freed, can_be_open)
            self._looked_at_s = float("-inf")
            return freed

    def _look(self) -> StoreView:
        view = look(self._folder.places, self._index)
        heapq.heapify(view.victims)
        self._heap = view.victims
        self._looked_at_s = time.monotonic()
        for row in view.leaks:
            self._mend(row)
        return view

    def _evict_next(self, goal_bytes: int, can_be_open: bool = True) -> int:
        victim = heapq.heappop(self._heap)
        if (victim.is_open and not can_be_open) or any(map(self._is_here, victim.needed_by)):
            return 0
        freed = self._in_turn(victim.row, lambda: self._evict(victim, goal_bytes))
        self.was_busy |= not freed and not self._pins.is_pinned(victim.row.binding.sha1)
        return freed

    def _is_here(self, binding: Binding) -> bool:
        places = self._folder.places
        return places.complete(binding.sha1).exists() or (places.partial(binding) / DATA).exists()

    def _in_turn(self, row: Row, act: Callable[[], int]) -> int:
        """Do something to a file that isn't pinned, while nobody else evicts, pins or opens it; else 0. OSError."""
        if self._pins.is_pinned(row.binding.sha1):
            return 0
        try:
            with self._folder.locks.hold(EVICTION_LOCK, timeout_s=LOCK_TIMEOUT_S):
                if self._pins.is_pinned(row.binding.sha1):  # since
                    return 0
                with self._folder.hold_file(row.binding, timeout_s=_BUSY_TIMEOUT_S):
                    return act()
        except (FileNotFoundError, StoreError):  # gone meanwhile, or somebody opens or changes it just now
            return 0

    def _evict(self, victim: Victim, goal_bytes: int) -> int:
        if victim.is_complete and not self._is_proven_with(victim.row.binding):
            return 0
        if victim.extent is not None:
            return self._evict_extent(victim, victim.extent)
        can_divide = is_divisible(victim.row.binding) and self._may_punch()
        if victim.n_bytes <= max(goal_bytes, _WHOLE_BYTES) or not can_divide:
            return self._evict_whole(victim)
        return self._divide(victim)

    def _is_proven_with(self, binding: Binding) -> bool:
        """Return whether a complete file still has this manifest, or as before none that is known."""
        proven = self._index.find_proven(binding.sha1)
        return (proven.binding.manifest if proven else None) == binding.manifest

    def _may_punch(self) -> bool:
        if self._can_punch is None:
            self._can_punch = can_punch(self._folder.places.temporary)
        return self._can_punch

    def _divide(self, victim: Victim) -> int:
        if victim.is_complete:
            with self._open_data(victim) as fd:
                if not take_alone(fd):
                    return 0
                make_full_presence(self._folder, victim.row.binding, victim.row.layout).close()
        for extent in extents_by_heat(self._folder.places, victim):
            heapq.heappush(self._heap, extent)
        return 0

    def _evict_whole(self, victim: Victim) -> int:
        """Remove a file that nobody has open, its presence first."""
        places, binding = self._folder.places, victim.row.binding
        with self._open_data(victim) as fd:
            if not take_alone(fd):
                return 0
            freed = os.fstat(fd).st_blocks * 512 + FILE_BYTES
            if binding.manifest is not None:
                freed += disk_bytes(places.partial(binding) / PRESENT)
                remove_partial(places.partial(binding))
            if victim.is_complete:
                remove_file(places.complete(binding.sha1))
                remove_empty_folders(places.complete(binding.sha1), 3)
        self._index.forget(binding)
        self._ledger.give_back(freed, evicted_blocks=-(-victim.n_bytes // victim.row.layout.block_bytes))
        return freed

    def _evict_extent(self, victim: Victim, extent: int) -> int:
        """Punch an extent; a complete file is made a partial one before that."""
        if not self._may_punch():
            return 0
        layout = victim.row.layout
        blocks = BlockRange(extent * EXTENT_BLOCKS, min((extent + 1) * EXTENT_BLOCKS, layout.n_blocks))
        span = layout.bytes_of(blocks)
        with self._open_data(victim) as fd, holding_alone(fd, span) as is_alone:
            if not is_alone:
                return 0
            presence = self._open_presence(victim)
            try:
                if self._is_warmer(victim, presence, extent):
                    return 0
                if victim.is_complete:
                    self._demote(victim)
                freed = evict_blocks(fd, presence, layout, blocks)
            finally:
                presence.close()
        if freed:
            self._ledger.give_back(freed, evicted_blocks=-(-freed // layout.block_bytes))
        return freed

    def _is_warmer(self, victim: Victim, presence: Presence, extent: int) -> bool:
        """Put a victim that was used since the look back among the others."""
        heat_ms = presence.heat_ms(extent)
        if heat_ms <= victim.heat_ms + _HEAT_SLACK_MS:
            return False
        heapq.heappush(self._heap, replace(victim, heat_ms=heat_ms, extent=extent))
        return True

    def _demote(self, victim: Victim) -> None:
        places, binding = self._folder.places, victim.row.binding
        with contextlib.suppress(FileNotFoundError):  # an extent before this one was evicted
            os.rename(places.complete(binding.sha1), places.partial(binding) / DATA)
            remove_empty_folders(places.complete(binding.sha1), 3)

    def _open_presence(self, victim: Victim) -> Presence:
        place = self._folder.places.partial(victim.row.binding) / PRESENT
        os.stat(place)  # FileNotFoundError: nobody looks at a new one
        return Presence.open(place, victim.row.layout.n_blocks, is_writable=True)

    def _mend(self, row: Row) -> None:
        """Make holes where a killed process left data without presence; others get their turns between."""
        n_blocks = row.layout.n_blocks
        for first in range(0, n_blocks, _MEND_BLOCKS):
            blocks = BlockRange(first, min(first + _MEND_BLOCKS, n_blocks))
            self._in_turn(row, lambda blocks=blocks: self._mend_some(row, blocks))  # type: ignore[misc]

    def _mend_some(self, row: Row, blocks: BlockRange) -> int:
        place = self._folder.places.partial(row.binding)
        if not self._may_punch():
            return 0
        with contextlib.ExitStack() as stack:
            fd = os.open(place / DATA, os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            os.stat(place / PRESENT)
            presence = Presence.open(place / PRESENT, row.layout.n_blocks, is_writable=True)
            stack.callback(presence.close)
            freed = mend_blocks(fd, presence, row.layout, blocks)
        if freed:
            self._ledger.give_back(freed)
        return freed

    @contextlib.contextmanager
    def _open_data(self, victim: Victim) -> Iterator[int]:
        places, binding = self._folder.places, victim.row.binding
        complete = places.complete(binding.sha1)
        is_complete = victim.is_complete and (victim.extent is None or complete.exists())
        fd = os.open(complete if is_complete else places.partial(binding) / DATA, os.O_RDWR | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            with contextlib.suppress(OSError):
                unlock(fd, IN_USE)  # closing alone would leave it to a child that was forked meanwhile
            os.close(fd)
