"""Decoded trees, kept for the next lookup in them."""

from __future__ import annotations

from collections import OrderedDict

from ..core.model import Sha1
from ..core.tree import Tree

MAX_JSON_BYTES = 8 * 1024 * 1024
"""Of all trees kept, but for the latest: one of 10,000 entries has 1.2 MB of JSON and takes about 5 MB decoded."""


class Trees:
    """The most recently used trees, by the size of their JSON."""

    def __init__(self, max_json_bytes: int = MAX_JSON_BYTES) -> None:
        self._max_json_bytes = max_json_bytes
        self._trees: OrderedDict[Sha1, tuple[Tree, int]] = OrderedDict()
        self._json_bytes = 0

    def find(self, sha1: Sha1) -> Tree | None:
        if sha1 not in self._trees:
            return None
        self._trees.move_to_end(sha1)
        return self._trees[sha1][0]

    def put(self, sha1: Sha1, tree: Tree, json_bytes: int) -> None:
        if sha1 in self._trees:
            return
        self._trees[sha1] = (tree, json_bytes)
        self._json_bytes += json_bytes
        while self._json_bytes > self._max_json_bytes and len(self._trees) > 1:
            _, (_, dropped) = self._trees.popitem(last=False)
            self._json_bytes -= dropped
