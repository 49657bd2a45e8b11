"""The runs that are under way: each a task in the engine's nursery, begun here and heard of again when it has ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial

import trio

from ..core.manifest import VerifiedBlock
from ..core.plan import grow_run
from ..errors import PeerError, PeerUnreachableError
from .choosing import Choice
from .counters import Counters
from .flights import Flight, FlightState
from .loads import Loads
from .memory import MemoryBlocks
from .openfile import OpenFile
from .overdue import SHORTEST_S, find_overdue_at
from .runs import Run, run_bytes, run_timeout_s
from .tasks import Tasks
from .transfer import Transfer

log = logging.getLogger(__name__)

MAX_BUFFER_BYTES = 96 * 1024 * 1024
"""Of all runs together: small files proven whole, and legacy chunks, take up to 64 MiB each."""


class Fleet:
    """Starts runs, lands what they bring, ends those that others have overtaken, and tells which are overdue."""

    def __init__(
        self,
        transfer: Transfer,
        memory: MemoryBlocks,
        tasks: Tasks,
        counters: Counters,
        *,
        on_end: Callable[[Run, PeerError | None], None],
    ) -> None:
        """``on_end`` is told of every run that is over, and of what went wrong with it."""
        self._transfer = transfer
        self._memory = memory
        self._tasks = tasks
        self._counters = counters
        self._on_end = on_end
        self._runs: set[Run] = set()
        self._any = trio.Event()
        self.loads = Loads()

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._runs))

    async def wait_for_any(self) -> None:
        """Return while anything is under way."""
        if not self._runs and self._any.is_set():
            self._any = trio.Event()
        await self._any.wait()

    def start(self, file: OpenFile, flight: Flight, choice: Choice) -> bool:
        """Start a run that begins with ``flight``, and with what may follow it; False: no buffer is free now."""
        provider = choice.provider
        max_blocks = max(run_bytes(file, provider, flight, choice.hold_s) // file.layout.block_bytes, 1)
        blocks = grow_run(flight.block, lambda block: _may_follow(file, flight, block, choice), max_blocks)
        run = Run(file, provider, blocks, choice.hold_s)
        held = sum(other.buffer_bytes for other in self._runs)
        if self._runs and held + run.buffer_bytes > MAX_BUFFER_BYTES:
            return False
        for carried in run.flights:
            carried.state = FlightState.RUNNING
            carried.carriers.append(provider.peer.url)
        self._runs.add(run)
        self._any.set()
        if run.hold_s:
            self.loads.begin_held(provider.peer)
        else:
            self.loads.begin(provider.peer, run.n_bytes)
        self._tasks.start_soon(self._fly, run)
        return True

    async def _fly(self, run: Run) -> None:
        self._on_end(run, await self._carry(run))

    async def _carry(self, run: Run) -> PeerError | None:
        """Carry a run to its end, good or bad; return what went wrong."""
        url = run.provider.peer.url
        try:
            with run.scope:
                await self._transfer.carry(run, partial(self._land, run))
        except PeerError as exc:
            return exc
        except Exception as exc:
            # An outer edge: a defect in one run must not end the engine, and with it the mount and every reader.
            log.exception("a run of sha1 %s failed in a way that it should not", run.file.proof.sha1.short)
            return PeerError(f"{url}: internal error, {type(exc).__name__} (see the log)")
        finally:
            self._runs.discard(run)
            if run.hold_s:
                self.loads.end_held(run.provider.peer)
            else:
                self.loads.end(run.provider.peer, run.n_unlanded_bytes)
            self._count(run)
        if run.scope.cancelled_caught and not run.is_needless:
            return PeerUnreachableError(
                f"{url}: did not send {run.n_bytes} bytes within {run_timeout_s(run.n_bytes):.0f} s"
            )
        return None

    def _count(self, run: Run) -> None:
        received = self._counters.received[run.provider.peer.url]
        received.n_bytes += run.received_bytes
        received.wasted_bytes += run.received_bytes - run.useful_bytes

    def _land(self, run: Run, block: int, unstored: VerifiedBlock | None) -> None:
        run.note_landed(block, trio.current_time())
        if not run.hold_s:
            self.loads.land(run.provider.peer, run.file.layout.block_size(block))
        if unstored and not run.file.retired:
            self._memory.put(run.file.binding, unstored)
        flight = run.file.flights.pop(block, None)
        if flight is None:
            return  # another was quicker
        run.useful_bytes += run.file.layout.block_size(block)
        flight.land(unstored)
        if len(flight.carriers) > 1:
            self._end_needless(run, flight)

    def _end_needless(self, winner: Run, flight: Flight) -> None:
        """End the runs that have nothing left to land since ``winner`` has landed ``flight``."""
        for run in self._runs:
            if run is not winner and flight in run.flights and run.is_needless:
                run.scope.cancel()

    def find_overdue_at(self, run: Run) -> float | None:
        """Return when a run is overdue if it lands nothing before, None where nobody else can be asked."""
        return find_overdue_at(run, self.loads, self._transfer.throttle.bytes_per_s)

    def take_overdue(self, now: float, lag_s: float) -> list[Run]:
        """Return the runs that are overdue, each of whose peers is thought slow from now on.

        ``lag_s`` is for how long this process did not come to look: what came meanwhile isn't received yet.
        """
        overdue = []
        for run in self._runs:
            run.progress_at += lag_s
            if now < max(run.progress_at, run.looked_at) + SHORTEST_S:
                continue
            run.looked_at = now
            overdue_at = self.find_overdue_at(run)
            if overdue_at is not None and overdue_at <= now:
                run.note_overdue(now, self.loads.of(run.provider.peer).n_runs)
                overdue.append(run)
        return overdue


def _may_follow(file: OpenFile, first: Flight, block: int, choice: Choice) -> bool:
    """Tell whether ``block`` may go with a run that ends before it."""
    flight = file.flights.get(block)
    if flight is None or flight.state is not FlightState.PENDING:
        return False
    if flight.is_guessed is not first.is_guessed and file.providers.has_partial:
        return False  # among those who read together only what was guessed is left to its owner
    url = choice.provider.peer.url
    return url not in flight.tried and url not in flight.carriers and choice.may_follow(block)
