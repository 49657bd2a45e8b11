"""A folder that others share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kacheryfs.app.embedded import get_fetcher
from kacheryfs.core.tree import Tree


@dataclass(frozen=True)
class Shared:
    """``original`` is what was shared, ``link`` is its link, and ``file_link`` that of one file of it."""

    original: Path
    link: str

    def file_link(self, *path: str) -> str:
        """Return the link of a single file in it."""
        fetcher = get_fetcher()
        tree = fetcher.open_link(self.link)
        assert isinstance(tree, Tree)
        entry = tree.find(path)
        assert entry is not None
        assert not isinstance(entry, Tree)
        return f"sha1://{entry.sha1}/{path[-1]}" + (f"?manifest={entry.manifest}" if entry.manifest else "")
