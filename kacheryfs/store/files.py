"""One file of the store, shared by everybody in this process who has it open."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from ..core.manifest import Proof, VerifiedBlock, binding_of
from ..core.model import Blake3, BlockRange, ByteRange, Sha1
from ..errors import ClaimError, StoreError
from .backer import Backer
from .backing import Backing, runs_of
from .folder import StoreFolder
from .growth import Grant, Growth
from .heat import Uses, heat_ms
from .index import Index, Row
from .ledger import now_ms
from .parts import ManifestParts
from .presence import Presence, disk_cost
from .promotion import sha1_of_file
from .sending import Sender
from .space import FILE_BYTES


class StoredFile:
    """The blocks of one binding: which are present, reading them, putting new ones, proving the whole.

    Every method may be called from any thread; they block, but for ``is_present``, ``is_checked``, ``is_full`` and
    ``read_now``, which are made for an event loop.
    """

    def __init__(
        self,
        folder: StoreFolder,
        index: Index,
        parts: ManifestParts,
        growth: Growth,
        proof: Proof,
        release: Callable[[StoredFile], None],
    ) -> None:
        self._folder = folder
        self.trouble = folder.trouble
        self._index = index
        self._parts = parts
        self._growth = growth
        self.proof = proof
        """What the blocks are verified by: the latest that came with ``open`` has the groups that are asked for."""
        self._release = release
        self.layout = proof.layout
        self.binding = binding_of(proof)
        self._backer = Backer(folder, index, self.binding, self.layout)
        self._entered_fd = -1
        self._uses = Uses()
        self.refetch_s_per_mib = 0.0
        """What it costs to fetch blocks of this file again: what is dear is kept longer. The engine's."""
        self.is_dropped = False
        self.n_openings = 0  # the Store's, under its lock

    @property
    def fd(self) -> int:
        """The data file, to tell it from another; -1 where there is none. Sending is ``open_sender``'s."""
        return self._backer.backing.fd

    @property
    def is_proven(self) -> bool:
        """Whether the SHA-1 of the whole was found right; until ``put`` finds blocks evicted since (``is_full``)."""
        return self._backer.backing.is_complete

    def is_present(self, block: int) -> bool:
        return self._backer.backing.is_present(block)

    def is_checked(self, block: int) -> bool:
        """Return whether the block is present and was verified by this process."""
        return self._backer.backing.is_checked(block)

    def is_full(self) -> bool:
        """Return whether every block is present; much cheaper than counting them."""
        return self._backer.backing.is_full()

    def present_count(self) -> int:
        """Count the present blocks: 1 ns a block."""
        return self._backer.backing.count_present()

    @property
    def present_bytes(self) -> int:
        last = self.layout.n_blocks - 1
        cut = self.layout.block_bytes - self.layout.block_size(last) if last >= 0 and self.is_present(last) else 0
        return self.present_count() * self.layout.block_bytes - cut

    def check(self, block: int) -> bool:
        """Read a present block and verify it; one that is not what it should be is missing from then on."""
        backing = self._backer.backing
        if backing.is_checked(block):
            return True
        generation = backing.generation()
        if not backing.is_present(block) or not self._has_group(block):
            return False
        if not backing.reads_right(block, self.proof):
            if backing.generation() == generation:  # else it may have been evicted, and be right by now
                self._take_back(backing, block)
            return False
        backing.mark_checked(block)
        return self.is_checked(block)

    def _has_group(self, block: int) -> bool:
        return self._parts.has_group(self.proof, block)

    def _take_back(self, backing: Backing, block: int) -> None:
        with self.trouble.reported():
            backing.mark_bad(block)
            if backing.is_complete:
                self._backer.leave_complete(backing)

    def read_into(self, span: ByteRange, buffer: memoryview) -> None:
        """Fill ``buffer`` with bytes whose blocks are all checked; StoreError where one of them is missing (now)."""
        backing = self._backer.backing
        try:
            backing.read_into(span, buffer)
        except OSError as exc:
            for block in self._spoilt(backing, self.layout.blocks_of(span)):
                self._take_back(backing, block)
            raise StoreError(f"sha1 {self.binding.sha1.short}: reading the store failed: {exc.strerror}") from exc

    def read_now(self, span: ByteRange, buffer: memoryview) -> bool:
        """Do the same without waiting for the disk; False where that can't be."""
        return self._backer.backing.read_now(span, buffer)

    def put(self, block: VerifiedBlock) -> bool:
        """Store a block; False where that can't be done for now, which fails no read."""
        return self.put_all((block,))

    def put_all(self, blocks: Sequence[VerifiedBlock]) -> bool:
        """Store consecutive blocks in one write; False where that can't be done: of several, ``put`` each then."""
        n_bytes = sum(len(block.data) for block in blocks)
        assert n_bytes == len(self.layout.bytes_of(BlockRange(blocks[0].index, blocks[-1].index + 1)))
        # What another process has put is read, and not written again: while that proves the file, nobody may write.
        missing = [] if self.is_dropped else [block for block in blocks if not self.check(block.index)]
        if not missing:
            return not self.is_dropped
        with self.trouble.reported():
            cost = sum(disk_cost(self.layout, block.index) for block in missing)
            self._growth.write(cost + self._file_cost(), lambda grant: self._put_runs(missing, cost, grant))
            self.trouble.clear()
            return True
        return False

    def _put_runs(self, blocks: Sequence[VerifiedBlock], cost: int, grant: Grant) -> None:
        grant.written -= cost - sum(self._put(run, grant.keep) for run in runs_of(blocks))

    def _file_cost(self) -> int:
        """Return what has to be made beside the blocks where nothing of the file is on disk yet."""
        if self._backer.is_on_disk():
            return 0
        return FILE_BYTES + Presence.disk_bytes(self.layout.n_blocks)

    def _put(self, blocks: Sequence[VerifiedBlock], keep: Callable[[int], None]) -> int:
        """Write blocks; return how many bytes were not there before, ``keep`` is told of them as they are written."""
        if self.binding.manifest is None:
            (block,) = blocks
            self._backer.write_complete(block.data).mark_checked(block.index)
            return disk_cost(self.layout, block.index)
        backing = self._backer.make_writable()
        if not backing.is_writable:
            return 0
        self.note_use(BlockRange(blocks[0].index, blocks[-1].index + 1))  # first: what has no heat is the coldest
        n_new = backing.write(blocks, keep)
        self._enter()
        return n_new

    def _enter(self) -> None:
        if self._entered_fd != self.fd:  # another data file: the first may have been removed, and the index with it
            self._index.enter(Row(self.binding, self.layout, is_proven=False))
            self._entered_fd = self.fd

    def prove(self) -> bool:
        """Hold the whole file against its SHA-1; False where blocks are missing.

        Right: it is proven, and stands in its place under ``sha1/``. Wrong though every block is as the manifest says:
        the manifest is another file's, what was stored under it is dropped, and ClaimError. Takes 1 s for 0.7 GB.
        """
        if self.is_proven or self.is_dropped:
            return self.is_proven
        with self._backer.alone():
            return self._backer.adopt_promoted() or self._prove(self._backer.backing)

    def _prove(self, backing: Backing) -> bool:
        if not backing.is_full():
            return False
        if self.layout.n_blocks == 0:
            return self._prove_empty(backing)
        everything = ByteRange(0, self.layout.size_bytes)
        with contextlib.suppress(StoreError), self._holding(everything):  # replaced, or busy: the next time
            return backing.is_full() and self._prove_held(backing)
        return False

    @contextlib.contextmanager
    def _holding(self, span: ByteRange) -> Iterator[None]:
        """Keep what is present of ``span`` from being evicted; StoreError where that can't be."""
        with contextlib.closing(self.open_sender()) as sender, sender.holding(span):
            yield

    def _prove_held(self, backing: Backing) -> bool:
        is_right = False
        with self.trouble.reported():
            backing.sync()
            is_right = self._is_right_again(backing)
        if not backing.is_full():
            return False  # a block was found wrong just now
        found = self.binding.sha1 if is_right else sha1_of_file(backing.fd, self.layout.size_bytes)
        if found == self.binding.sha1:
            self._backer.promote(backing)
            return self.is_proven
        return self._refute(backing, found)

    def _is_right_again(self, backing: Backing) -> bool:
        """Return whether the blocks make up a file that was proven before parts of it were evicted: no SHA-1 of it all.

        Not by the blocks of a legacy manifest: these are known by SHA-1, of which two can be made alike.
        """
        if not isinstance(self.binding.manifest, Blake3) or not self._backer.was_proven() or backing.is_cut():
            return False
        return all(map(self.check, range(self.layout.n_blocks)))

    def _prove_empty(self, backing: Backing) -> bool:
        if self.binding.sha1 != Sha1.of(b""):
            return self._refute(backing, Sha1.of(b""))
        with self.trouble.reported():
            self._backer.write_complete(b"")
        self._backer.promote(backing)
        return self.is_proven

    def _refute(self, backing: Backing, found: Sha1 | None) -> bool:
        """Find out who is wrong: the disk (its blocks are missing then, False) or the claim (ClaimError)."""
        spoilt = self._spoilt(backing, range(self.layout.n_blocks))
        for block in spoilt:
            self._take_back(backing, block)
        if spoilt or found is None or not all(map(self._has_group, range(self.layout.n_blocks))):
            return False  # a block whose group the disk lost may be the wrong one
        self.drop()
        manifest = self.binding.manifest.short if self.binding.manifest else "none"
        raise ClaimError(
            f"sha1 {self.binding.sha1.short}: its blocks are as manifest {manifest} says, but the whole has SHA-1 "
            f"{found.short}: the claim was false, what was stored under it is removed; use a link with its own manifest"
        )

    def _spoilt(self, backing: Backing, blocks: Iterable[int]) -> list[int]:
        return [block for block in blocks if self._has_group(block) and not backing.reads_right(block, self.proof)]

    def open_sender(self) -> Sender:
        """Return a descriptor of its own to send from, on which blocks are held; StoreError where nothing is here."""
        return Sender(self)

    def note_use(self, blocks: BlockRange) -> None:
        """Note that blocks are being read, so that colder ones are evicted first; cheap, for an event loop.

        What can't be written isn't noted.
        """
        due = self._uses.find_due(blocks)
        if due:
            with contextlib.suppress(OSError):
                self._backer.backing.note_use(due, heat_ms(self.refetch_s_per_mib))

    def note_wanted(self, blocks: BlockRange) -> None:
        """Tell all processes that somebody has these blocks under way; holds for 2 to 3 s. May make the partial file.

        Blocks: for a thread. Where it can't be written nobody is told.
        """
        if self.binding.manifest is None or self.is_dropped:
            return
        with self.trouble.reported(), self._growth.taking(self._file_cost()):
            self._backer.make_writable().note_wanted(blocks, now_ms())
            self._enter()

    def is_wanted(self, block: int) -> bool:
        """Return whether somebody has this block under way; no system call."""
        return self._backer.backing.is_wanted(block, now_ms())

    def is_any_wanted(self) -> bool:
        """Return whether somebody has any block under way."""
        return self._backer.backing.is_any_wanted(now_ms())

    def drop(self) -> None:
        """Remove what is stored under this binding, for every process: its claim was false."""
        self.is_dropped = True
        self._backer.drop()

    def attach(self, proof: Proof) -> None:
        """Open what is on disk, and verify by ``proof`` from now on."""
        self.proof = proof
        self._backer.attach()

    def close(self) -> None:
        """Give up one opening; the last one closes the descriptors."""
        self._release(self)

    def detach(self) -> None:
        """Close the descriptors; the Store's, after the last opening was given up."""
        self._backer.close()
