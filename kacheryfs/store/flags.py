"""One byte a block in memory: what ``is_present`` and ``is_checked`` read on the event loop, for every read."""

from __future__ import annotations

import mmap

Flags = mmap.mmap | bytearray

_MAP_FROM = 64 * 1024
"""From 16 GiB of file on the flags are an anonymous map: pages that nobody touched cost nothing, and opening no memset."""
_SLICE = 1 << 20


def zeros(n_blocks: int) -> Flags:
    if n_blocks < _MAP_FROM:
        return bytearray(n_blocks)
    return mmap.mmap(-1, n_blocks, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def ones(n_blocks: int) -> Flags:
    return bytearray(b"\1") * n_blocks


def count(flags: Flags) -> int:
    """Return how many flags are set."""
    return len(flags) - sum(flags[at : at + _SLICE].count(0) for at in range(0, len(flags), _SLICE))


def are_all_set(flags: Flags, start: int, stop: int) -> bool:
    return flags.find(b"\0", start, stop) < 0
