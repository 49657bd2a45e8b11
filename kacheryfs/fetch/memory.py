"""Verified blocks that the store could not keep, in memory for a while: a full disk must not make reading slow."""

from __future__ import annotations

from collections import OrderedDict

from ..core.manifest import VerifiedBlock
from ..core.model import Binding

MAX_BYTES = 64 * 1024 * 1024


class MemoryBlocks:
    """The most recently used unstored blocks, ``MAX_BYTES`` of them at most (one more where a block is larger)."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._blocks: OrderedDict[tuple[Binding, int], VerifiedBlock] = OrderedDict()
        self._n_bytes = 0

    def put(self, binding: Binding, block: VerifiedBlock) -> None:
        old = self._blocks.pop((binding, block.index), None)
        self._n_bytes += len(block.data) - (len(old.data) if old else 0)
        self._blocks[(binding, block.index)] = block
        while self._n_bytes > self._max_bytes and len(self._blocks) > 1:
            _, dropped = self._blocks.popitem(last=False)
            self._n_bytes -= len(dropped.data)

    def find(self, binding: Binding, block: int) -> VerifiedBlock | None:
        found = self._blocks.get((binding, block))
        if found:
            self._blocks.move_to_end((binding, block))
        return found

    def forget(self, binding: Binding) -> None:
        """Drop the blocks of a file whose manifest was proven false."""
        for name in [name for name in self._blocks if name[0] == binding]:
            self._n_bytes -= len(self._blocks.pop(name).data)
