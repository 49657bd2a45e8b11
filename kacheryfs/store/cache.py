"""The cache as its owner sees it: its bound, what it takes, and giving space back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..core.model import Sha1
from ..errors import StoreError
from .counting import Counting, disk_bytes
from .evictor import Evictor
from .folder import StoreFolder
from .index import Index
from .pins import Pins
from .places import DATA, PRESENT
from .space import Room
from .trouble import FULL
from .victims import find_open

_CLEAR_AGE_S = 60.0


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What the cache takes and has given back; bytes are those on disk."""

    limit_bytes: int
    """The bound in force."""
    is_limit_held: bool
    """Whether it is in force by a live mount, and not by this process's own setting alone."""
    used_bytes: int
    """What processes have in reserve included: up to 8 MiB each."""
    free_bytes: int
    """What the disk has left for anybody."""
    n_files: int
    """Of which there is, or was, something."""
    pinned_bytes: int
    evicted_blocks: int
    evicted_bytes: int
    evicting_since_s: float
    """When the counting of what was evicted began, in seconds since 1970; 0 where nothing was yet."""


class Cache:
    """The evictable side of one store."""

    def __init__(
        self, folder: StoreFolder, index: Index, pins: Pins, room: Room, evictor: Evictor, counting: Counting
    ) -> None:
        self._folder = folder
        self._index = index
        self._pins = pins
        self._room = room
        self._evictor = evictor
        self._counting = counting

    @property
    def limit_bytes(self) -> int:
        """The bound in force on all that lies in the store's folder; StoreError."""
        with self._translated():
            return self._room.limit_bytes

    def hold_bound(self) -> None:
        """Have every process on this store go by the bound that this one was given, too, while the store is open."""
        self._room.hold_bound()

    def used_bytes(self) -> int:
        """Return what the store takes on disk, as its processes have it in their account; StoreError."""
        with self._translated():
            account = self._room.ledger.read()
            return account.used_bytes if account.counted_at_ms else self._counting.look()

    def stats(self) -> CacheStats:
        """Return numbers that are kept: a millisecond, and 0.1 ms a pinned file. StoreError."""
        with self._translated():
            disk, account = os.statvfs(self._folder.places.root), self._room.ledger.read()
            return CacheStats(
                limit_bytes=self.limit_bytes,
                is_limit_held=self._room.is_bound_held,
                used_bytes=self.used_bytes(),
                free_bytes=disk.f_bavail * disk.f_frsize,
                n_files=self._index.count(),
                pinned_bytes=sum(map(self._disk_bytes_of, {sha1 for pin in self._pins.all() for sha1 in pin.sha1s})),
                evicted_blocks=account.evicted_blocks,
                evicted_bytes=account.evicted_bytes,
                evicting_since_s=account.evicting_since_ms / 1000,
            )

    def _disk_bytes_of(self, sha1: Sha1) -> int:
        """Return what is here of a file, under whichever manifest."""
        places = self._folder.places
        partials = [places.partial(row.binding) for row in self._index.find(sha1) if row.binding.manifest is not None]
        paths = [place / name for place in partials for name in (DATA, PRESENT)]
        return disk_bytes(places.complete(sha1)) + sum(map(disk_bytes, paths))

    def evict(self, sha1s: Iterable[Sha1] | None = None, n_bytes: int | None = None) -> int:
        """Give back what these files take (None: any), up to ``n_bytes`` (None: all); return the bytes freed.

        What is pinned or in use stays: of a file that is open, what is being sent or proven; without arguments, all of
        a file that is open. So does a legacy manifest while there is anything of its file. StoreError.
        """
        with self._translated():
            return self._evictor.free_files(None if sha1s is None else frozenset(sha1s), n_bytes)

    def clear(self) -> int:
        """Give back all that is neither pinned nor open, manifests too; return the bytes freed. StoreError."""
        with self._translated():
            return self.evict() + self._counting.remove_orphan_parts(min_age_s=_CLEAR_AGE_S)

    def find_in_use(self) -> set[Sha1]:
        """Return which files that aren't pinned somebody has open: eviction keeps them, or parts. StoreError."""
        with self._translated():
            return {sha1 for sha1 in find_open(self._folder.places) if not self._pins.is_pinned(sha1)}

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            advice = "; free some, or name another store with --store" if exc.errno in FULL else ""
            raise StoreError(f"store {self._folder.places.root}: {exc.strerror or exc}{advice}") from exc
