"""What could be evicted, coldest first: whole files that nobody has open, then extents of those that are open.

A file under a legacy manifest goes whole or not at all: the folders don't tell its block size, and where the index
lost it a guess would make holes of present blocks. That manifest's JSON, itself a file of the store, goes after it.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..core.model import Binding, Blake3, Sha1
from .holding import IN_USE
from .index import Index, Row
from .locks import is_locked
from .places import DATA, PRESENT, Places, list_files, parse_partial_name
from .presence import EXTENT_BLOCKS
from .presence import Places as PresencePlaces
from .survey import complete_row, partial_row

_LEAK_BYTES = 256 * 1024
"""What a data file may take beyond its present blocks: the map of its extents, and pages that two blocks share."""
_MAX_PRESENCE_BYTES = 64 * 1024 * 1024
"""Of 13 TiB of file. A larger one goes whole or not at all: an absurd manifest's sparse presence isn't read."""
_LAST_MS = 1 << 62
"""Warmer than anything."""


@dataclass(frozen=True, slots=True, order=True)
class Victim:
    """A file, or one extent of it; the least goes first."""

    is_open: bool
    heat_ms: int
    row: Row = field(compare=False)
    extent: int | None = field(compare=False)
    """None: the whole file."""
    n_bytes: int = field(compare=False)
    is_complete: bool = field(compare=False)
    needed_by: tuple[Binding, ...] = field(compare=False, default=())
    """Files whose legacy manifest this is: while there is anything of them, it stays."""


@dataclass(frozen=True, slots=True)
class StoreView:
    """What one look at the store's folders found."""

    victims: list[Victim]
    leaks: list[Row]
    """Files that take more than their present blocks: somebody was killed between a hole and its presence."""


def look(places: Places, index: Index) -> StoreView:
    """Look at every file: 60 µs each."""
    view = StoreView([], [])
    rows = {row.binding: row for row in index.rows()}
    proven = {row.binding.sha1: row for row in rows.values() if row.is_proven and row.binding.manifest is not None}
    partials = list(list_files(places.partials, 1))
    for path in partials:
        _look_at_partial(path, rows, view)
    for path in list_files(places.completes, 3):
        _look_at_complete(path, places, proven, view)
    needs = _find_needs({*rows, *(parse_partial_name(path.name) for path in partials)})
    victims = [_after_its_files(victim, needs.get(victim.row.binding.sha1, ())) for victim in view.victims]
    return replace(view, victims=victims)


def _find_needs(bindings: Iterable[Binding | None]) -> dict[Sha1, tuple[Binding, ...]]:
    """Return by which files each legacy manifest is needed, if there is anything of them."""
    needs: dict[Sha1, tuple[Binding, ...]] = {}
    for binding in bindings:
        if binding is not None and isinstance(binding.manifest, Sha1):
            needs[binding.manifest] = (*needs.get(binding.manifest, ()), binding)
    return needs


def _after_its_files(victim: Victim, needed_by: tuple[Binding, ...]) -> Victim:
    return replace(victim, heat_ms=_LAST_MS, needed_by=needed_by) if needed_by else victim


def _look_at_partial(place: Path, rows: dict[Binding, Row], view: StoreView) -> None:
    binding = parse_partial_name(place.name)
    row = rows.get(binding) if binding is not None else None
    with contextlib.suppress(OSError):  # gone, or no file of ours
        row = row or next(partial_row(place), None)
        if row is not None:
            heats = _read_heats(place / PRESENT, row)
            disk_bytes, is_open = _look_at_data(place / DATA)
            view.victims.extend(_victims_of(row, heats, disk_bytes, is_open=is_open, is_complete=False))
            present_bytes = sum(n_bytes for _, n_bytes in heats.values())
            can_tell = is_divisible(binding) and _has_small_presence(row)
            if can_tell and disk_bytes > present_bytes + present_bytes // 64 + _LEAK_BYTES:
                view.leaks.append(row)


