"""The engine as its users see it: names in, files, trees and the state of reading out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from ..core.model import MAX_BLOCK_BYTES, Sha1
from ..core.request import FileRequest
from ..core.tree import Tree, decode_tree
from ..errors import ProofError
from ..peers.peer import Peer
from ..store.blocks import Store
from ..store.catalog import Catalog
from .files import OpenFiles
from .finder import Finder
from .local import LocalFiles
from .locate import Locator
from .located import Located
from .memory import MemoryBlocks
from .metadata import Metadata
from .openfile import OpenFile
from .peerset import PeerSet
from .prover import Prover
from .reader import NOW_BUFFER_BYTES, Engines
from .revival import Revival
from .roots import RootFinder
from .scheduler import Scheduler
from .tasks import Tasks
from .transfer import Buffers, Transfer
from .waits import Waits

MAX_TREES = 64
"""Decoded trees kept: one of 10,000 entries takes about 5 MB."""


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """The settings that the engine obeys."""

    read_timeout_s: float = 300.0
    lookup_timeout_s: float = 5.0
    whole_file_limit_bytes: int = 64 * 1024 * 1024
    readahead_bytes: int = 16 * 1024 * 1024
    require_manifest: bool = False


class Engine:
    """Everything that fetches; made by ``open_engine``, which runs its tasks."""

    def __init__(self, store: Store, catalog: Catalog, limits: EngineLimits, nursery: trio.Nursery) -> None:
        self.limits = limits
        tasks = Tasks(nursery)
        self.peers = PeerSet(tasks)
        prover = Prover(self.peers, tasks)
        self.files = OpenFiles(store, self.peers, on_open=prover.consider)
        self.waits = Waits(limits.read_timeout_s)
        memory = MemoryBlocks()
        metadata = Metadata(store, self.peers, tasks)
        self.scheduler = Scheduler(
            self.peers, Transfer(metadata, Buffers()), memory, tasks, on_progress=prover.consider
        )
        finder = Finder(self.peers, limits.lookup_timeout_s, tasks, on_found=self.scheduler.retry_stalled)
        now_buffer = memoryview(bytearray(NOW_BUFFER_BYTES))
        engines = Engines(self.scheduler, metadata, memory, self.waits, limits.readahead_bytes, now_buffer)
        self._locator = Locator(
            LocalFiles(store, catalog),
            self.files,
            finder,
            RootFinder(finder, metadata, self.peers),
            engines,
            read_legacy=self._read_small,
            require_manifest=limits.require_manifest,
            whole_file_limit_bytes=min(limits.whole_file_limit_bytes, MAX_BLOCK_BYTES),
        )
        self.peers.on_change(self._locator.forget_recent)
        Revival(self.scheduler, finder, self.files, self.peers).start(tasks)
        self._trees: OrderedDict[Sha1, Tree] = OrderedDict()

    def add_peer(self, peer: Peer) -> None:
        self.peers.add(peer)

    async def locate(self, request: FileRequest) -> Located:
        """Return the file that a name means; see ``Locator.locate``."""
        return await self._locator.locate(request)

    async def get_tree(self, sha1: Sha1) -> Tree:
        """Return a tree, its JSON fetched whole and proven by its SHA-1; ProofError where it isn't a tree."""
        tree = self._trees.get(sha1)
        if tree is None:
            tree = await trio.to_thread.run_sync(decode_tree, await self._read_small(sha1))
            self._trees[sha1] = tree
            while len(self._trees) > MAX_TREES:
                self._trees.popitem(last=False)
        self._trees.move_to_end(sha1)
        return tree

    async def _read_small(self, sha1: Sha1) -> bytes:
        """Return all of a file that metadata is made of: a tree's JSON, a legacy manifest."""
        located = await self._locator.locate(FileRequest(sha1), allow_claims=True)
        if located.size_bytes > MAX_BLOCK_BYTES:
            raise ProofError(f"sha1 {sha1.short}: {located.size_bytes} bytes are too many for a tree or a manifest")
        reader = located.open()
        try:
            return bytes(await reader.read(0, located.size_bytes))
        finally:
            reader.close()

    def cancel(self, file: OpenFile | None = None) -> int:
        """End the waiting reads of ``file``, or all; return how many."""
        return self.waits.cancel(file)


@asynccontextmanager
async def open_engine(store: Store, catalog: Catalog, limits: EngineLimits) -> AsyncIterator[Engine]:
    """Run an engine for the length of the block; its peers are closed at the end, its downloads ended."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        engine = Engine(store, catalog, limits, nursery)
        try:
            yield engine
        except Exception as exc:
            failure = exc  # raised below: out of the nursery it would come wrapped in a group
        finally:
            engine.waits.close()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                for peer in list(engine.peers):
                    await peer.aclose()
    engine.files.close()
    if failure is not None:
        raise failure
