"""An open data file and what is known of its blocks: present (shared by all processes), checked (by this one).

It is complete in itself: who holds one may read the blocks that it calls checked, whatever its ``StoredFile`` turns
to meanwhile. ``checked`` may also say *bad*: not what the proof says, and so missing here, where presence can't be
cleared. It stays checked when a block is evicted: who puts it there again has verified it, in whichever process.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence

from ..core.manifest import Proof, VerifiedBlock
from ..core.model import BlockRange, ByteRange, Layout
from ..errors import ProofError, StoreError
from . import flags
from .locks import unlock, wait_for_lock
from .presence import Presence, disk_cost

_UNCHECKED, _CHECKED, _BAD = 0, 1, 2
_NO_NOWAIT = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
"""What file systems and kernels without RWF_NOWAIT answer."""


_READ_TRIES = 100
"""An eviction anywhere in the file has a read look again: tens a second at most, of 0.1 ms each."""
_LOCK_TIMEOUT_S = 5.0
"""Others have the bytes of missing blocks for the punch of an extent; who has them longer is stopped."""


class Backing:
    """One of three: a partial file, a complete one, or nothing on disk (fd is -1).

    A complete one has a shared presence where that can be kept; else nothing of it is evicted while it is open.
    """

    __slots__ = (
        "_can_nowait",
        "_first_missing",
        "_writing",
        "checked",
        "fd",
        "generation_at",
        "is_complete",
        "is_writable",
        "layout",
        "presence",
        "present",
    )

    def __init__(
        self,
        layout: Layout,
        fd: int,
        present: flags.Flags,
        *,
        presence: Presence | None = None,
        checked: flags.Flags | None = None,
        is_complete: bool = False,
        is_writable: bool = False,
    ) -> None:
        self.layout = layout
        self.fd = fd
        self.present = present
        self.presence = presence
        self.checked = flags.zeros(layout.n_blocks) if checked is None else checked
        self.is_complete = is_complete
        self.is_writable = is_writable
        self.generation_at = slice(0) if presence is None else presence.generation_at
        self._can_nowait = True
        self._writing = threading.Lock()  # one file is written by one thread at a time: others would spin in the kernel
        self._first_missing = 0  # a guess, to look there first

    @classmethod
    def nothing(cls, layout: Layout) -> Backing:
        """Return the backing of a file of which nothing is on disk."""
        nothing = flags.zeros(layout.n_blocks)
        return cls(layout, -1, nothing, checked=nothing)

    @classmethod
    def complete(cls, layout: Layout, fd: int, presence: Presence | None = None) -> Backing:
        present = flags.ones(layout.n_blocks) if presence is None else presence.bits
        return cls(layout, fd, present, presence=presence, is_complete=True)

    def as_complete(self) -> Backing:
        """Return the same open file as a proven one; what was checked stays so, and closing passes over to it."""
        return self._same_files(is_complete=True)

    def as_partial(self) -> Backing:
        """Return the same open file as one that takes blocks again; what was bad is unchecked, and closing passes over.

        Only where it ``has_open`` what lies under ``partial/`` now.
        """
        self._forgive_bad()
        return self._same_files(is_complete=False)

    def _same_files(self, *, is_complete: bool) -> Backing:
        same = Backing(
            self.layout,
            self.fd,
            self.present,
            presence=self.presence,
            checked=self.checked,
            is_complete=is_complete,
            is_writable=not is_complete,
        )
        same._writing = self._writing  # who still writes by the earlier one has its locks on the same descriptor
        return same

    def has_open(self, other: Backing) -> bool:
        """Return whether this one has the data file and the presence of ``other`` open, and for writing."""
        if self.presence is None or other.presence is None or not self.presence.is_writable:
            return False
        return self.presence.is_same(other.presence) and os.path.samestat(os.fstat(self.fd), os.fstat(other.fd))

    def inherit_checked(self, earlier: Backing) -> None:
        """Take over what was checked where this is the same data file as ``earlier`` under another name."""
        if os.path.samestat(os.fstat(self.fd), os.fstat(earlier.fd)):
            earlier._forgive_bad()
            self.checked = earlier.checked

    def _forgive_bad(self) -> None:
        """Have bad blocks checked again: presence can be cleared from now on."""
        for block in flags.find_all(self.checked, _BAD):
            self.checked[block] = _UNCHECKED

    def is_present(self, block: int) -> bool:
        return self.present[block] != 0 and self.checked[block] != _BAD

    def is_checked(self, block: int) -> bool:
        return self.checked[block] == _CHECKED and self.present[block] != 0

    def is_full(self) -> bool:
        """Return whether every block is present; cheap while the same one is missing, or the next after it."""
        n_blocks = self.layout.n_blocks
        missing = self.present.find(b"\0", self._first_missing, n_blocks)
        if missing < 0:
            missing = self.present.find(b"\0", 0, n_blocks)
        self._first_missing = max(missing, 0)
        return missing < 0 and self.checked.find(b"\2") < 0

    def count_present(self) -> int:
        n_bad = sum(self.present[block] != 0 for block in flags.find_all(self.checked, _BAD))
        return flags.count(self.present, self.layout.n_blocks) - n_bad

    def mark_checked(self, block: int) -> None:
        self.checked[block] = _CHECKED

    def mark_bad(self, block: int) -> None:
        """Take a block back: for every process where the file is partial and can be written, else for this one."""
        self.checked[block] = _BAD
        if self.presence is not None and self.is_writable:
            self.presence.clear(block)
            self.checked[block] = _UNCHECKED

    def write(self, blocks: Sequence[VerifiedBlock], keep: Callable[[int], None]) -> int:
        """Write consecutive blocks, the data first, then set presence; return how many bytes were not there before.

        OSError leaves all of them missing; ``keep`` was told what of them lies on disk even so. The lock keeps an
        evictor from punching between the data and the presence,
        and another writer from counting the same blocks. It belongs to the descriptor: hence one thread at a time.
        """
        assert self.presence is not None
        assert self.is_writable
        numbers = BlockRange(blocks[0].index, blocks[-1].index + 1)
        span = self.layout.bytes_of(numbers)
        with self._writing:
            if not wait_for_lock(self.fd, span, timeout_s=_LOCK_TIMEOUT_S):
                raise OSError(errno.EAGAIN, f"others had the blocks locked for {_LOCK_TIMEOUT_S:g} s")
            try:
                n_new = sum(disk_cost(self.layout, block.index) for block in blocks if not self.present[block.index])
                for block in blocks:
                    self._write(block, keep)
                self.presence.set(numbers.start, len(numbers))
            finally:
                unlock(self.fd, span)
        self.checked[numbers.start : numbers.stop] = bytes([_CHECKED]) * len(numbers)
        return n_new

    def _write(self, block: VerifiedBlock, keep: Callable[[int], None]) -> None:
        # One block a call: ext4 makes folios as large as the call, and those of 512 KiB and more are taken from memory
        # that a virtual machine's host has to give anew (measured: 1.5 s a GB instead of 0.5).
        data, offset, done = memoryview(block.data), block.index * self.layout.block_bytes, 0
        while done < len(data):
            n_bytes = os.pwrite(self.fd, data[done:], offset + done)
            if not done and not self.present[block.index]:
                keep(disk_cost(self.layout, block.index))
            done += n_bytes

    def note_use(self, extents: Sequence[int], heat_ms: int) -> None:
        """Note that extents are used; of a file without presence, the file. OSError."""
        if self.presence is not None:
            self.presence.note_heat(extents, heat_ms)
        elif self.fd >= 0:
            os.utime(self.fd)

    def note_wanted(self, blocks: BlockRange, now_ms: int) -> None:
        if self.presence is not None:
            self.presence.note_wanted(blocks, now_ms)

    def is_wanted(self, block: int, now_ms: int) -> bool:
        return self.presence is not None and self.presence.is_wanted(block, now_ms)

    def is_any_wanted(self, now_ms: int) -> bool:
        return self.presence is not None and self.presence.is_any_wanted(now_ms)

    def is_cut(self) -> bool:
        """Return whether the data file lost its end: writing would make a hole of what was checked before."""
        return os.fstat(self.fd).st_size < self.layout.size_bytes

    def sync(self) -> None:
        os.fsync(self.fd)

    def read_block(self, block: int) -> bytes:
        """Return what lies on disk for a block, unverified; short where the file was cut."""
        return os.pread(self.fd, self.layout.block_size(block), block * self.layout.block_bytes)

    def reads_right(self, block: int, proof: Proof) -> bool:
        """Return whether what lies on disk for a block is what ``proof`` says, which has its group."""
        try:
            proof.verify(block, self.read_block(block))
        except (ProofError, OSError):  # another digest, cut short, or a bad disk: all mean that the block is missing
            return False
        return True

    def read_into(self, span: ByteRange, buffer: memoryview) -> None:
        """Fill ``buffer`` with ``span``; OSError where the disk fails, StoreError where a block of it isn't checked."""
        for _ in range(_READ_TRIES):
            generation = self.generation()
            if not self._are_checked(span):
                break
            self._read_all(span, buffer)
            if self.generation() == generation:
                return
        raise StoreError(
            f"store: blocks of bytes {span.start} to {span.stop} are missing, or went while they were read"
        )

    def _read_all(self, span: ByteRange, buffer: memoryview) -> None:
        done = 0
        while done < len(span):
            n_bytes = os.preadv(self.fd, [buffer[done : len(span)]], span.start + done)
            if n_bytes == 0:
                raise OSError(errno.EIO, "the data file was cut")
            done += n_bytes

    def read_now(self, span: ByteRange, buffer: memoryview) -> bool:
        """Do the same from memory alone; False where the disk would have to be waited for, or fails.

        What lies between two looks at the same generation is what the presence said it is (``blocks`` tells why).
        """
        generation = self.present[self.generation_at]
        if not self._are_checked(span):
            return False
        flag = os.RWF_NOWAIT if self._can_nowait else 0
        try:
            n_bytes = os.preadv(self.fd, [buffer[: len(span)]], span.start, flag)
        except OSError as exc:
            if flag and exc.errno in _NO_NOWAIT:
                self._can_nowait = False
                return self.read_now(span, buffer)
            return False  # would block; or a failing disk, which read_into reports
        return n_bytes == len(span) and self.present[self.generation_at] == generation

    def generation(self) -> bytes | bytearray:
        """Return what changes whenever blocks are taken away from the file."""
        return self.present[self.generation_at]

    def _are_checked(self, span: ByteRange) -> bool:
        return all(map(self.is_checked, self.layout.blocks_of(span)))

    def close(self) -> None:
        if self.presence is not None:
            self.presence.close()
        if self.fd >= 0:
            os.close(self.fd)


def runs_of(blocks: Sequence[VerifiedBlock]) -> Iterator[list[VerifiedBlock]]:
    """Yield those that follow each other together, for one ``write`` each."""
    for _, run in itertools.groupby(enumerate(blocks), lambda item: item[1].index - item[0]):
        yield [block for _, block in run]