def _look_at_complete(path: Path, places: Places, proven: dict[Sha1, Row], view: StoreView) -> None:
    with contextlib.suppress(OSError, ValueError):
        row = proven.get(Sha1.from_hex(path.name)) or next(complete_row(path), None)
        if row is None:
            return
        disk_bytes, is_open = _look_at_data(path)
        heats: dict[int, tuple[int, int]] = {}
        if row.binding.manifest is not None:
            with contextlib.suppress(OSError):
                heats = _read_heats(places.partial(row.binding) / PRESENT, row)
        if not is_open and not heats:
            used_ms = os.stat(path).st_mtime_ns // 1_000_000
            view.victims.append(Victim(False, used_ms, row, None, disk_bytes, is_complete=True))
        view.victims.extend(_victims_of(row, heats, disk_bytes, is_open=is_open, is_complete=True))


def find_open(places: Places) -> set[Sha1]:
    """Return which files that have anything here somebody has open."""
    partials = [(parse_partial_name(path.name), path / DATA) for path in list_files(places.partials, 1)]
    found = {binding.sha1 for binding, path in partials if binding is not None and _is_open(path)}
    return found | {Sha1.from_hex(path.name) for path in list_files(places.completes, 3) if _is_open(path)}


def _is_open(path: Path) -> bool:
    with contextlib.suppress(OSError):  # gone, or nothing of it was ever here
        disk_bytes, is_open = _look_at_data(path)
        return is_open and disk_bytes > 0
    return False


def is_divisible(binding: Binding | None) -> bool:
    """Return whether parts of a file may go: where its name alone tells how it is cut into blocks."""
    return binding is not None and isinstance(binding.manifest, Blake3)


def _look_at_data(path: Path) -> tuple[int, bool]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.fstat(fd).st_blocks * 512, is_locked(fd, IN_USE)
    finally:
        os.close(fd)


def _victims_of(
    row: Row, heats: dict[int, tuple[int, int]], disk_bytes: int, *, is_open: bool, is_complete: bool
) -> Iterator[Victim]:
    if is_open and is_divisible(row.binding):
        for extent, (heat_ms, n_bytes) in heats.items():
            yield Victim(True, heat_ms, row, extent, n_bytes, is_complete)
    elif not is_open and (heats or not is_complete):
        last_ms = max((heat_ms for heat_ms, _ in heats.values()), default=0)
        yield Victim(False, last_ms, row, None, disk_bytes, is_complete)


def extents_by_heat(places: Places, victim: Victim) -> Iterator[Victim]:
    """Yield the extents of a whole file that is too much to go at once."""
    with contextlib.suppress(OSError):
        for extent, (heat_ms, n_bytes) in _read_heats(places.partial(victim.row.binding) / PRESENT, victim.row).items():
            yield replace(victim, heat_ms=heat_ms, extent=extent, n_bytes=n_bytes)


def _has_small_presence(row: Row) -> bool:
    return PresencePlaces(row.layout.n_blocks).n_bytes <= _MAX_PRESENCE_BYTES


def _read_heats(path: Path, row: Row) -> dict[int, tuple[int, int]]:
    """Return when each extent that has anything present was last used, and its present bytes; OSError.

    A file of version 1 tells no heat: it counts as used when it was last written.
    """
    if not _has_small_presence(row):
        return {}
    places = PresencePlaces(row.layout.n_blocks)
    with path.open("rb", buffering=0) as file:
        data = file.read(places.n_bytes)
        written_ms = os.fstat(file.fileno()).st_mtime_ns // 1_000_000
    known = data[places.heat : places.wanted]
    heats = struct.unpack(f"<{len(known) // 8}Q", known[: len(known) // 8 * 8])
    found = {}
    for extent in range(places.n_extents):
        flags = data[extent * EXTENT_BLOCKS : min((extent + 1) * EXTENT_BLOCKS, places.n_blocks)]
        n_present = len(flags) - flags.count(0)
        if n_present:
            heat_ms = heats[extent] if len(heats) == places.n_extents else written_ms
            found[extent] = (heat_ms, min(n_present * row.layout.block_bytes, row.layout.size_bytes))
    return found
