"""The extended attributes, which say what no mode can."""

from __future__ import annotations

import trio

from ..core.link import FileLink, TreeLink
from ..core.model import ManifestDigest
from ..core.names import why_not_a_name
from ..core.request import FileRequest, Trust
from .engine import FindPresent
from .nodes import CollectionDirectory, File, FileFolder, Node, TreeDirectory, UnloadedTree

PREFIX = "user.kacheryfs."
STATUS = PREFIX + "status"
TRUST = PREFIX + "trust"
MANIFEST = PREFIX + "manifest"
LINK = PREFIX + "link"


def values_of(node: Node) -> dict[str, str]:
    """Return all but the status, which must be asked of the store."""
    if isinstance(node, TreeDirectory | UnloadedTree):
        return {TRUST: Trust.LINKED.value, LINK: str(TreeLink(node.sha1, _label(node.label), node.path))}
    if isinstance(node, CollectionDirectory):
        return {TRUST: Trust.LINKED.value, LINK: str(node.link)}
    if isinstance(node, FileFolder):
        return {LINK: str(node.link)}
    if not isinstance(node, File):
        return {}
    values = {TRUST: node.trust.value, LINK: str(_link_of(node))}
    manifest = _manifest_of(node)
    return {**values, MANIFEST: manifest.hex} if manifest else values


def has_status(node: Node) -> bool:
    return isinstance(node, File | TreeDirectory)


async def find_status(node: Node, find_present: FindPresent) -> str:
    """Return ``present/total`` in bytes, summed over the files of a directory."""
    assert has_status(node)
    return await trio.to_thread.run_sync(_find_status, node, find_present)


def _find_status(node: Node, find_present: FindPresent) -> str:
    requests = _requests_below(node)
    present = sum(min(find_present(request), request.size_bytes or 0) for request in requests)
    return f"{present}/{sum(request.size_bytes or 0 for request in requests)}"


def _requests_below(node: Node) -> list[FileRequest]:
    if isinstance(node, TreeDirectory):
        return [FileRequest(entry.sha1, entry.manifest, entry.size_bytes) for _, entry in node.tree.walk()]
    if isinstance(node, File):
        return [FileRequest(node.request.sha1, _manifest_of(node), node.size_bytes)]
    return []


def _manifest_of(file: File) -> ManifestDigest | None:
    return file.binding.manifest if file.binding else None


def _link_of(file: File) -> FileLink:
    """Return a link to send; a claimed manifest doesn't stand in it, since a link vouches for its manifest."""
    manifest = None if file.trust is Trust.CLAIMED else _manifest_of(file)
    return FileLink(file.request.sha1, _label(file.label), manifest)


def _label(label: str) -> str:
    return "" if why_not_a_name(label) else label
