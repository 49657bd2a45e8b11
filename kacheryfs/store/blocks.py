"""The store: verified blocks on disk, by binding until the whole is proven, then by SHA-1.

Theory of operation ------------------- A ``StoredFile`` is what a binding (SHA-1, manifest) has here. It reads and
writes through a ``Backing``: an open data file and two bytes a block, *present* (shared by all processes) and
*checked* (this process verified it, or put it). A block is handed out only when both are set, and both are looked at
after the read.

put
    Data by ``pwrite``, then presence by ``pwrite`` of one byte. Killed between the two: the block is missing. The
    power fails and the disk kept the presence but not the data: the first use verifies, and the block is missing. So
    nothing is synced for a block.
prove
    All present: fsync, SHA-1 of the whole, one rename to ``sha1/ab/cd/ef/H``. The inode stays, so who has it open
    reads on. Who opens it anew looks under ``sha1/`` first and then under ``partial/``, holding the binding's lock,
    as the rename does. A file of one block is written beside and renamed there at once.
damage
    A block that isn't what its proof says is taken back: its presence is cleared. A complete file goes back to
    ``partial/`` with that block missing, if its manifest is the one that it was proven with; another's manifest may
    itself be the lie, and gets a partial file of its own. A data file that was cut is given up whole.
drop
    A false claim: presence is cleared first, so that every process sees it, then all is removed.

What can't be written (a full disk, a read-only one, a removed folder) costs one warning: ``put`` returns False, and
each later ``put`` tries again. Nothing is mapped for writing, and no data file is mapped at all, so that a failing
disk is an OSError and not SIGBUS. What remains: a disk may lose what it took, or somebody may write into these files,
between a block's check and a later read by the same process; only what is verified at every read would notice.

Eviction will clear presence, then punch the hole under an exclusive OFD lock on the data file's bytes: nobody locks
those now (``locks`` has a file of its own). A complete file has no presence that others look at: it can only be
unlinked whole.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.legacy import decode_legacy_manifest
from ..core.manifest import GroupedProof, Proof, Root, WholeProof, binding_of
from ..core.model import MAX_BLOCK_BYTES, Binding, Blake3, ManifestDigest, Sha1
from ..core.wire import FileInfo
from ..errors import NotFoundError, ProofError
from .files import StoredFile
from .folder import StoreFolder
from .index import Index, Row
from .parts import ManifestParts
from .places import PRESENT
from .presence import count_present_bytes
from .survey import survey

__all__ = ["Store", "StoredFile", "StoredSummary"]


@dataclass(frozen=True, slots=True)
class StoredSummary:
    """What the store has of one file."""

    sha1: Sha1
    manifest: ManifestDigest | None
    size_bytes: int
    present_bytes: int
    is_proven: bool


class Store:
    """The store in one folder. Any number of processes may use it at once, and any thread every method."""

    def __init__(self, root: Path, *, min_free_fraction: float = 0.05) -> None:
        self._folder = StoreFolder(Path(os.path.abspath(root)), min_free_fraction)
        self._folder.start()
        self._parts = ManifestParts(self._folder)
        self._index = Index(self._folder.places.index, lambda: survey(self._folder.places))
        self._index.start()
        self._lock = threading.Lock()
        self._files: dict[Binding, StoredFile] = {}

    @property
    def root(self) -> Path:
        return self._folder.places.root

    @property
    def is_writable(self) -> bool:
        """Whether the folder could be written when that was last tried."""
        return self._folder.is_writable

    def open(self, proof: Proof) -> StoredFile:
        """Return the file that ``proof`` proves, one object for all who have it open; each closes it once."""
        file = self._take(proof)
        file.attach(proof)
        return file

    def _take(self, proof: Proof) -> StoredFile:
        binding = binding_of(proof)
        with self._lock:
            file = self._files.get(binding)
            if file is None or file.is_dropped:
                file = StoredFile(self._folder, self._index, self._parts, proof, self._release)
                self._files[binding] = file
            file.n_openings += 1
            return file

    def _release(self, file: StoredFile) -> None:
        with self._lock:
            file.n_openings -= 1
            if file.n_openings > 0:
                return
            if self._files.get(file.binding) is file:
                del self._files[file.binding]
        file.detach()

    def find_partial(self, binding: Binding) -> StoredFile | None:
        """Open what there is of ``binding``, complete or partial, without a proof in hand; None where there is nothing.

        None too where the manifest isn't here (``put_manifest_part``) to verify by.
        """
        proof = self._find_proof(binding)
        if proof is None:
            return None
        file = self.open(proof)
        if file.is_proven or file.present_count():
            return file
        file.close()
        return None

    def _find_proof(self, binding: Binding) -> Proof | None:
        with self._lock:
            file = self._files.get(binding)
            if file is not None:
                return file.proof
        try:
            return self._load_proof(binding)
        except ProofError:  # a root that contradicts the name it was asked by
            return None

    def _load_proof(self, binding: Binding) -> Proof | None:
        manifest = binding.manifest
        if manifest is None:
            size_bytes = self.complete_size(binding.sha1)
            if size_bytes is None or size_bytes > MAX_BLOCK_BYTES:
                return None  # larger ones are proven by a manifest, block by block
            return WholeProof(binding.sha1, size_bytes)
        if isinstance(manifest, Sha1):
            return self._load_legacy_proof(binding.sha1, manifest)
        data = self._parts.find(manifest)
        root = None if data is None else Root.decode(data, manifest)
        return GroupedProof(root) if root is not None and root.sha1 == binding.sha1 else None

    def _load_legacy_proof(self, sha1: Sha1, manifest: Sha1) -> Proof | None:
        """Read a legacy manifest, which is a file like others; 64 MiB are far more than any has."""
        size_bytes = self.complete_size(manifest)
        if size_bytes is None or size_bytes > MAX_BLOCK_BYTES:
            return None
        with contextlib.suppress(OSError):
            return decode_legacy_manifest(self._folder.places.complete(manifest).read_bytes(), manifest, sha1)
        return None

    def complete_size(self, sha1: Sha1) -> int | None:
        """Return the size of the proven file, None where there is none or it was cut since."""
        info = self.complete_info(sha1)
        return None if info is None else info.size_bytes

    def complete_info(self, sha1: Sha1) -> FileInfo | None:
        """Return the size of the proven file and the manifest that it was proven with."""
        try:
            size_bytes = os.stat(self._folder.places.complete(sha1)).st_size
        except OSError:
            return None
        row = self._index.find_proven(sha1)
        if row is None:
            return FileInfo(size_bytes, None)
        return FileInfo(size_bytes, row.binding.manifest) if row.layout.size_bytes == size_bytes else None

    def open_complete(self, sha1: Sha1) -> int:
        """Return a descriptor of the proven file, for the caller to close; NotFoundError where there is none."""
        try:
            return os.open(self._folder.places.complete(sha1), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as exc:
            raise NotFoundError(f"sha1 {sha1.short}: the store has no proven file: {exc.strerror}") from exc

    def find_manifest_part(self, digest: Blake3) -> bytes | None:
        """Return a root or a group, proven again; None where there is none."""
        return self._parts.find(digest)

    def put_manifest_part(self, digest: Blake3, data: bytes) -> None:
        """Keep a proven root or group; one warning where that can't be for now."""
        self._parts.put(digest, data)

    def find_salted(self, salted: Sha1) -> bool:
        """Return whether there is any block under a SHA-1 whose salted digest this is."""
        return any(self._has_any(row) for row in self._index.find_salted(salted))

    def _has_any(self, row: Row) -> bool:
        return self._folder.places.complete(row.binding.sha1).exists() or self._partial_bytes(row) > 0

    def files(self) -> Iterator[StoredSummary]:
        """Yield what the store has of each file, those of which it has nothing left out."""
        for row in self._index.rows():
            sha1, size_bytes = row.binding.sha1, row.layout.size_bytes
            is_proven = row.is_proven and self.complete_size(sha1) is not None
            present_bytes = size_bytes if is_proven else self._partial_bytes(row)
            if is_proven or present_bytes:
                yield StoredSummary(sha1, row.binding.manifest, size_bytes, present_bytes, is_proven)

    def _partial_bytes(self, row: Row) -> int:
        if row.binding.manifest is None:
            return 0
        return count_present_bytes(self._folder.places.partial(row.binding) / PRESENT, row.layout)

    def close(self) -> None:
        """Close the index; files that are open stay so until they are closed."""
        self._index.close()
