"""How much of some files is on this machine, whether fetched or shared."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..core.model import Sha1
    from ..store.blocks import Store
    from ..store.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Held:
    """What is here of some files."""

    n_files: int
    n_complete: int
    present_bytes: int


class Holdings:
    """Blocks of the store as they were when this was made, and this machine's originals; blocking."""

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._catalog = catalog
        self._present_bytes: dict[Sha1, int] = {}
        self._complete: set[Sha1] = set()
        for stored in store.files():
            # Counted once, under the manifest of which most is here.
            known_bytes = self._present_bytes.get(stored.sha1, 0)
            self._present_bytes[stored.sha1] = max(stored.present_bytes, known_bytes)
            if stored.present_bytes == stored.size_bytes:
                self._complete.add(stored.sha1)

    def of(self, sha1s: Collection[Sha1]) -> Held:
        """Return what is here of these files."""
        originals = [self._catalog.file_info(sha1) for sha1 in sha1s if sha1 not in self._complete]
        sizes = [info.size_bytes for info in originals if info is not None]
        n_complete = len(self._complete.intersection(sha1s)) + len(sizes)
        present_bytes = sum(self._present_bytes.get(sha1, 0) for sha1 in sha1s)
        return Held(len(sha1s), n_complete, present_bytes + sum(sizes))
