"""The files that are open in this process, one ``OpenFile`` a binding, and a bounded number of idle ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

import trio

from ..core.manifest import Proof, binding_of
from ..core.model import Binding
from ..core.request import Trust
from ..store.blocks import Store
from .openfile import OpenFile
from .peerset import PeerSet
from .providers import ProviderBook

MAX_IDLE_FILES = 256
"""Kept open with nobody reading: a descriptor and a few KB each, for the next open of the same name."""


class OpenFiles:
    """Opens each binding once, however many ask."""

    def __init__(self, store: Store, peers: PeerSet, *, on_open: Callable[[OpenFile], None]) -> None:
        """``on_open`` is told of each file that wasn't open: a kill may have left it complete and unproven."""
        self._store = store
        self._peers = peers
        self._on_open = on_open
        self._files: OrderedDict[Binding, OpenFile] = OrderedDict()

    def __iter__(self) -> Iterator[OpenFile]:
        return iter(list(self._files.values()))

    def find(self, binding: Binding) -> OpenFile | None:
        file = self._files.get(binding)
        if file is None or file.retired:
            return None
        self._files.move_to_end(binding)
        return file

    async def open(self, proof: Proof, trust: Trust) -> OpenFile:
        """Return the file's shared state; ``trust`` only ever grows from claimed to better."""
        binding = binding_of(proof)
        if file := self.find(binding):
            return _trusted(file, trust)
        stored = await trio.to_thread.run_sync(self._store.open, proof)
        if file := self.find(binding):  # somebody else was quicker
            stored.close()
            return _trusted(file, trust)
        file = OpenFile(proof, stored, ProviderBook(binding, self._peers), trust)
        self._files[binding] = file
        self._on_open(file)
        self._close_idle()
        return file

    def _close_idle(self) -> None:
        idle = [binding for binding, file in self._files.items() if file.is_idle]
        for binding in idle[: max(len(idle) - MAX_IDLE_FILES, 0)]:
            self._files.pop(binding).stored.close()

    def close(self) -> None:
        """Close everything; nobody may be reading any more."""
        while self._files:
            self._files.popitem()[1].stored.close()


def _trusted(file: OpenFile, trust: Trust) -> OpenFile:
    if file.trust is Trust.CLAIMED:
        file.trust = trust
    return file
