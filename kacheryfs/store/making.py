"""Share a small file that stands nowhere on disk but in the catalog, which keeps what was made for a share."""

from __future__ import annotations

from ..core.link import FileLink
from .catalog import Catalog
from .catalog_entry import NewShare
from .hashing import hash_bytes


def share_bytes(catalog: Catalog, data: bytes, label: str) -> FileLink:
    """Offer ``data`` as a file and return its link; the same data are the same share."""
    hashed = hash_bytes(data)
    link = FileLink(hashed.sha1, label, hashed.manifest)
    catalog.enter(NewShare(catalog.composed_path(hashed.sha1), str(link), 1, len(data), [], None, [data]))
    return link
