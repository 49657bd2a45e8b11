"""One byte a block in memory: what is looked at on the event loop for every read."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

Flags = mmap.mmap | bytearray

_MAP_FROM = 64 * 1024
"""From 16 GiB of file on the flags are an anonymous map: untouched pages cost nothing, and opening no memset."""
_SLICE = 1 << 20


def zeros(n_blocks: int) -> Flags:
    if n_blocks < _MAP_FROM:
        return bytearray(n_blocks)
    return mmap.mmap(-1, n_blocks, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def ones(n_blocks: int) -> Flags:
    return bytearray(b"\1") * n_blocks


def count(flags: Flags, n_blocks: int) -> int:
    """Return how many of the first flags are set: 1 ns a block."""
    return n_blocks - sum(flags[at : min(at + _SLICE, n_blocks)].count(0) for at in range(0, n_blocks, _SLICE))


def find_all(flags: Flags, value: int) -> Iterator[int]:
    at = flags.find(bytes([value]))
    while at >= 0:
        yield at
        at = flags.find(bytes([value]), at + 1)
