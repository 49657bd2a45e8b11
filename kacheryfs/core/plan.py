"""From blocks that are wanted to the runs that are asked for: values computed without I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .model import BlockRange


def coalesce(blocks: Iterable[int]) -> list[BlockRange]:
    """Return ascending block indices as maximal ranges of consecutive ones."""
    ranges: list[BlockRange] = []
    for block in blocks:
        if ranges and ranges[-1].stop == block:
            ranges[-1] = BlockRange(ranges[-1].start, block + 1)
        else:
            ranges.append(BlockRange(block, block + 1))
    return ranges


def grow_run(start: int, is_wanted: Callable[[int], bool], max_blocks: int) -> BlockRange:
    """Return the run that begins at ``start`` and goes on while the next block ``is_wanted`` too."""
    stop = start + 1
    while stop - start < max_blocks and is_wanted(stop):
        stop += 1
    return BlockRange(start, stop)
