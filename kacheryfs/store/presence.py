"""Which blocks of a file are present, and how warm they are: one file, mapped and shared by all processes.

    n_blocks bytes                  0 or 1, one byte a block; then zeros up to a multiple of 8
    generation      8 bytes         another random number after each time that blocks were taken away
    heat            8 per extent    ms since 1970 (little-endian): when last used or put, and a bonus for what was dear
    wanted          n_blocks bytes  when somebody last had the block under way: 1 + seconds since 1970 modulo 255;
                                    0 never; then zeros up to a multiple of 8
    n_blocks        8, magic 8      a file of a store of version 1 ends after the first n_blocks bytes

The maps are only read. All is written by ``pwrite``, which the kernel makes visible in every map at once: a store
through a map could meet a full or failing disk, and that is SIGBUS, not an error that can be handled.

Invariant: a data file has one presence file for all its life. Another one in its place would not tell those who have
the first one open what is evicted.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..core.model import BlockRange, Layout
from . import flags

EXTENT_BLOCKS = 64
"""16 MiB of a file share one heat: what is punched in one step, in about 2 ms."""
_MAGIC = b"kfspres2"
_NUMBER = struct.Struct("<Q")
_PAGE = 4096
_SLICE = 1 << 20
_ALLOCATE_BYTES = 4 * 1024 * 1024
"""Up to here (1 TiB of file) the bytes are allocated at once, 5 millionths of the file: reading a hole through a map
allocates it on tmpfs, and on a full one that is SIGBUS. Larger ones stay sparse: an absurd manifest costs nothing."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the parts of a presence file lie."""

    n_blocks: int

    @property
    def n_extents(self) -> int:
        return -(-self.n_blocks // EXTENT_BLOCKS)

    @property
    def generation(self) -> int:
        return -(-self.n_blocks // 8) * 8

    @property
    def heat(self) -> int:
        return self.generation + 8

    @property
    def wanted(self) -> int:
        return self.heat + 8 * self.n_extents

    @property
    def end(self) -> int:
        return self.wanted + self.generation

    @property
    def n_bytes(self) -> int:
        return self.end + 16


class Presence:
    """The presence of one file's blocks, opened; ``bits`` is what everybody reads."""

    def __init__(self, fd: int, places: Places, *, is_writable: bool) -> None:
        self._fd = fd
        self._places = places
        self.is_shared = _is_whole(fd, places)
        """Whether it tells when blocks are evicted; one of version 1 doesn't."""
        self.bits = _map(fd, places.n_bytes if self.is_shared else places.n_blocks)
        """The blocks' flags, and what follows them in the file."""
        self.generation_at = slice(places.generation, places.generation + 8)
        """Where in ``bits`` stands what changes whenever blocks are taken away; nothing, where it isn't shared."""
        self.is_writable = is_writable

    @classmethod
    def open(cls, path: Path, n_blocks: int, *, is_writable: bool) -> Presence:
        """Open the file, made and brought to its size where it may be; a short one that may not is read into memory."""
        mode = os.O_RDWR | os.O_CREAT if is_writable else os.O_RDONLY
        fd = os.open(path, mode | os.O_CLOEXEC, 0o666)
        places = Places(n_blocks)
        try:
            if is_writable and not _is_whole(fd, places):
                _grow(fd, places.n_bytes)
                os.pwrite(fd, _NUMBER.pack(n_blocks) + _MAGIC, places.end)
            return cls(fd, places, is_writable=is_writable)
        except BaseException:
            os.close(fd)
            raise

    @staticmethod
    def disk_bytes(n_blocks: int) -> int:
        """Return what the presence of so many blocks takes on disk; a very large one is sparse."""
        return min(-(-Places(n_blocks).n_bytes // _PAGE) * _PAGE, _ALLOCATE_BYTES)

    def is_at(self, path: Path) -> bool:
        """Return whether this is the file at ``path``."""
        try:
            return os.path.samestat(os.stat(path), os.fstat(self._fd))
        except OSError:
            return False

    def is_same(self, other: Presence) -> bool:
        """Return whether both are one file."""
        return os.path.samestat(os.fstat(self._fd), os.fstat(other._fd))

    def read(self, blocks: BlockRange) -> bytes:
        """Return the flags of blocks, not through the map: on tmpfs that would fill a sparse file's holes. OSError."""
        return os.pread(self._fd, len(blocks), blocks.start)

    def set(self, first: int, n_blocks: int = 1) -> None:
        if os.pwrite(self._fd, b"\1" * n_blocks, first) < n_blocks:  # of a sparse one the next page may find no space
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(self) -> None:
        """Set all that isn't set, for a complete file."""
        for at in range(0, self._places.n_blocks, _SLICE):
            part = self.bits[at : min(at + _SLICE, self._places.n_blocks)]
            if part.count(1) < len(part):
                self.set(at, len(part))

    def clear(self, first: int, n_blocks: int = 1) -> None:
        """Take blocks away, and say so before anything is done to their data."""
        os.pwrite(self._fd, bytes(n_blocks), first)
        self.renew()

    def clear_all(self) -> None:
        """Clear what is set, page by page, leaving holes holes."""
        for at in range(0, self._places.n_blocks, _PAGE):
            page = self.bits[at : min(at + _PAGE, self._places.n_blocks)]
            if page.count(0) < len(page):
                os.pwrite(self._fd, bytes(len(page)), at)
        self.renew()

    def renew(self) -> None:
        """Say that blocks were taken away, before anything is done to their data."""
        # Random, not counted up: two who take blocks away at once need no lock to end with a number of their own.
        os.pwrite(self._fd, os.urandom(8), self._places.generation)

    def note_heat(self, extents: Iterable[int], heat_ms: int) -> None:
        """Note when extents were used last."""
        for extent in extents:
            os.pwrite(self._fd, _NUMBER.pack(heat_ms), self._places.heat + 8 * extent)

    def note_wanted(self, blocks: BlockRange, now_ms: int) -> None:
        """Note that somebody has blocks under way."""
        os.pwrite(self._fd, _wanted_flag(now_ms) * len(blocks), self._places.wanted + blocks.start)

    def heat_ms(self, extent: int) -> int:
        at = self._places.heat + 8 * extent
        return int.from_bytes(self.bits[at : at + 8], "little")

    def is_wanted(self, block: int, now_ms: int) -> bool:
        """Return whether somebody had the block under way within the last 2 to 3 s, or 255 s before."""
        at = self._places.wanted + block
        return self.is_shared and self.bits[at : at + 1] in _recent_flags(now_ms)

    def is_any_wanted(self, now_ms: int) -> bool:
        start, stop = self._places.wanted, self._places.wanted + self._places.n_blocks
        return self.is_shared and any(self.bits.find(flag, start, stop) >= 0 for flag in _recent_flags(now_ms))

    def close(self) -> None:
        os.close(self._fd)
        if isinstance(self.bits, mmap.mmap):
            self.bits.close()


def disk_cost(layout: Layout, block: int) -> int:
    """Return what a block takes on disk: the last one whole pages."""
    n_bytes = layout.block_size(block)
    return n_bytes if block < layout.n_blocks - 1 else -(-n_bytes // _PAGE) * _PAGE


def extents_of(blocks: BlockRange) -> range:
    return range(blocks.start // EXTENT_BLOCKS, -(-blocks.stop // EXTENT_BLOCKS))


def _is_whole(fd: int, places: Places) -> bool:
    return os.fstat(fd).st_size >= places.n_bytes and _read_tail(fd, places.n_bytes) == places.n_blocks


def _read_tail(fd: int, n_bytes: int) -> int | None:
    """Return the number of blocks that stands at the end of a presence file; None in one of version 1."""
    tail = os.pread(fd, 16, max(n_bytes - 16, 0))
    return _NUMBER.unpack_from(tail)[0] if tail[8:] == _MAGIC else None


def _grow(fd: int, n_bytes: int) -> None:
    if n_bytes <= _ALLOCATE_BYTES:
        try:
            os.posix_fallocate(fd, 0, n_bytes)
            return
        except OSError as exc:
            if exc.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
    os.ftruncate(fd, n_bytes)


def _map(fd: int, n_bytes: int) -> flags.Flags:
    if n_bytes == 0 or os.fstat(fd).st_size < n_bytes:
        return bytearray(os.pread(fd, n_bytes, 0).ljust(n_bytes, b"\0"))
    return mmap.mmap(fd, n_bytes, prot=mmap.PROT_READ)


def count_present_bytes(path: Path, layout: Layout) -> int:
    """Return how many bytes a presence file says are present, without keeping it open; 0 where there is none."""
    n_present, last, left = 0, b"", layout.n_blocks
    with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
        while left and (part := file.read(min(_SLICE, left))):
            n_present += len(part) - part.count(0)
            left -= len(part)
        last = os.pread(file.fileno(), 1, max(layout.n_blocks - 1, 0)) if layout.n_blocks else b""
    cut = layout.n_blocks * layout.block_bytes - layout.size_bytes if last.strip(b"\0") else 0
    return n_present * layout.block_bytes - cut


def is_wanted_now(path: Path, layout: Layout, now_ms: int) -> bool:
    """Return whether somebody has any of a file under way, without keeping it open.

    No file of more than 256 GiB: what a peer may ask for at any time must be cheap.
    """
    places = Places(layout.n_blocks)
    with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
        if places.n_blocks <= _SLICE and _is_whole(file.fileno(), places):
            wanted = os.pread(file.fileno(), places.n_blocks, places.wanted)
            return any(flag in wanted for flag in _recent_flags(now_ms))
    return False


def _wanted_flag(now_ms: int) -> bytes:
    return bytes([1 + now_ms // 1000 % 255])


def _recent_flags(now_ms: int) -> tuple[bytes, ...]:
    return tuple(_wanted_flag(now_ms - age_ms) for age_ms in (0, 1000, 2000))


def find_n_blocks(path: Path) -> int:
    """Return how many blocks a presence file is for; OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size_bytes = os.fstat(fd).st_size
        found = _read_tail(fd, size_bytes)
        return size_bytes if found is None or Places(found).n_bytes != size_bytes else found
    finally:
        os.close(fd)
