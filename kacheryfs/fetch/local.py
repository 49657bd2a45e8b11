"""What this machine has of a file already: proven in the store, or an original of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..core.legacy import decode_legacy_manifest
from ..core.manifest import GroupedProof, Proof, Root, WholeProof
from ..core.model import BLOCK_BYTES, MAX_BLOCK_BYTES, Blake3, ManifestDigest, Sha1
from ..errors import ChangedError, KacheryError, NotFoundError
from ..store.blocks import Store
from ..store.catalog import Catalog
from ..store.originals import Original


@dataclass(frozen=True, slots=True)
class Offered:
    """A file of this machine's catalog whose originals were changed: what the catalog knows is still true."""

    size_bytes: int
    manifest: ManifestDigest | None


class LocalFiles:
    """Looks into store and catalog; blocking, for a thread."""

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog

    def find_original(self, sha1: Sha1) -> Original | None:
        """Return an original that is still what was hashed."""
        for original in self._catalog.originals(sha1):
            try:
                original.open().close()
            except (ChangedError, NotFoundError):
                continue
            return original
        return None

    def find_offered(self, sha1: Sha1) -> Offered | None:
        info = self._catalog.file_info(sha1)
        return Offered(info.size_bytes, info.manifest) if info else None

    def find_proven(self, sha1: Sha1) -> Proof | None:
        """Return what proves a file that lies whole in the store."""
        info = self._store.complete_info(sha1)
        if info is None:
            return None
        if isinstance(info.manifest, Blake3) and (root := self.find_root(info.manifest)):
            return GroupedProof(root)
        if isinstance(info.manifest, Sha1) and (chunks := self._find_chunks(sha1, info.manifest)):
            return chunks
        if info.size_bytes > MAX_BLOCK_BYTES or is_falsely_empty(sha1, info.size_bytes):
            return None
        return WholeProof(sha1, info.size_bytes)

    def find_root(self, digest: Blake3) -> Root | None:
        data = self._store.find_manifest_part(digest) or self._catalog.find_manifest_part(digest)
        return None if data is None else Root.decode(data, digest)

    def _find_chunks(self, sha1: Sha1, manifest: Sha1) -> Proof | None:
        size_bytes = self._store.complete_size(manifest)
        if size_bytes is None or size_bytes > MAX_BLOCK_BYTES:
            return None
        try:
            fd = self._store.open_complete(manifest)
        except NotFoundError:
            return None  # gone since
        try:
            return decode_legacy_manifest(os.pread(fd, size_bytes, 0), manifest, sha1)
        except (KacheryError, OSError):
            return None  # damaged on disk: it is fetched again
        finally:
            os.close(fd)


def proof_by_sha1(sha1: Sha1, size_bytes: int | None) -> Proof | None:
    """Return the proof of a file that its SHA-1 and its promised size prove at once; None for larger ones."""
    if size_bytes is None or size_bytes > BLOCK_BYTES:
        return None
    return WholeProof(sha1, size_bytes)


def is_falsely_empty(sha1: Sha1, size_bytes: int) -> bool:
    """Return whether ``sha1`` is said to be an empty file's and isn't: there is no block that could be found wrong."""
    return size_bytes == 0 and sha1 != Sha1.of(b"")
