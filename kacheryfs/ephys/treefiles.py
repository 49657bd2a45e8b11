"""The files of a tree that a stranger may have made, brought here by the fetcher and proven."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..app.embedded import request_of
from ..core.link import FileLink, TreeLink, parse_link
from ..core.strict_json import parse_strict_json
from ..core.tree import FileEntry, Tree
from ..errors import InputError, LinkError, ProofError
from .npy import Array, read_npy

if TYPE_CHECKING:
    from ..app.embedded import Fetcher, RemoteFile

DESCRIPTION_FILE = "kacheryfs.json"
MAX_JSON_BYTES = 64 * 1024 * 1024


class TreeFiles:
    """A directory behind a link; paths are names from its root. Every error is a KacheryError."""

    def __init__(self, fetcher: Fetcher, tree: Tree) -> None:
        self.tree = tree
        self._fetcher = fetcher

    @classmethod
    def open(cls, fetcher: Fetcher, link: str, what: str) -> TreeFiles:
        """Fetch the directory that ``link`` names; InputError for a link to a file, which is no ``what``."""
        parsed = parse_given_link(link)
        found = fetcher.open_link(parsed) if isinstance(parsed, TreeLink) else None
        if not isinstance(found, Tree):
            if found is not None:
                found.close()
            raise InputError(f"{link[:200]} names a file: a shared {what} is a folder, sha1dir://…")
        return cls(fetcher, found)

    def below(self, names: Sequence[str]) -> TreeFiles:
        """Return a directory inside; ProofError where there is none."""
        found = self.tree.find(names)
        if not isinstance(found, Tree):
            raise ProofError(f"the folder {_shown(names)} is missing")
        return TreeFiles(self._fetcher, found)

    def has(self, names: Sequence[str]) -> bool:
        """Whether a file stands there."""
        return isinstance(self.tree.find(names), FileEntry)

    def open_file(self, names: Sequence[str]) -> RemoteFile:
        """Open a file; ProofError where there is none."""
        return self._fetcher.open_file(request_of(self._entry(names)))

    def read(self, names: Sequence[str], max_bytes: int) -> bytes:
        """Return all of a small file."""
        return self._fetcher.read_small(request_of(self._entry(names)), max_bytes)

    def read_json(self, names: Sequence[str], max_bytes: int = MAX_JSON_BYTES) -> object:
        """Return what a file of strict JSON says."""
        return parse_strict_json(
            self.read(names, max_bytes), what=_shown(names), max_bytes=max_bytes, has_fractions=True
        )

    def read_description(self, expected: str, what: str) -> dict[str, Any]:
        """Return what ``kacheryfs.json`` says of a shared ``what``; InputError for any other folder."""
        if not self.has((DESCRIPTION_FILE,)):
            raise InputError(f"the folder is no shared {what}: whoever has the {what} makes its link by share_{what}")
        return check_format(self.read_json((DESCRIPTION_FILE,)), expected, what)

    def read_array(self, names: Sequence[str], max_bytes: int) -> Array:
        """Return the array of a ``.npy`` file, in memory."""
        with self.open_file(names) as file:
            return read_npy(file, what=_shown(names), max_bytes=max_bytes)

    def _entry(self, names: Sequence[str]) -> FileEntry:
        found = self.tree.find(names)
        if not isinstance(found, FileEntry):
            raise ProofError(f"the file {_shown(names)} is missing")
        return found


def parse_given_link(link: object) -> FileLink | TreeLink:
    """Read the link that a caller gave; LinkError for what is no link."""
    if not isinstance(link, str):
        raise LinkError(f"a link is text (sha1dir://…), not a {type(link).__name__}")
    return parse_link(link)


def check_format(description: object, expected: str, what: str) -> dict[str, Any]:
    """Return the object of a ``kacheryfs.json``; InputError where it describes something else, with what to call."""
    members: dict[str, Any] = description if isinstance(description, dict) else {}
    found = members.get("format")
    if found == expected:
        return members
    kind = str(found).removeprefix("kacheryfs-")
    if found in ("kacheryfs-recording", "kacheryfs-sorting", "kacheryfs-analyzer"):
        raise InputError(f"the link names a shared {kind}, no {what}: use load_{kind}")
    raise InputError(f"the link names no shared {what}: its kacheryfs.json doesn't describe one")


def _shown(names: Sequence[str]) -> str:
    return "/".join(names)[:200]
