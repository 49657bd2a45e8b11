"""Which digest a path below the mountpoint stands for, told without waiting: for ``why`` and ``cancel``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..core.model import Sha1
from ..core.tree import FileEntry, Tree
from .names import FileName, LabelsName, Place, TreeName, find_labelled, find_named

FindTree = Callable[[Sha1], Tree | None]


def find_digest(parts: Sequence[str], find_tree: FindTree) -> Sha1 | None:
    """Return the SHA-1 of the file at ``parts``, of the tree where that isn't loaded yet, or None for no such name."""
    if len(parts) < 2 or parts[0] not in {place.value for place in Place}:
        return None
    named = find_named(Place(parts[0]), parts[1])
    if isinstance(named, FileName):
        return named.request.sha1 if len(parts) == 2 else None
    if isinstance(named, LabelsName):
        return named.sha1 if len(parts) == 2 or find_labelled(named.sha1, parts[2]) else None
    return _find_in_tree(named, parts[2:], find_tree) if named else None


def _find_in_tree(named: TreeName, path: Sequence[str], find_tree: FindTree) -> Sha1 | None:
    tree = find_tree(named.sha1)
    if tree is None or not path:
        return named.sha1
    found = tree.find(path)
    if found is None:
        return None
    return found.sha1 if isinstance(found, FileEntry) else named.sha1
