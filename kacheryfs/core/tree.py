"""Trees: directories addressed by the SHA-1 of their JSON, as the lineage wrote them and as we write them.

``{"dirs": {name: <tree>}, "files": {name: {"manifest": M, "sha1": H, "size": n}}}``, one object for the whole tree.
Our form is canonical (sorted keys, compact, ASCII escapes, surrogateescape) so that one tree has one digest;
"manifest" is there only where the file has one. Old writers gave neither an order nor manifests; both are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import InputError, ProofError
from .manifest import MAX_FILE_BYTES
from .model import ManifestDigest, Sha1, parse_manifest_digest
from .names import why_not_a_name
from .strict_json import MAX_COMMAS, parse_strict_json

MAX_TREE_BYTES = 64 * 1024 * 1024
MAX_TREE_DEPTH = 64
"""How many directories may stand inside each other below a tree's own."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of a tree: its size, its SHA-1 and, where it has one, its manifest."""

    size_bytes: int
    sha1: Sha1
    manifest: ManifestDigest | None = None

    def __post_init__(self) -> None:
        if type(self.size_bytes) is not int or not 0 <= self.size_bytes <= MAX_FILE_BYTES:
            raise ValueError(f"{self.size_bytes!r} is not a number of bytes from 0 to 1 PiB")


@dataclass(frozen=True, slots=True)
class Tree:
    """A directory: its directories and its files by name; no name stands for both."""

    dirs: Mapping[str, Tree] = field(default_factory=dict)
    files: Mapping[str, FileEntry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.dirs, *self.files):
            reason = why_not_a_name(name)
            if reason:
                raise ValueError(f"the name {name[:80]!r} {reason}")
        if not self.dirs.keys().isdisjoint(self.files):
            twice = min(self.dirs.keys() & self.files.keys())
            raise ValueError(f"the name {twice[:80]!r} stands for a file and for a directory")

    def find(self, path: Sequence[str]) -> Tree | FileEntry | None:
        """Return what stands at ``path``; the tree itself for an empty one, None for nothing."""
        here: Tree | FileEntry | None = self
        for name in path:
            if not isinstance(here, Tree):
                return None
            here = here.dirs.get(name) or here.files.get(name)
        return here

    def walk(self) -> Iterator[tuple[tuple[str, ...], FileEntry]]:
        """Yield each file below with its path: a directory's own files first, all sorted by name."""
        yield from (((name,), entry) for name, entry in sorted(self.files.items(), key=_name_of))
        for name, tree in sorted(self.dirs.items(), key=_name_of):
            yield from (((name, *path), entry) for path, entry in tree.walk())

    @property
    def n_files(self) -> int:
        """How many files stand below; counts anew each time."""
        return len(self.files) + sum(tree.n_files for tree in self.dirs.values())

    @property
    def total_bytes(self) -> int:
        """The sum of the sizes of all files below; adds up anew each time."""
        own_bytes = sum(entry.size_bytes for entry in self.files.values())
        return own_bytes + sum(tree.total_bytes for tree in self.dirs.values())


def _name_of(item: tuple[str, object]) -> str:
    return item[0]


def encode_tree(tree: Tree) -> bytes:
    """Return the canonical JSON; InputError for a tree that no reader would take (too deep, too long)."""
    data = json.dumps(_to_json(tree, 0), sort_keys=True, separators=(",", ":")).encode("ascii")
    if len(data) > MAX_TREE_BYTES or data.count(b",") > MAX_COMMAS:
        raise InputError(
            f"the directory's JSON would have {len(data)} bytes, more than readers take ({MAX_TREE_BYTES} bytes or "
            f"{MAX_COMMAS} values): share its sub-directories one by one"
        )
    return data


def _to_json(tree: Tree, depth: int) -> dict[str, object]:
    if depth > MAX_TREE_DEPTH:
        raise InputError(f"directories are nested deeper than {MAX_TREE_DEPTH}: share an inner one by itself")
    return {
        "dirs": {name: _to_json(inner, depth + 1) for name, inner in tree.dirs.items()},
        "files": {name: _entry_to_json(entry) for name, entry in tree.files.items()},
    }


def _entry_to_json(entry: FileEntry) -> dict[str, object]:
    value: dict[str, object] = {"sha1": entry.sha1.hex, "size": entry.size_bytes}
    return value | {"manifest": entry.manifest.hex} if entry.manifest else value


def decode_tree(data: bytes) -> Tree:
    """Parse a directory JSON that a stranger may have made; ProofError says what is wrong with it.

    That ``data`` has the SHA-1 of its link is for the caller to prove.
    """
    what = "a directory's JSON"
    value = parse_strict_json(data, what=what, max_bytes=MAX_TREE_BYTES, shrink=_shrink)
    try:
        return _decode_tree(value, 0)
    except ValueError as exc:
        raise ProofError(f"{what} is refused: {exc}") from exc


def _shrink(value: dict[str, object]) -> object:
    """Turn a file's object into its entry at once: that halves the memory that a large tree takes to parse."""
    return _decode_entry(value) if type(value.get("size")) is int else value


def _decode_tree(value: object, depth: int) -> Tree:
    if depth > MAX_TREE_DEPTH:
        raise ValueError(f"directories are nested deeper than {MAX_TREE_DEPTH}")
    node = _take_object(value, "a directory", {"dirs", "files"})
    dirs = _take_object(node.get("dirs"), "'dirs'")
    files = _take_object(node.get("files"), "'files'")
    return Tree(
        {name: _decode_tree(inner, depth + 1) for name, inner in dirs.items()},
        {name: _take_entry(entry) for name, entry in files.items()},
    )


def _take_entry(value: object) -> FileEntry:
    if not isinstance(value, FileEntry):
        raise ValueError("a file is not an object with an integer 'size'")
    return value


def _decode_entry(entry: dict[str, object]) -> FileEntry:
    _take_object(entry, "a file", {"manifest", "sha1", "size"})
    size, sha1, manifest = entry["size"], entry.get("sha1"), entry.get("manifest")
    if type(size) is not int or not isinstance(sha1, str):
        raise ValueError("a file's 'size' is not an integer, or its 'sha1' not text")
    if "manifest" not in entry:
        return FileEntry(size, Sha1.from_hex(sha1))
    if not isinstance(manifest, str):
        raise ValueError("a file's 'manifest' is not text")
    return FileEntry(size, Sha1.from_hex(sha1), parse_manifest_digest(manifest))


def _take_object(value: object, what: str, known: set[str] | None = None) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not an object")
    if known is not None and not value.keys() <= known:
        raise ValueError(f"{what} has the unknown key {min(value.keys() - known)[:40]!r}")
    return value
