"""The store: verified blocks on disk, by binding until the whole is proven, then by SHA-1.

Theory of operation
-------------------
A ``StoredFile`` is what a binding (SHA-1, manifest) has here. It reads and writes through a ``Backing``: an open data
file and two bytes a block, *present* (shared by all processes) and *checked* (this process verified it, or put it). A
block is handed out only when both are set.

put
    Under an exclusive lock on the blocks' bytes: data by ``pwrite``, then presence by ``pwrite`` of one byte. Killed
    between the two: the block is missing, and the next who looks for room makes a hole of its data. The power fails and
    the disk kept the presence but not the data: the first use verifies, and the block is missing. So nothing is synced
    for a block. What is present already is checked, and not written again.
read
    No lock and no system call but the read: look at the file's *generation*, at the presence, read, and look at the
    generation again. Whoever takes blocks away clears their presence first, then writes another generation, then makes
    the hole. If the generation is the same at both looks, a hole that the read could have met was made before the
    first: its presence was clear by then, and set again only after new data were written.
evict
    One process at a time, one victim at a time: a whole file that nobody has open, coldest first; else the coldest
    extent (64 blocks, 16 MiB) of any. Of an extent: under the file's locks and an exclusive lock on its bytes, all
    tried and not waited for, in the order above. So no put, no sender and no proof is under way there. Of a whole file:
    under the exclusive lock of the byte that everybody who has it open shares (``holding``). A file of one block, and
    one that was proven with no manifest that is known here, has no presence, and goes only whole; so does one under a
    legacy manifest, of which only the index knows the blocks, and everything where a file system makes no holes.
prove
    All present, and held against eviction: fsync, SHA-1 of the whole, one rename to ``sha1/ab/cd/ef/H``. The inode
    stays, and so does its presence file, under ``partial/``. Who opens it anew looks under ``sha1/`` first and then
    under ``partial/``, holding the file's locks, as the rename does: the binding's, then the SHA-1's, which all its
    manifests share, as they do the place under ``sha1/``. A file of one block is written beside and
    renamed there at once. What lies under ``sha1/`` is always whole: an extent of a proven file is evicted after the
    rename back. Once that is full again its blocks prove it without a SHA-1: each is as the manifest says, and the
    index knows the manifest as the one that the whole was proven with.
send
    ``sendfile`` can't look again: a ``Sender`` holds a shared lock on the bytes from the check to the end of the send,
    on a descriptor of its own. Who has a file open without a presence that tells of evictions (a proven file under a
    stranger's manifest, a store of version 1 that can't be written) holds one on all bytes.
damage
    A block that isn't what its proof says is taken back: its presence is cleared. A complete file goes back to
    ``partial/`` with that block missing, if its manifest is the one that it was proven with; another's manifest may
    itself be the lie, and gets a partial file of its own. A data file that was cut or removed is given up whole, and so
    is a complete one whose presence was lost: who has it open would not look at a new one.
drop
    A false claim: presence is cleared first, so that every process sees it, then all is removed.

The bound: what a put will write is taken from the account first (``ledger``), in reserves that count as used, and what
an eviction freed is given back after it; so all processes together stay below. The bound that a live mount
was given holds for every process here (``Cache.hold_bound``): the smallest of them and one's own counts, looked up once
a second, and a default of one's own ('auto') not at all beside one that is held. A thread evicts ahead of need, from 96
% of the bound down to 92 %; a put that finds no room evicts by itself, and where nothing may go it returns False.

What can't be written (a full disk, a read-only one, a removed folder) costs one warning: ``put`` returns False, and
each later ``put`` tries again. Nothing is mapped for writing, and no data file is mapped at all, so that a failing
disk is an OSError and not SIGBUS. What remains: a disk may lose what it took, or somebody may write into these files,
between a block's check and a later read by the same process; only what is verified at every read would notice.
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
from ..core.quantities import CacheSize
from ..core.wire import FileInfo
from ..errors import NotFoundError, ProofError
from .cache import Cache
from .counting import Counting
from .evictor import Evictor
from .files import StoredFile
from .folder import StoreFolder
from .growth import Growth
from .index import Index, Row
from .ledger import Ledger, now_ms
from .parts import ManifestParts
from .pins import Pins
from .places import DATA, PRESENT
from .presence import count_present_bytes, is_wanted_now
from .promotion import open_whole
from .space import Room
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

    def __init__(self, root: Path, *, min_free_fraction: float = 0.05, cache_size: CacheSize | None = None) -> None:
        """``cache_size`` None: no bound but the share of the disk that stays free."""
        self._folder = StoreFolder(Path(os.path.abspath(root)))
        self._folder.start()
        places = self._folder.places
        self._index = Index(places.index, lambda: survey(places))
        self._index.start()
        self.pins = Pins(self._folder)
        ledger = Ledger(places.usage)
        room = Room(places.root, ledger, cache_size, min_free_fraction)
        evictor = Evictor(self._folder, self._index, self.pins, ledger)
        counting = Counting(places, self._index, ledger)
        self.cache = Cache(self._folder, self._index, self.pins, room, evictor, counting)
        self._growth = Growth(room, evictor, count=counting.count, make_ready=self._folder.make_ready)
        self._parts = ManifestParts(self._folder, self._growth)
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
                file = StoredFile(self._folder, self._index, self._parts, self._growth, proof, self._release)
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

        A file of which nothing is present yet is something while a block of it is under way.
        None too where the manifest isn't here (``put_manifest_part``) to verify by.
        """
        proof = self._find_proof(binding)
        if proof is None:
            return None
        file = self.open(proof)
        if file.is_proven or file.present_count() or file.is_any_wanted():
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

    def find_proven_manifest(self, sha1: Sha1) -> ManifestDigest | None:
        """Return what the last whole file of this SHA-1 was proven with, also where parts of it were evicted since."""
        row = self._index.find_proven(sha1)
        return None if row is None else row.binding.manifest

    def open_complete(self, sha1: Sha1) -> int:
        """Return a descriptor of the proven file, for the caller to close; NotFoundError where there is none.

        Nothing of the file is evicted while it is open.
        """
        try:
            return open_whole(self._folder, sha1)
        except OSError as exc:
            raise NotFoundError(f"sha1 {sha1.short}: the store has no proven file: {exc.strerror}") from exc

    def find_manifest_part(self, digest: Blake3) -> bytes | None:
        """Return a root or a group, proven again; None where there is none."""
        return self._parts.find(digest)

    def put_manifest_part(self, digest: Blake3, data: bytes) -> None:
        """Keep a proven root or group; one warning where that can't be for now."""
        self._parts.put(digest, data)

    def find_salted(self, salted: Sha1) -> bool:
        """Return whether a block is here, or under way, under a SHA-1 whose salted digest this is."""
        return any(self._has_any(row) for row in self._index.find_salted(salted))

    def _has_any(self, row: Row) -> bool:
        if self._folder.places.complete(row.binding.sha1).exists() or self._partial_bytes(row) > 0:
            return True
        if row.binding.manifest is None:
            return False
        return is_wanted_now(self._folder.places.partial(row.binding) / PRESENT, row.layout, now_ms())

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
        place = self._folder.places.partial(row.binding)
        if not (place / DATA).exists():  # the presence of a complete file, which was found not to be there
            return 0
        return count_present_bytes(place / PRESENT, row.layout)

    def close(self) -> None:
        """Close the index, and end evicting; files that are open stay so until they are closed."""
        self._growth.close()
        self._index.close()
