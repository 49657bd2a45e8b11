"""Read originals for the catalog: each once, and an unchanged one not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from ..errors import ChangedError
from .catalog import Catalog
from .catalog_entry import Content, Hashed, NewHash
from .hashing import FileHasher
from .originals import Identity, open_beneath, shown

Progress = Callable[[int, int], None]
"""Called with the bytes read so far and the bytes to be read in all."""

FLUSH_FILES = 500
FLUSH_BYTES = 1 << 30
"""What an interruption may lose of a share's hashing: about a second of it."""

_TICK_NS = 20_000_000
"""File times move in steps of 1 to 10 ms (the kernel's HZ): a later write in the same step would leave no trace."""
_COARSE_TICK_NS = 2_000_000_000
"""FAT's step; some network file systems have 1 s."""


def read_original(
    hasher: FileHasher, root: bytes, relative: bytes, on_progress: Callable[[int], None] | None = None
) -> NewHash:
    """Open a file beneath its root and hash it.

    ChangedError: it was written to meanwhile. OSError: it can't be read, or is no regular file below ``root``.
    """
    path = os.path.join(root, relative)
    fd = open_beneath(root, relative)
    try:
        before = Identity.of(os.fstat(fd))
        _let_clock_pass(before.ctime_ns)
        hashed = hasher.hash(fd, before.size_bytes, on_progress)
        if Identity.of(os.fstat(fd)) != before:
            raise ChangedError("its size or times changed while it was read")
    except ChangedError as exc:
        raise ChangedError(f"{shown(os.fsdecode(path))} is still being written: share it when it is complete") from exc
    finally:
        os.close(fd)
    return NewHash(path, before, hashed)


def _let_clock_pass(ctime_ns: int) -> None:
    """Wait until whatever is written to a file from now on gives it another ctime."""
    tick_ns = _COARSE_TICK_NS if ctime_ns % 1_000_000_000 == 0 else _TICK_NS
    age_ns = time.time_ns() - ctime_ns
    if 0 <= age_ns < tick_ns:
        time.sleep((tick_ns - age_ns) / 1e9)


class Meter:
    """Adds up the bytes that were read."""

    def __init__(self, progress: Progress | None, total_bytes: int) -> None:
        self._progress = progress
        self._total_bytes = total_bytes
        self._done_bytes = 0

    def add(self, n_bytes: int) -> None:
        self._done_bytes += n_bytes
        if self._progress:
            self._progress(self._done_bytes, max(self._total_bytes, self._done_bytes))


class CatalogReader:
    """Tells what files hold, from memory where they are unchanged, and keeps what it read in the catalog.

    Use as a context: what was read is kept even if the share is interrupted.
    """

    def __init__(self, catalog: Catalog, known: dict[bytes, Hashed]) -> None:
        self._catalog = catalog
        self._known = known
        self._hasher = FileHasher()
        self._new: list[NewHash] = []
        self._new_bytes = 0
        self.refused: set[bytes] = set()
        """Paths whose SHA-1 another content has, too: complete after ``flush``."""

    def find_known(self, path: bytes, identity: Identity) -> Content | None:
        """Return what an unchanged file holds, None if it must be read."""
        known = self._known.get(path)
        if known is None or known.identity != identity or not self._catalog.has_manifest(known.content.manifest):
            return None
        return known.content

    def read(self, root: bytes, relative: bytes, on_progress: Callable[[int], None] | None = None) -> Content:
        """Read a file and keep what it holds; raises like ``read_original``."""
        new = read_original(self._hasher, root, relative, on_progress)
        self._known[new.path] = Hashed(new.path, new.identity, new.content)
        self._new.append(new)
        self._new_bytes += new.identity.size_bytes
        if len(self._new) >= FLUSH_FILES or self._new_bytes >= FLUSH_BYTES:
            self.flush()
        return new.content

    def flush(self) -> None:
        new, self._new, self._new_bytes = self._new, [], 0
        self.refused.update(item.path for item in self._catalog.remember(new))

    def __enter__(self) -> CatalogReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
