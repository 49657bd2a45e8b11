"""Holds a file that is wholly present against its SHA-1, in the background."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from ..core.model import Binding
from ..core.request import Trust
from ..errors import ClaimError, ProofError, StoreError
from .memory import MemoryBlocks
from .openfile import OpenFile
from .peerset import PeerSet
from .tasks import Tasks

log = logging.getLogger(__name__)

FINISH_TIMEOUT_S = 10.0
"""At the end of an engine: 7 GB. What takes longer is proven when the file is opened the next time."""


class Prover:
    """Proves complete files one at a time: SHA-1 runs at 0.7 GB/s, and one core is left to readers."""

    def __init__(self, peers: PeerSet, memory: MemoryBlocks, tasks: Tasks) -> None:
        self._peers = peers
        self._memory = memory
        self._tasks = tasks
        self._limit = trio.CapacityLimiter(1)
        self._n_proofs = 0
        self._all_done = trio.Event()
        self._listeners: list[Callable[[Binding], None]] = []

    def on_refuted(self, listener: Callable[[Binding], None]) -> None:
        """Call ``listener`` with each binding whose manifest turns out to be of another file."""
        self._listeners.append(listener)

    def consider(self, file: OpenFile) -> None:
        """Start proving ``file`` if everything of it is present and it isn't proven yet."""
        stored = file.stored
        if stored.is_proven or file.is_being_proven or file.retired:
            return
        if stored.is_full():
            file.is_being_proven = True
            if not self._n_proofs:
                self._all_done = trio.Event()
            self._n_proofs += 1
            self._tasks.start_soon(self._prove, file)

    async def finish(self) -> None:
        """Wait for the proofs that are under way, for a while."""
        if self._n_proofs:
            with trio.move_on_after(FINISH_TIMEOUT_S):
                await self._all_done.wait()

    async def _prove(self, file: OpenFile) -> None:
        try:
            # Abandoned when the engine has ended: an 87 GB file takes two minutes, and a kill spoils nothing.
            if await trio.to_thread.run_sync(file.stored.prove, limiter=self._limit, abandon_on_cancel=True):
                file.trust = Trust.PROVEN
        except trio.Cancelled:
            file.is_left_open = True
            raise
        except ProofError as exc:
            self._retire(file, exc)
        except StoreError as exc:
            log.log(exc.log_level, "%s", exc)
        finally:
            file.is_being_proven = False
            self._n_proofs -= 1
            if not self._n_proofs:
                self._all_done.set()

    def _retire(self, file: OpenFile, error: ProofError) -> None:
        manifest = file.proof.manifest.short if file.proof.manifest else "its size"
        file.retire(f"the whole file has another SHA-1, so manifest {manifest} is not of it: its blocks were dropped")
        self._memory.forget(file.binding)
        for peer in file.claimants:
            for name in (None, file.proof.manifest):
                self._peers.ban(peer, file.proof.sha1, name, "it claimed a false manifest")
        for listener in self._listeners:
            listener(file.binding)
        log.log(ClaimError.log_level, "sha1 %s: %s (%s)", file.proof.sha1.short, file.retired, error)
