"""What this machine knows without asking anybody: for listing the mount, and for telling how much is present."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..core.model import Binding
from ..core.request import FileRequest, Trust
from ..mount.engine import KnownFile, KnownTree

if TYPE_CHECKING:
    from ..store.blocks import Store
    from ..store.catalog import Catalog


class Knowledge:
    """Catalog and store together; blocking, for threads."""

    def __init__(self, catalog: Catalog, store: Store) -> None:
        self._catalog = catalog
        self._store = store

    def known(self) -> Iterator[KnownFile | KnownTree]:
        """Yield what is shared, and what the store has whole or in part; each name once."""
        trees = set(self._catalog.tree_digests())
        seen = set(trees)
        yield from (KnownTree(sha1) for sha1 in sorted(trees))
        for sha1 in self._catalog.digests():
            info = self._catalog.file_info(sha1) if sha1 not in seen else None
            if info is not None:
                seen.add(sha1)
                yield KnownFile(sha1, info.size_bytes, info.manifest, Trust.LINKED)
        for stored in self._store.files():
            if stored.sha1 not in seen and (stored.is_proven or stored.present_bytes):
                seen.add(stored.sha1)
                trust = Trust.PROVEN if stored.is_proven else Trust.CLAIMED
                yield KnownFile(stored.sha1, stored.size_bytes, stored.manifest, trust)

    def find_present(self, request: FileRequest) -> int:
        """Return how many bytes of a file are here: all of an original's, the present ones of the store's."""
        if (info := self._catalog.file_info(request.sha1)) is not None:
            return info.size_bytes
        if (size_bytes := self._store.complete_size(request.sha1)) is not None:
            return size_bytes
        bound = None if request.manifest else request.size_bytes
        stored = self._store.find_partial(Binding(request.sha1, request.manifest, bound))
        if stored is None:
            return 0
        try:
            return stored.present_bytes
        finally:
            stored.close()
