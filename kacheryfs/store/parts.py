"""Roots and groups of manifests on disk, under their own BLAKE3: proven again whenever they are read."""

from __future__ import annotations

import contextlib
import os

from ..core.manifest import MAX_ROOT_BYTES, GroupedProof, Proof
from ..core.model import Blake3
from .folder import StoreFolder
from .growth import Growth
from .space import FILE_BYTES


class ManifestParts:
    """The folder ``manifest/`` of one store."""

    def __init__(self, folder: StoreFolder, growth: Growth) -> None:
        self._folder = folder
        self._growth = growth

    def find(self, digest: Blake3) -> bytes | None:
        """Return the part with this digest; a damaged one is removed, and None."""
        path = self._folder.places.manifest_part(digest)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_ROOT_BYTES + 1)
        except OSError:  # absent, or unreadable: fetched again
            return None
        if Blake3.of(data) == digest:
            return data
        with contextlib.suppress(OSError):
            os.unlink(path)
        return None

    def has_group(self, proof: Proof, block: int) -> bool:
        """Return whether ``proof`` can verify the block; a group that is on disk is taken from there."""
        group = proof.missing_group(block)
        if group is None or not isinstance(proof, GroupedProof):
            return group is None
        data = self.find(proof.root.groups[group])
        if data is not None:
            proof.add_group(group, data)
        return data is not None

    def put(self, digest: Blake3, data: bytes) -> bool:
        """Keep a proven part; False where nothing can be stored for now."""
        assert Blake3.of(data) == digest, "only what was proven is kept"
        folder = self._folder
        with folder.trouble.reported():
            folder.make_ready()
            with self._growth.taking(len(data) + FILE_BYTES):
                folder.write_object(folder.places.manifest_part(digest), data)
            return True
        return False
