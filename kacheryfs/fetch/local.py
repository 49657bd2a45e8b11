"""What this machine has of a file already: proven in the store, or an original of its own."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass

from ..core.legacy import decode_legacy_manifest
from ..core.manifest import GroupedProof, Proof, Root, WholeProof, build
from ..core.model import BLOCK_BYTES, MAX_BLOCK_BYTES, Blake3, Layout, ManifestDigest, Sha1
from ..core.wire import FileInfo
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

    def find_original(self, sha1: Sha1, manifest: ManifestDigest | None) -> Original | None:
        """Return an original that is still what was hashed, and may stand for a name with this manifest."""
        for original in self._catalog.originals(sha1):
            try:
                with closing(original.open()) as opened:
                    if _stands_for(manifest, sha1, original.manifest, original.size_bytes, opened.fd):
                        return original
            except (ChangedError, NotFoundError):
                continue
        return None

    def find_offered(self, sha1: Sha1) -> Offered | None:
        info = self._catalog.file_info(sha1)
        return Offered(info.size_bytes, info.manifest) if info else None

    def find_proven(self, sha1: Sha1, manifest: ManifestDigest | None) -> Proof | None:
        """Return what proves a file that is or was whole in the store, and may stand for a name with this manifest."""
        info = self._store.complete_info(sha1)
        if info is None:
            return self._find_proven_before(sha1) if manifest is None else None
        if not self._may_stand_for(manifest, sha1, info):
            return None
        if isinstance(info.manifest, Blake3) and (root := self.find_root(info.manifest)):
            return GroupedProof(root)
        if isinstance(info.manifest, Sha1) and (chunks := self._find_chunks(sha1, info.manifest)):
            return chunks
        if info.size_bytes > MAX_BLOCK_BYTES or is_falsely_empty(sha1, info.size_bytes):
            return None
        return WholeProof(sha1, info.size_bytes)

    def _find_proven_before(self, sha1: Sha1) -> Proof | None:
        """Return what proves a file that was whole here before parts of it were evicted, from what is left of it."""
        manifest = self._store.find_proven_manifest(sha1)
        root = self.find_root(manifest) if isinstance(manifest, Blake3) else None
        return None if root is None or root.sha1 != sha1 else GroupedProof(root)

    def _may_stand_for(self, manifest: ManifestDigest | None, sha1: Sha1, info: FileInfo) -> bool:
        try:
            fd = self._store.open_complete(sha1)
        except NotFoundError:
            return False  # gone since
        try:
            return _stands_for(manifest, sha1, info.manifest, info.size_bytes, fd)
        finally:
            os.close(fd)

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


def _stands_for(
    manifest: ManifestDigest | None, sha1: Sha1, known: ManifestDigest | None, size_bytes: int, fd: int
) -> bool:
    """Return whether a file whose SHA-1 is right is what a name with this manifest means.

    Two files with one SHA-1 can be made, so that a link's manifest says which. A file whose own manifest isn't known
    was proven whole, and is small enough to compute it (0.3 s a GB); or it came by a legacy one, and its blocks are
    held against the root that the link names, which peers have.
    """
    if not isinstance(manifest, Blake3) or manifest == known:
        return True
    if isinstance(known, Blake3) or size_bytes > MAX_BLOCK_BYTES:
        return False
    layout = Layout(size_bytes)
    blocks = (os.pread(fd, layout.block_size(block), block * BLOCK_BYTES) for block in range(layout.n_blocks))
    root, _ = build(size_bytes, sha1, [Blake3.of(block).raw for block in blocks])
    return root.digest == manifest


def proof_by_sha1(sha1: Sha1, size_bytes: int | None) -> Proof | None:
    """Return the proof of a file that its SHA-1 and its promised size prove at once; None for larger ones."""
    if size_bytes is None or size_bytes > BLOCK_BYTES:
        return None
    return WholeProof(sha1, size_bytes)


def is_falsely_empty(sha1: Sha1, size_bytes: int) -> bool:
    """Return whether ``sha1`` is said to be an empty file's and isn't: there is no block that could be found wrong."""
    return size_bytes == 0 and sha1 != Sha1.of(b"")
