"""Which files a path below the mountpoint stands for, told without waiting: for ``why`` and ``cancel``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.link import TreeLink
from ..core.model import Sha1
from ..core.tree import FileEntry, Tree
from .collections import OpenedCollections
from .inodes import Inodes
from .names import COLLECTION_JSON, FileName, LabelsName, Part, Place, TreeName, find_labelled, find_named
from .nodes import FileFolder, ShownCollection, TreeDirectory, UnloadedTree


@dataclass(frozen=True, slots=True)
class Target:
    """A file, or what stands at ``inside`` in a tree."""

    sha1: Sha1
    inside: tuple[str, ...] | None = None
    """None for a file, empty for the tree itself."""


class Paths:
    """Paths to digests, by the trees that the kernel holds directories of and by the collections that were loaded.

    What is being read is known; in what isn't known nothing waits.
    """

    def __init__(self, inodes: Inodes, collections: OpenedCollections) -> None:
        self._inodes = inodes
        self._collections = collections

    def find_digest(self, parts: Sequence[str]) -> Sha1 | None:
        """Return the SHA-1 of the file at ``parts``, of the tree where that isn't loaded yet, or None for no such name.

        A collection, and its recordings together, have the SHA-1 of its JSON.
        """
        for target in find_targets(parts, self._collections)[:1]:
            is_loaded, found = _LoadedTrees(self._inodes).find(target)
            if is_loaded and target.inside:
                return _own_digest(found, target)
            return target.sha1
        return None

    def find_files(self, parts: Sequence[str]) -> set[Sha1]:
        """Return what may be waited for at a path or below it, trees included; nothing for no such name."""
        targets = find_targets(parts, self._collections)
        loaded = _LoadedTrees(self._inodes)
        below = (_files_of(loaded.find(target)[1]) for target in targets)
        return {target.sha1 for target in targets}.union(*below)


class _LoadedTrees:
    """The trees that are known at this moment."""

    def __init__(self, inodes: Inodes) -> None:
        self._known: dict[Sha1, list[tuple[tuple[str, ...], Tree]]] = {}
        for _, node in inodes:
            if isinstance(node, TreeDirectory):
                self._known.setdefault(node.sha1, []).append((node.path, node.tree))
            elif isinstance(node, FileFolder) and isinstance(node.link, TreeLink):
                self._known.setdefault(node.link.sha1, []).append((node.link.path, _tree_of(node)))

    def find(self, target: Target) -> tuple[bool, Tree | FileEntry | None]:
        """Return whether the place is known, and what stands there."""
        inside = target.inside
        if inside is None:
            return False, None
        known = sorted(self._known.get(target.sha1, ()), key=lambda known: len(known[0]))
        found = [tree.find(inside[len(path) :]) for path, tree in known if inside[: len(path)] == path]
        return bool(found), next((one for one in found if one is not None), None)


def find_targets(parts: Sequence[str], collections: OpenedCollections) -> list[Target]:
    """Return what ``parts`` names, first of all itself, then all that stands below in a collection; [] for nothing."""
    if len(parts) < 2 or parts[0] not in {place.value for place in Place}:
        return []
    if Place(parts[0]) is Place.COLLECTIONS:
        return _find_in_collections(parts[1], parts[2:], collections)
    named = find_named(Place(parts[0]), parts[1])
    if isinstance(named, TreeName):
        return [Target(named.sha1, tuple(parts[2:]))]
    if isinstance(named, FileName):
        return [Target(named.request.sha1)] if len(parts) == 2 else []
    is_name = isinstance(named, LabelsName) and (len(parts) == 2 or find_labelled(named.sha1, parts[2]))
    return [Target(named.sha1)] if named and is_name else []


def _find_in_collections(name: str, rest: Sequence[str], collections: OpenedCollections) -> list[Target]:
    directory = collections.find(name)
    if directory is None:
        return []
    itself = Target(directory.link.sha1)
    if directory.shown is None or list(rest) == [COLLECTION_JSON]:
        return [itself]
    if len(rest) < 2:
        parts = [part for part in Part if not rest or part.value == rest[0]]
        below = [_target_of(entry) for part in parts for entry in directory.shown.parts[part].values()]
        return [itself, *below] if parts else []
    return _find_entry(directory.shown, rest)


def _find_entry(shown: ShownCollection, rest: Sequence[str]) -> list[Target]:
    entries = next((shown.parts[part] for part in Part if part.value == rest[0]), {})
    entry, inside = entries.get(rest[1]), tuple(rest[2:])
    if entry is None:
        return []
    if isinstance(entry, UnloadedTree):
        return [Target(entry.sha1, entry.path + inside)]
    return [_target_of(entry)] if inside in ((), (entry.file.label,)) else []


def _target_of(entry: UnloadedTree | FileFolder) -> Target:
    return Target(entry.sha1, entry.path) if isinstance(entry, UnloadedTree) else Target(entry.file.request.sha1)


def _own_digest(found: Tree | FileEntry | None, target: Target) -> Sha1 | None:
    if found is None:
        return None
    return found.sha1 if isinstance(found, FileEntry) else target.sha1


def _files_of(found: Tree | FileEntry | None) -> set[Sha1]:
    if isinstance(found, Tree):
        return {entry.sha1 for _, entry in found.walk()}
    return {found.sha1} if found else set()


def _tree_of(folder: FileFolder) -> Tree:
    """Return a file's folder as the tree that it looks like."""
    request = folder.file.request
    entry = FileEntry(request.size_bytes or 0, request.sha1, request.manifest)
    return Tree({}, {folder.file.label: entry})
