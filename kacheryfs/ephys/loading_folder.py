"""A shared folder that holds a recording, as the loader sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.link import TreeLink
from ..core.tree import FileEntry, Tree
from ..errors import ProofError
from .remote_source import Source
from .treefiles import TreeFiles

if TYPE_CHECKING:
    from ..app.embedded import Fetcher, RemoteFile


@dataclass(frozen=True, slots=True)
class Folder:
    """A tree, or a folder inside of one, with the link that leads to it."""

    fetcher: Fetcher
    link: TreeLink
    tree: Tree

    @property
    def files(self) -> TreeFiles:
        return TreeFiles(self.fetcher, self.tree)

    def below(self, names: Sequence[str]) -> Folder:
        """Return a folder inside; ProofError where there is none."""
        found = self.tree.find(names)
        if not isinstance(found, Tree):
            raise ProofError(f"the folder {'/'.join(names)[:200]!r} is missing in {self.link}")
        return Folder(self.fetcher, TreeLink(self.link.sha1, self.link.label, (*self.link.path, *names)), found)

    def source(self, names: Sequence[str]) -> Source:
        """Return a file as a source; ProofError where there is none."""
        found = self.tree.find(names)
        if not isinstance(found, FileEntry):
            raise ProofError(f"the file {'/'.join(names)[:200]!r} is missing in {self.link}")
        return Source.of(found)

    def open_file(self, names: Sequence[str]) -> RemoteFile:
        """Open a file; ProofError where there is none."""
        return self.fetcher.open_file(self.source(names).request)
