"""An open data file with what is known of its blocks: present (shared by all processes), and checked (by this one).

It is complete in itself: who holds one may read the blocks that it calls checked, whatever its ``StoredFile`` turns to meanwhile.
"""

from __future__ import annotations

import errno
import os

from ..core.manifest import VerifiedBlock
from ..core.model import ByteRange, Layout
from ..errors import StoreError
from . import flags
from .presence import Presence

_UNCHECKED, _CHECKED, _BAD = 0, 1, 2
_NO_NOWAIT = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
"""What file systems and kernels without RWF_NOWAIT answer."""


class Backing:
    """One of three: a partial file, a complete one (``presence`` isn't asked any more), or nothing on disk (``fd`` is -1)."""

    __slots__ = ("_can_nowait", "checked", "fd", "is_complete", "is_writable", "layout", "presence", "present")

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

    @classmethod
    def nothing(cls, layout: Layout) -> Backing:
        """Return the backing of a file of which nothing is on disk."""
        nothing = flags.zeros(layout.n_blocks)
        return cls(layout, -1, nothing, checked=nothing)

    @classmethod
    def complete(cls, layout: Layout, fd: int) -> Backing:
        return cls(layout, fd, flags.ones(layout.n_blocks), is_complete=True)

    def as_complete(self) -> Backing:
        """Return the same open file as a proven one; what was checked stays so, closing passes over to it."""
        return Backing(
            self.layout,
            self.fd,
            flags.ones(self.layout.n_blocks),
            presence=self.presence,
            checked=self.checked,
            is_complete=True,
        )

    def is_present(self, block: int) -> bool:
        return self.present[block] != 0 and self.checked[block] != _BAD

    def is_checked(self, block: int) -> bool:
        return self.checked[block] == _CHECKED and self.present[block] != 0

    def is_full(self) -> bool:
        return flags.are_all_set(self.present, 0, self.layout.n_blocks) and self.checked.find(b"\2") < 0

    def count_present(self) -> int:
        return sum(map(self.is_present, range(self.layout.n_blocks))) if self._has_bad() else flags.count(self.present)

    def _has_bad(self) -> bool:
        return self.checked.find(b"\2") >= 0

    def mark_checked(self, block: int) -> None:
        self.checked[block] = _CHECKED

    def mark_bad(self, block: int) -> None:
        """Take a block back: for every process where the file is partial and can be written, else for this one."""
        self.checked[block] = _BAD
        if self.presence is not None and self.is_writable:
            self.presence.clear(block)
            self.checked[block] = _UNCHECKED

    def write(self, block: VerifiedBlock) -> None:
        """Write the data first, then set presence; OSError leaves the block missing."""
        assert self.presence is not None
        assert self.is_writable
        self._write_data(memoryview(block.data), block.index * self.layout.block_bytes)
        self.presence.set(block.index)
        self.checked[block.index] = _CHECKED

    def _write_data(self, data: memoryview, offset: int) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(self.fd, data[done:], offset + done)

    def sync(self) -> None:
        os.fsync(self.fd)

    def read_block(self, block: int) -> bytes:
        """Return what lies on disk for a block, unverified; short where the file was cut."""
        return os.pread(self.fd, self.layout.block_size(block), block * self.layout.block_bytes)

    def read_into(self, span: ByteRange, buffer: memoryview) -> None:
        """Fill ``buffer`` with ``span``; StoreError where a block of it isn't checked or can't be read any more."""
        done = 0
        while done < len(span):
            n_bytes = os.preadv(self.fd, [buffer[done : len(span)]], span.start + done)
            if n_bytes == 0:
                raise StoreError(f"store: a file ends at byte {span.start + done}, inside a block that was present")
            done += n_bytes
        if not self._are_checked(span):
            raise StoreError(f"store: blocks of bytes {span.start} to {span.stop} went missing while they were read")

    def read_now(self, span: ByteRange, buffer: memoryview) -> bool:
        """Do the same from memory alone; False where the disk would have to be waited for."""
        if not self._can_nowait:
            self.read_into(span, buffer)
            return True
        try:
            n_bytes = os.preadv(self.fd, [buffer[: len(span)]], span.start, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
        except OSError as exc:
            if exc.errno not in _NO_NOWAIT:
                raise
            self._can_nowait = False
            return self.read_now(span, buffer)
        return n_bytes == len(span) and self._are_checked(span)

    def _are_checked(self, span: ByteRange) -> bool:
        """Look after the read, not before: who takes a block back clears its presence first."""
        return all(map(self.is_checked, self.layout.blocks_of(span)))

    def close(self) -> None:
        if self.presence is not None:
            self.presence.close()
        if self.fd >= 0:
            os.close(self.fd)
