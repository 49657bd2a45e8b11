"""Counts what really lies in the store's folder, as ``du`` does, and removes manifests that nothing needs any more."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ..core.manifest import Root
from ..core.model import Blake3
from ..errors import ProofError
from .index import Index
from .ledger import Ledger
from .places import GONE, PRESENT, Places, list_files, parse_partial_name
from .space import FILE_BYTES

logger = logging.getLogger(__name__)

_PART_AGE_S = 3600.0
"""A manifest comes before the first block of its file, and a reader may take his time between the two."""


class Counting:
    """Puts the account of one store right."""

    def __init__(self, places: Places, index: Index, ledger: Ledger) -> None:
        self._places = places
        self._index = index
        self._ledger = ledger

    def count(self) -> None:
        """Enter what lies here into the account: 10 µs a file. OSError."""
        try:
            self.remove_orphan_parts(min_age_s=_PART_AGE_S)
        except OSError as exc:
            logger.debug("store: no manifest was removed: %s", exc)
        written_before = self._ledger.begin_count()
        self._ledger.note_count(self.look(), written_before)

    def look(self) -> int:
        """Return what everything in and below the folder takes on disk, each file with its share of the folders."""
        places, found = self._places, {}
        # A file may move between the two meanwhile: wherever it was last, it is found once at least.
        for folder in (places.partials, places.completes, places.partials, places.manifest_parts):
            for entry in _entries(folder):
                with contextlib.suppress(OSError):
                    if not entry.is_dir(follow_symlinks=False):
                        own_bytes = 0 if entry.name == PRESENT else FILE_BYTES
                        found[entry.inode()] = _disk_bytes(entry) + own_bytes
        return sum(found.values()) + self._rest_bytes()

    def _rest_bytes(self) -> int:
        known = {self._places.partials.name, self._places.completes.name, self._places.manifest_parts.name}
        with contextlib.suppress(OSError), os.scandir(self._places.root) as entries:
            rest = [entry for entry in entries if entry.name not in known]
            below = [inner for entry in rest if entry.is_dir(follow_symlinks=False) for inner in _entries(entry)]
            return disk_bytes(self._places.root) + sum(map(_disk_bytes, rest + below))
        return 0

    def remove_orphan_parts(self, *, min_age_s: float) -> int:
        """Remove manifests of files of which the store has nothing, older than this; return the bytes freed.

        OSError, and all stay, where it can't be told now what the store has.
        """
        needed, newest_s, freed = self._needed_parts(), time.time() - min_age_s, 0
        for path in list_files(self._places.manifest_parts, 3):
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                if path.name not in needed and status.st_mtime < newest_s:
                    os.unlink(path)
                    freed += status.st_blocks * 512 + FILE_BYTES
        if freed:
            self._ledger.give_back(freed)
        return freed

    def _needed_parts(self) -> set[str]:
        """Return the names of the roots, and their groups, of everything that lies here.

        The disk decides, not the index alone: one that was lost and made again doesn't know by which manifest a
        complete file was proven, and one that fails says nothing.
        """
        roots = self._partial_roots() | self._complete_roots()
        return roots | {group.hex for name in roots for group in self._groups_of(name)}

    def _partial_roots(self) -> set[str]:
        bindings = [parse_partial_name(path.name) for path in self._list(self._places.partials, 1)]
        return {one.manifest.hex for one in bindings if one is not None and isinstance(one.manifest, Blake3)}

    def _complete_roots(self) -> set[str]:
        found = {path.name for path in self._list(self._places.completes, 3)}
        rows = [row.binding for row in self._index.rows()]
        known = {(one.sha1.hex, one.manifest.hex) for one in rows if isinstance(one.manifest, Blake3)}
        lost = found - {sha1 for sha1, _ in known}
        return {name for sha1, name in known if sha1 in found} | (self._roots_of(lost) if lost else set())

    def _roots_of(self, sha1s: set[str]) -> set[str]:
        """Return the roots that lie here of files whose manifest the index doesn't tell."""
        named = ((path.name, self._find_root(path.name)) for path in self._list(self._places.manifest_parts, 3))
        return {name for name, root in named if root is not None and root.sha1.hex in sha1s}

    def _list(self, folder: Path, n_levels: int) -> Iterator[Path]:
        return list_files(folder, n_levels, is_all_needed=True)

    def _groups_of(self, name: str) -> tuple[Blake3, ...]:
        root = self._find_root(name)
        return () if root is None else tuple(root.groups)

    def _find_root(self, name: str) -> Root | None:
        """Return a root, None for a group or what is no part of a manifest; OSError."""
        with contextlib.suppress(*GONE, ValueError, ProofError):
            digest = Blake3.from_hex(name)
            return Root.decode(self._places.manifest_part(digest).read_bytes(), digest)
        return None


def _entries(folder: Path | os.DirEntry[str]) -> Iterator[os.DirEntry[str]]:
    """Yield what lies below, folders too; what goes meanwhile is left out."""
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for entry in found:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(entry)


def _disk_bytes(entry: os.DirEntry[str]) -> int:
    with contextlib.suppress(OSError):
        return entry.stat(follow_symlinks=False).st_blocks * 512
    return 0


def disk_bytes(path: Path) -> int:
    """Return what a file, or a folder itself, takes on disk; 0 where it is gone."""
    with contextlib.suppress(OSError):
        return os.lstat(path).st_blocks * 512
    return 0
