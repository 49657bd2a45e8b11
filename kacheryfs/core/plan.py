"""From blocks that are wanted to the runs that are asked for: values computed without I/O."""

from __future__ import annotations

from collections.abc import Callable

from .model import BlockRange


def grow_run(start: int, is_wanted: Callable[[int], bool], max_blocks: int) -> BlockRange:
    """Return the run that begins at ``start`` and goes on while the next block ``is_wanted`` too."""
    stop = start + 1
    while stop - start < max_blocks and is_wanted(stop):
        stop += 1
    return BlockRange(start, stop)
