"""The files that are open in this process, one ``OpenFile`` a binding."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from weakref import WeakValueDictionary, finalize

import trio

from ..core.manifest import Proof, binding_of
from ..core.model import Binding
from ..core.request import Trust
from ..store.blocks import Store, StoredFile
from .openfile import OpenFile
from .peerset import PeerSet
from .providers import ProviderBook

MAX_KEPT_FILES = 128
"""Kept open for the next open of the same name: one or two descriptors and a few KB each."""
KEPT_S = 30.0
"""After its last reader. Who reads in bursts, a notebook, opens a file again within seconds."""
MAX_KEPT_BLOCKS = 512 * 1024
"""Of all that are kept, 128 GiB: a block takes 34 bytes of memory, its flags and its digest."""


class OpenFiles:
    """Opens each binding once, however many ask, and keeps the latest open.

    A file is closed when nobody refers to it any more, neither this nor a reader, a located name or a run: a
    descriptor is never closed, and its number given to another file, under somebody who reads.
    """

    def __init__(self, store: Store, peers: PeerSet, *, on_open: Callable[[OpenFile], None]) -> None:
        """``on_open`` is told of each file that wasn't open: a kill may have left it complete and unproven."""
        self._store = store
        self._peers = peers
        self._on_open = on_open
        self._files: WeakValueDictionary[Binding, OpenFile] = WeakValueDictionary()
        self._kept: OrderedDict[OpenFile, float] = OrderedDict()  # when each was last found, or seen with a reader
        self._finalizers: list[finalize[[StoredFile], OpenFile]] = []
        self._unused: deque[StoredFile] = deque()

    def __iter__(self) -> Iterator[OpenFile]:
        return iter(list(self._files.values()))

    def find(self, binding: Binding) -> OpenFile | None:
        file = self._files.get(binding)
        if file is None or file.retired:
            return None
        self._keep(file)
        return file

    async def open(self, proof: Proof, trust: Trust) -> OpenFile:
        """Return the file's shared state; ``trust`` only ever grows from claimed to better."""
        binding = binding_of(proof)
        if file := self.find(binding):
            return _trusted(file, trust)
        self._close_unused()
        stored = await trio.to_thread.run_sync(self._store.open, proof)
        if file := self.find(binding):  # somebody else was quicker
            stored.close()
            return _trusted(file, trust)
        file = OpenFile(proof, stored, ProviderBook(binding, self._peers), trust)
        # Not closed by the finalizer itself: the collector may run it in any thread, and under the store's lock.
        self._finalizers.append(finalize(file, self._unused.append, stored))
        self._files[binding] = file
        self._keep(file)
        self._on_open(file)
        return file

    def _keep(self, file: OpenFile) -> None:
        self._kept[file] = trio.current_time()
        self._kept.move_to_end(file)
        n_blocks = sum(kept.layout.n_blocks for kept in self._kept)
        while len(self._kept) > 1 and (len(self._kept) > MAX_KEPT_FILES or n_blocks > MAX_KEPT_BLOCKS):
            dropped, _ = self._kept.popitem(last=False)
            n_blocks -= dropped.layout.n_blocks

    def close_idle(self) -> None:
        """Close the files that nobody has read from for ``KEPT_S``: while they are open they can't be evicted whole."""
        now = trio.current_time()
        for file, used_at in list(self._kept.items()):
            if file.n_readers or file.flights or file.is_being_proven:
                self._kept[file] = now
            elif now - used_at >= KEPT_S:
                del self._kept[file]
        self._close_unused()

    def _close_unused(self) -> None:
        while self._unused:
            self._unused.popleft().close()
        self._finalizers = [finalizer for finalizer in self._finalizers if finalizer.alive]

    def close(self) -> None:
        """Close everything; nobody may be reading any more."""
        self._kept.clear()
        for finalizer in self._finalizers:
            alive = finalizer.peek()
            if alive is not None and not alive[0].is_left_open:
                finalizer()
        self._close_unused()


def _trusted(file: OpenFile, trust: Trust) -> OpenFile:
    if file.trust is Trust.CLAIMED or trust is Trust.PROVEN:
        file.trust = trust
    return file
