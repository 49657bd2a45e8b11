"""The engine as its users see it: names in, files, trees and the state of reading out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

from ..core.model import MAX_BLOCK_BYTES, ByteRange, Sha1
from ..core.request import FileRequest
from ..core.tree import Tree, decode_tree
from ..errors import ProofError, StoreError
from ..peers.peer import Peer
from ..store.blocks import Store
from ..store.catalog import Catalog
from .coreaders import CoReaders
from .counters import Counters
from .files import OpenFiles
from .finder import Finder
from .local import LocalFiles
from .locate import Locator
from .located import Located, LocatedFile
from .memory import MemoryBlocks
from .metadata import Metadata
from .onceasked import OnceAsked
from .openfile import OpenFile
from .peerset import PeerSet
from .prefetch import Prefetch, ignore_progress
from .prover import Prover
from .reader import NOW_BUFFER_BYTES, Engines
from .recent import Recent
from .revival import Revival
from .roots import RootFinder
from .scheduler import Scheduler
from .tasks import Tasks
from .throttle import Throttle
from .transfer import Transfer
from .trees import Trees
from .waits import Waits


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """The settings that the engine obeys."""

    read_timeout_s: float = 300.0
    lookup_timeout_s: float = 5.0
    whole_file_limit_bytes: int = 64 * 1024 * 1024
    readahead_bytes: int = 16 * 1024 * 1024
    require_manifest: bool = False
    download_bytes_per_s: float | None = None
    """Of the bytes of files, all runs together; None: as fast as they come."""
    peer_id: bytes | None = None
    """By what others know us, who serve this very store while we read into it; None: nobody serves it."""
    is_offline: bool = False
    """Nobody is asked anything: what isn't here fails at once."""


class Engine:
    """Everything that fetches; made by ``open_engine``, which runs its tasks."""

    def __init__(self, store: Store, catalog: Catalog, limits: EngineLimits, nursery: trio.Nursery) -> None:
        self.limits = limits
        tasks = Tasks(nursery)
        self.peers = PeerSet(tasks, our_id=limits.peer_id, is_offline=limits.is_offline)
        self.counters = Counters()
        memory = MemoryBlocks()
        self.prover = Prover(self.peers, memory, tasks)
        self.files = OpenFiles(store, self.peers, on_open=self.prover.consider)
        self.waits = Waits(limits.read_timeout_s)
        metadata = Metadata(store, self.peers, tasks)
        transfer = Transfer(metadata, Recent(), Throttle(limits.download_bytes_per_s))
        self.scheduler = Scheduler(
            self.peers,
            transfer,
            memory,
            tasks,
            self.counters,
            our_id=limits.peer_id,
            on_progress=self.prover.consider,
        )
        self.finder = finder = Finder(self.peers, limits.lookup_timeout_s, tasks, on_found=self.scheduler.retry_stalled)
        now_buffer = memoryview(bytearray(NOW_BUFFER_BYTES))
        engines = Engines(
            self.scheduler, metadata, memory, self.waits, self.counters, limits.readahead_bytes, now_buffer
        )
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
        CoReaders(self.scheduler.fleet, finder, self.files, self.peers, limits.peer_id).start(tasks)
        self._located: OnceAsked[Located] = OnceAsked(tasks)
        self._decoded: OnceAsked[Tree] = OnceAsked(tasks)
        self._trees = Trees()

    def add_peer(self, peer: Peer) -> None:
        self.peers.add(peer)

    async def locate(self, request: FileRequest, *, allow_claims: bool = False) -> Located:
        """Return the file that a name means; see ``Locator.locate``."""
        return await self._located.get((request, allow_claims), partial(self._locate, request, allow_claims))

    async def _locate(self, request: FileRequest, allow_claims: bool) -> Located:
        try:
            return await self._locator.locate(request, allow_claims=allow_claims)
        except OSError as exc:
            raise StoreError(f"sha1 {request.sha1.short}: this machine's disk fails: {exc.strerror or exc}") from exc

    async def get_tree(self, sha1: Sha1) -> Tree:
        """Return a tree, its JSON fetched whole and proven by its SHA-1; ProofError where it isn't a tree."""
        return self._trees.find(sha1) or await self._decoded.get(sha1, partial(self._decode_tree, sha1))

    async def _decode_tree(self, sha1: Sha1) -> Tree:
        data = await self._read_small(sha1)
        tree = await trio.to_thread.run_sync(decode_tree, data)
        self._trees.put(sha1, tree, len(data))
        return tree

    async def _read_small(self, sha1: Sha1) -> bytes:
        """Return all of a file that metadata is made of, a tree's JSON or a legacy manifest, proven by its SHA-1."""
        located = await self._locate(FileRequest(sha1), True)
        if located.size_bytes > MAX_BLOCK_BYTES:
            raise ProofError(f"sha1 {sha1.short}: {located.size_bytes} bytes are too many for a tree or a manifest")
        reader = located.open()
        try:
            data = bytes(await reader.read(0, located.size_bytes))
        finally:
            reader.close()
        # Above ``whole_file_limit`` what was read is proven by a claimed manifest alone.
        if await trio.to_thread.run_sync(Sha1.of, data) != sha1:
            raise ProofError(f"sha1 {sha1.short}: what peers claim it to be has another SHA-1")
        return data

    async def prefetch(
        self, located: Located, span: ByteRange, *, on_progress: Callable[[int], None] | None = None
    ) -> None:
        """Return once all of ``span`` is in the store; what is there already is not fetched again.

        ``on_progress`` is told how many bytes of the span's blocks are present, again and again. Readers come first.
        StoreError where the store can't keep a block, TimedOutError where nobody gives one within ``read_timeout``.
        """
        if isinstance(located, LocatedFile):
            prefetch = Prefetch(located.file, located.trust, self.scheduler, self.waits, on_progress or ignore_progress)
            await prefetch.run(span)
        elif on_progress:
            on_progress(len(span))  # an original: all of it is here

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
            await engine.prover.finish()
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
