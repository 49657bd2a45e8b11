"""The files that the lineage's objects name by links: found in trees too, bounded, read through one fetcher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.lineage_fields import parse_lineage_json
from ..core.link import FileLink, TreeLink
from ..core.request import FileRequest
from ..core.tree import FileEntry, Tree
from ..errors import InputError, NotFoundError
from .remote_source import Source

if TYPE_CHECKING:
    from ..app.embedded import Fetcher, RemoteFile

MAX_OBJECT_BYTES = 16 * 1024 * 1024
"""Of a recording's or sorting's JSON, of params.json and of geom.csv: those of 10,000 channels have 1 MB."""
MAX_LINKS = 16
"""How many links may lead from one object to the next: an object of the lineage holds others, seldom by link."""

Link = FileLink | TreeLink


class LinkedFiles:
    """Finds and reads what links name; trees are fetched once."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._trees: dict[TreeLink, Tree] = {}

    def source(self, link: Link) -> Source:
        """Return the file behind a link; InputError for a folder, NotFoundError where a tree lacks it."""
        if isinstance(link, FileLink):
            return Source(FileRequest(link.sha1, link.manifest))
        found = self._find(link)
        if isinstance(found, Tree):
            raise InputError(f"{link} names a folder, where the lineage's object needs a file")
        return Source.of(found)

    def find_folder(self, link: Link) -> Tree | None:
        """Return the folder that a link names; None for a file."""
        found = self._find(link) if isinstance(link, TreeLink) else None
        return found if isinstance(found, Tree) else None

    def open(self, link: Link) -> RemoteFile:
        """Open a file; whoever asks closes it."""
        return self._fetcher.open_file(self.source(link).request)

    def read(self, link: Link, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        """Return all of a small file."""
        return self._fetcher.read_small(self.source(link).request, max_bytes)

    def read_json(self, link: Link) -> object:
        """Return what a small file of JSON says."""
        return parse_lineage_json(self.read(link), what=name_of(link), max_bytes=MAX_OBJECT_BYTES)

    def _find(self, link: TreeLink) -> Tree | FileEntry:
        root = TreeLink(link.sha1)
        if root not in self._trees:
            self._trees[root] = self._fetcher.get_tree(link.sha1)
        found = self._trees[root].find(link.path)
        if found is None:
            raise NotFoundError(f"{'/'.join(link.path)[:200]}: not in the folder sha1 {link.sha1.short}")
        return found


def name_of(link: Link) -> str:
    """Return what to call a link's file in an error, and what its ending is looked at in."""
    if isinstance(link, TreeLink) and link.path:
        return link.path[-1]
    return link.label or f"sha1 {link.sha1.short}"
