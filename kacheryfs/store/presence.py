"""Which blocks of a partial file are present: one byte a block in a file, mapped and shared by all processes.

The map is only read. Presence is set by ``pwrite`` of one byte, which the kernel makes visible in every map at once: a
store through the map could meet a full or failing disk, and that is SIGBUS, not an error that can be handled.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from pathlib import Path

from ..core.model import Layout
from . import flags

_PAGE = 4096
_SLICE = 1 << 20
_ALLOCATE_BYTES = 4 * 1024 * 1024
"""Up to here (1 TiB of file) the bytes are allocated at once, 4 millionths of the file: reading a hole through a map
allocates it on tmpfs, and on a full one that is SIGBUS. Larger ones stay sparse: an absurd manifest costs nothing."""


class Presence:
    """The presence of one partial file's blocks, opened; ``bits`` is what everybody reads."""

    def __init__(self, fd: int, bits: flags.Flags) -> None:
        self._fd = fd
        self.bits = bits

    @classmethod
    def open(cls, path: Path, n_blocks: int, *, is_writable: bool) -> Presence:
        """Open the file, made and brought to its size where it may be; a short one that may not is read into memory."""
        mode = os.O_RDWR | os.O_CREAT if is_writable else os.O_RDONLY
        fd = os.open(path, mode | os.O_CLOEXEC, 0o666)
        try:
            if is_writable and os.fstat(fd).st_size < n_blocks:
                _grow(fd, n_blocks)
            return cls(fd, _map(fd, n_blocks))
        except BaseException:
            os.close(fd)
            raise

    def set(self, first: int, n_blocks: int = 1) -> None:
        if os.pwrite(self._fd, b"\1" * n_blocks, first) < n_blocks:  # of a sparse one the next page may find no space
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def clear(self, block: int) -> None:
        os.pwrite(self._fd, b"\0", block)

    def clear_all(self) -> None:
        """Clear what is set, page by page, leaving holes holes."""
        for at in range(0, len(self.bits), _PAGE):
            page = self.bits[at : at + _PAGE]
            if page.count(0) < len(page):
                os.pwrite(self._fd, bytes(len(page)), at)

    def close(self) -> None:
        os.close(self._fd)
        if isinstance(self.bits, mmap.mmap):
            self.bits.close()


def _grow(fd: int, n_blocks: int) -> None:
    if n_blocks <= _ALLOCATE_BYTES:
        try:
            os.posix_fallocate(fd, 0, n_blocks)
            return
        except OSError as exc:
            if exc.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
    os.ftruncate(fd, n_blocks)


def _map(fd: int, n_blocks: int) -> flags.Flags:
    if n_blocks == 0 or os.fstat(fd).st_size < n_blocks:
        return bytearray(os.pread(fd, n_blocks, 0).ljust(n_blocks, b"\0"))
    return mmap.mmap(fd, n_blocks, prot=mmap.PROT_READ)


def count_present_bytes(path: Path, layout: Layout) -> int:
    """Return how many bytes a presence file says are present, without keeping it open; 0 where there is none."""
    n_present, last = 0, b""
    with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
        while part := file.read(_SLICE):
            n_present += len(part) - part.count(0)
        last = os.pread(file.fileno(), 1, max(layout.n_blocks - 1, 0))
    cut = layout.n_blocks * layout.block_bytes - layout.size_bytes if last.strip(b"\0") else 0
    return n_present * layout.block_bytes - cut
