"""Inode numbers: given in order, never reused, held for as long as the kernel holds them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from .nodes import Node

ROOT = 1


@dataclass(slots=True)
class _Held:
    node: Node
    key: Hashable
    n_lookups: int
    """How often the kernel was given this number, less how often it said that it forgot."""


class Inodes:
    """The numbers that the kernel knows; a few are held for ever, the rest until it forgets them."""

    def __init__(self) -> None:
        self._held: dict[int, _Held] = {}
        self._by_key: dict[Hashable, int] = {}  # Invariant: every value is a number in _held that has this key
        self._next = ROOT

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[tuple[int, Node]]:
        return iter([(inode, held.node) for inode, held in self._held.items()])

    def enter(self, key: Hashable, node: Node) -> int:
        """Return the number of what has this key, a new one if there is none; counts no lookup."""
        inode = self._by_key.get(key)
        if inode is not None:
            return inode
        inode, self._next = self._next, self._next + 1
        self._held[inode] = _Held(node, key, 0)
        self._by_key[key] = inode
        return inode

    def hold(self, key: Hashable, node: Node) -> int:
        """Enter what is never forgotten."""
        inode = self.enter(key, node)
        self._held[inode].n_lookups += 1
        return inode

    def find(self, inode: int) -> Node | None:
        held = self._held.get(inode)
        return held.node if held else None

    def find_by_key(self, key: Hashable) -> int | None:
        return self._by_key.get(key)

    def update(self, inode: int, node: Node) -> None:
        """Let a number stand for the same thing with more known about it."""
        self._held[inode].node = node

    def count_lookup(self, inode: int) -> None:
        """Note that the kernel was given this number once more."""
        self._held[inode].n_lookups += 1

    def forget(self, inode: int, n_lookups: int) -> None:
        """Note that the kernel forgot; 0 drops a number that it was never given."""
        held = self._held.get(inode)
        if held is None:
            return
        held.n_lookups -= n_lookups
        if held.n_lookups <= 0:
            del self._held[inode]
            self._drop_key(inode, held)

    def retire(self, inode: int) -> None:
        """Never give this number again: the next lookup gets a new one. It stays readable until it is forgotten."""
        held = self._held.get(inode)
        if held is not None:
            self._drop_key(inode, held)

    def _drop_key(self, inode: int, held: _Held) -> None:
        if self._by_key.get(held.key) == inode:
            del self._by_key[held.key]
