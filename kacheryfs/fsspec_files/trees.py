"""``sha1dir://H.LABEL/path``: a folder by the digest of its JSON, with real names below."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from ..core.link import TreeLink, parse_link
from ..core.model import Sha1
from ..core.request import FileRequest, request_of
from ..core.tree import FileEntry, Tree
from ..errors import LinkError
from .filesystem import LinkFileSystem
from .seam import IsFolderError, MissingError, missing_as_fsspec

MAX_KEPT_TREES = 8
"""A Zarr array asks for its tree once a chunk."""


class Sha1DirFileSystem(LinkFileSystem):
    """Shared folders.

    Examples
    --------
    >>> import zarr
    >>> group = zarr.open("sha1dir://H.recording.zarr", mode="r")  # doctest: +SKIP
    """

    protocol = scheme = "sha1dir"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._kept: OrderedDict[Sha1, Tree] = OrderedDict()

    @classmethod
    def path_of(cls, link: str) -> str:
        if not link.removeprefix("sha1dir:").strip("/"):
            return ""
        parsed = parse_link(link)
        assert isinstance(parsed, TreeLink)
        return "/".join([_head_of(parsed), *parsed.path])

    def unstrip_protocol(self, name: str) -> str:
        """Return the link of a path."""
        path = self._strip_protocol(name)
        return str(_link_of(path)) if path else "sha1dir://"

    def request_of(self, path: str) -> FileRequest:
        found = self._find(path)
        if isinstance(found, Tree):
            raise IsFolderError(f"{self.unstrip_protocol(path)}: it is a folder")
        return request_of(found)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return the name, size and type of what stands at a path, and a file's digest and manifest."""
        path = self._strip_protocol(path)
        return _info(path, self._find(path))

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Return what stands in a folder, sorted by name, or the file itself."""
        path = self._strip_protocol(path)
        found = self._find(path)
        entries = [(path, found)] if isinstance(found, FileEntry) else _children(path, found)
        return [_info(*entry) if detail else entry[0] for entry in entries]

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **_: Any
    ) -> Any:
        """Return every file below a path, and every folder where they are asked for, sorted by path."""
        path = self._strip_protocol(path)
        below = _below(path, self._find_or_none(path), maxdepth, withdirs=withdirs)
        infos = {name: _info(name, found) for name, found in sorted(below.items())}
        return infos if detail else list(infos)

    def _find(self, path: str) -> Tree | FileEntry:
        found = self._find_or_none(path)
        if found is None:
            raise MissingError(f"{self.unstrip_protocol(path)}: the folder has no such path")
        return found

    def _find_or_none(self, path: str) -> Tree | FileEntry | None:
        if not path:
            raise MissingError("sha1dir:// alone names no folder: a link has a digest, and digests are not listed")
        link = _link_of(path)
        return self._tree(link.sha1).find(link.path)

    def _tree(self, sha1: Sha1) -> Tree:
        tree = self._kept.get(sha1)
        if tree is None:
            with missing_as_fsspec():
                tree = self._kept[sha1] = self.fetcher.get_tree(sha1)
            while len(self._kept) > MAX_KEPT_TREES:
                self._kept.popitem(last=False)
        return tree


def _head_of(link: TreeLink) -> str:
    return f"{link.sha1}.{link.label}" if link.label else link.sha1.hex


def _link_of(path: str) -> TreeLink:
    """Return the link of a stripped path, whose names are the real ones; LinkError where it has no digest."""
    head, *names = path.split("/")
    digest, _, label = head.partition(".")
    try:
        return TreeLink(Sha1.from_hex(digest), label, tuple(name for name in names if name))
    except ValueError as exc:
        raise LinkError(f"sha1dir://{path[:120]}: {exc}; a link is sha1dir://<40 hex>.<name>/<path>") from exc


def _children(path: str, tree: Tree) -> list[tuple[str, Tree | FileEntry]]:
    entries: dict[str, Tree | FileEntry] = {**tree.dirs, **tree.files}
    return [(f"{path}/{name}", entries[name]) for name in sorted(entries)]


def _below(
    path: str, found: Tree | FileEntry | None, max_depth: int | None, *, withdirs: bool
) -> dict[str, Tree | FileEntry]:
    """Return what ``find`` finds at and below a path, nothing where there is nothing."""
    if found is None:
        return {}
    if isinstance(found, FileEntry):
        return {path: found}
    below: dict[str, Tree | FileEntry] = {path: found} if withdirs else {}
    for name, child in _children(path, found):
        if isinstance(child, Tree) and max_depth == 1:
            below |= {name: child} if withdirs else {}
        else:
            below |= _below(name, child, max_depth and max_depth - 1, withdirs=withdirs)
    return below


def _info(path: str, found: Tree | FileEntry) -> dict[str, Any]:
    if isinstance(found, Tree):
        return {"name": path, "size": 0, "type": "directory"}
    manifest = found.manifest and found.manifest.hex
    return {"name": path, "size": found.size_bytes, "type": "file", "sha1": found.sha1.hex, "manifest": manifest}
