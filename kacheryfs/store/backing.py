"""An open data file and what is known of its blocks: present (shared by all processes), checked (by this one).

It is complete in itself: who holds one may read the blocks that it calls checked, whatever its ``StoredFile`` turns
to meanwhile. ``checked`` may also say *bad*: not what the proof says, and so missing here, where presence can't be
cleared.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence

from ..core.manifest import VerifiedBlock
from ..core.model import ByteRange, Layout
from ..errors import StoreError
from . import flags
from .presence import Presence

_UNCHECKED, _CHECKED, _BAD = 0, 1, 2
_NO_NOWAIT = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
"""What file systems and kernels without RWF_NOWAIT answer."""


class Backing:
    """One of three: a partial file, a complete one (which has no shared presence), or nothing on disk (fd is -1)."""

    __slots__ = (
        "_can_nowait",
        "_first_missing",
        "_writing",
        "checked",
        "fd",
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
        self._can_nowait = True
        self._writing = threading.Lock()  # one file is written by one thread at a time: others would spin in the kernel
        self._first_missing = 0  # a guess, to look there first

    @classmethod
    def nothing(cls, layout: Layout) -> Backing:
        """Return the backing of a file of which nothing is on disk."""
        nothing = flags.zeros(layout.n_blocks)
        return cls(layout, -1, nothing, checked=nothing)

    @classmethod
    def complete(cls, layout: Layout, fd: int) -> Backing:
        return cls(layout, fd, flags.ones(layout.n_blocks), is_complete=True)

    def as_complete(self) -> Backing:
        """Return the same open file as a proven one; what was checked stays so, and closing passes over to it."""
        present = flags.ones(self.layout.n_blocks)
        return Backing(self.layout, self.fd, present, presence=self.presence, checked=self.checked, is_complete=True)

    def inherit_checked(self, earlier: Backing) -> None:
        """Take over what was checked where this is the same data file as ``earlier`` under another name."""
        if os.path.samestat(os.fstat(self.fd), os.fstat(earlier.fd)):
            for block in flags.find_all(earlier.checked, _BAD):
                earlier.checked[block] = _UNCHECKED
            self.checked = earlier.checked

    def is_present(self, block: int) -> bool:
        return self.present[block] != 0 and self.checked[block] != _BAD

    def is_checked(self, block: int) -> bool:
        return self.checked[block] == _CHECKED and self.present[block] != 0

    def is_full(self) -> bool:
        """Return whether every block is present; cheap while the same one is missing, or the next after it."""
        missing = self.present.find(b"\0", self._first_missing)
        if missing < 0:
            missing = self.present.find(b"\0")
        self._first_missing = max(missing, 0)
        return missing < 0 and self.checked.find(b"\2") < 0

    def count_present(self) -> int:
        return flags.count(self.present) - sum(self.present[block] != 0 for block in flags.find_all(self.checked, _BAD))

    def mark_checked(self, block: int) -> None:
        self.checked[block] = _CHECKED

    def mark_bad(self, block: int) -> None:
        """Take a block back: for every process where the file is partial and can be written, else for this one."""
        self.checked[block] = _BAD
        if self.presence is not None and self.is_writable:
            self.presence.clear(block)
            self.checked[block] = _UNCHECKED

    def write(self, blocks: Sequence[VerifiedBlock]) -> None:
        """Write consecutive blocks, the data first, then set presence; OSError leaves all of them missing."""
        assert self.presence is not None
        assert self.is_writable
        first, n_blocks = blocks[0].index, len(blocks)
        with self._writing:
            for block in blocks:
                self._write(block)
        self.presence.set(first, n_blocks)
        self.checked[first : first + n_blocks] = bytes([_CHECKED]) * n_blocks

    def _write(self, block: VerifiedBlock) -> None:
        # One block a call: ext4 makes folios as large as the call, and those of 512 KiB and more are taken from memory
        # that a virtual machine's host has to give anew (measured: 1.5 s a GB instead of 0.5).
        data, offset, done = memoryview(block.data), block.index * self.layout.block_bytes, 0
        while done < len(data):
            done += os.pwrite(self.fd, data[done:], offset + done)

    def is_cut(self) -> bool:
        """Return whether the data file lost its end: writing would make a hole of what was checked before."""
        return os.fstat(self.fd).st_size < self.layout.size_bytes

    def sync(self) -> None:
        os.fsync(self.fd)

    def read_block(self, block: int) -> bytes:
        """Return what lies on disk for a block, unverified; short where the file was cut."""
        return os.pread(self.fd, self.layout.block_size(block), block * self.layout.block_bytes)

    def read_into(self, span: ByteRange, buffer: memoryview) -> None:
        """Fill ``buffer`` with ``span``; OSError where the disk fails, StoreError where a block of it isn't checked."""
        done = 0
        while done < len(span):
            n_bytes = os.preadv(self.fd, [buffer[done : len(span)]], span.start + done)
            if n_bytes == 0:
                raise OSError(errno.EIO, "the data file was cut")
            done += n_bytes
        if not self._are_checked(span):
            raise StoreError(f"store: blocks of bytes {span.start} to {span.stop} went missing while they were read")

    def read_now(self, span: ByteRange, buffer: memoryview) -> bool:
        """Do the same from memory alone; False where the disk would have to be waited for, or fails."""
        flag = os.RWF_NOWAIT if self._can_nowait else 0
        try:
            n_bytes = os.preadv(self.fd, [buffer[: len(span)]], span.start, flag)
        except OSError as exc:
            if flag and exc.errno in _NO_NOWAIT:
                self._can_nowait = False
                return self.read_now(span, buffer)
            return False  # would block; or a failing disk, which read_into reports
        return n_bytes == len(span) and self._are_checked(span)

    def _are_checked(self, span: ByteRange) -> bool:
        """Look after the read, not before: who takes a block back clears its presence first."""
        return all(map(self.is_checked, self.layout.blocks_of(span)))

    def close(self) -> None:
        if self.presence is not None:
            self.presence.close()
        if self.fd >= 0:
            os.close(self.fd)
