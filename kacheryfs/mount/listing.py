"""What stands in a directory: found by name, and listed in order; never waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from ..core.tree import Tree
from .engine import KnownFile, KnownTree
from .names import COLLECTION_JSON, HIDDEN, LISTED, README_NAME, Place, decode_name, encode_name
from .nodes import (
    CollectionDirectory,
    FixedDirectory,
    Node,
    PartDirectory,
    Readme,
    TreeDirectory,
    UnloadedTree,
    file_of_entry,
    file_of_known,
)

T = TypeVar("T")

_ROOT_NODES: dict[str, Node] = {
    README_NAME: Readme(),
    **{place.value: FixedDirectory(place) for place in (*LISTED, *HIDDEN)},
}


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A directory's entries as they were when it was opened; nodes are made one at a time, as the kernel asks."""

    items: list[T]
    node_of: Callable[[T], tuple[bytes, Node]]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[bytes, Node]:
        return self.node_of(self.items[index])


def find_in_root(name: str) -> Node | None:
    return _ROOT_NODES.get(name)


def list_root() -> Listing[str]:
    """List what can be seen; links' own directories can only be opened."""
    seen = [README_NAME, *(place.value for place in LISTED)]
    return Listing(seen, lambda name: (encode_name(name), _ROOT_NODES[name]))


def list_nothing() -> Listing[str]:
    return Listing([], lambda name: (encode_name(name), Readme()))


def list_named(nodes: Mapping[str, Node]) -> Listing[str]:
    """List nodes that are known by their names, in order."""
    return Listing(list(nodes), lambda name: (encode_name(name), nodes[name]))


def list_known(known: Iterable[KnownFile | KnownTree], place: Place) -> Listing[KnownFile | KnownTree]:
    """List files in ``sha1`` and trees in ``sha1dir``, each once, in order."""
    kind = KnownFile if place is Place.FILES else KnownTree
    chosen = {item.sha1: item for item in known if isinstance(item, kind)}
    return Listing([chosen[sha1] for sha1 in sorted(chosen)], _node_of_known)


def _node_of_known(item: KnownFile | KnownTree) -> tuple[bytes, Node]:
    node = file_of_known(item) if isinstance(item, KnownFile) else UnloadedTree(item.sha1, "")
    return encode_name(item.sha1.hex), node


def list_tree(directory: TreeDirectory) -> Listing[str]:
    tree = directory.tree
    return Listing([*tree.dirs, *tree.files], lambda name: (encode_name(name), _child(directory, name)))


def find_in_tree(directory: TreeDirectory, name: str) -> Node | None:
    """Return what has this name; below ``sha1dir:`` also what has it once it is percent-decoded.

    The name as it stands comes first, so that what is listed is what is opened.
    """
    tree = directory.tree
    if name in tree.files or name in tree.dirs:
        return _child(directory, name)
    decoded = decode_name(unquote_to_bytes(encode_name(name)))
    if directory.is_link and decoded != name and (decoded in tree.files or decoded in tree.dirs):
        return _child(directory, decoded)
    return None


def list_collection(directory: CollectionDirectory) -> Listing[str]:
    return list_named(_in_collection(directory))


def find_in_collection(directory: CollectionDirectory, name: str) -> Node | None:
    return _in_collection(directory).get(name)


def _in_collection(directory: CollectionDirectory) -> Mapping[str, Node]:
    assert directory.shown is not None, "a directory is loaded before it is looked into"
    parts = {part.value: PartDirectory(entries) for part, entries in directory.shown.parts.items()}
    return {COLLECTION_JSON: directory.shown.json, **parts}


def _child(directory: TreeDirectory, name: str) -> Node:
    entry = directory.tree.files.get(name)
    if entry is not None:
        return file_of_entry(entry, name)
    return _inner(directory, name, directory.tree.dirs[name])


def _inner(directory: TreeDirectory, name: str, tree: Tree) -> TreeDirectory:
    path = (*directory.path, name)
    return TreeDirectory(directory.sha1, directory.label, path, tree, directory.is_link)
