"""Downloads: one flight a block, demand before readahead, another provider where one fails or is overdue.

Theory of operation. ``ensure`` and ``hint`` put flights into their file's table as PENDING. ``_pump`` turns pending
flights into runs: consecutive blocks, one provider, one task in the engine's nursery. A run lands its blocks one by
one. What it could not land goes back to PENDING with the failure noted, so that the next run asks somebody else; where
nobody can be asked a flight is STALLED until ``Revival`` finds somebody. A reader that is cancelled only stops
waiting; a pending flight that nobody waits for is dropped when its turn comes. State changes in sync methods alone.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from functools import partial

import trio

from ..core.manifest import VerifiedBlock
from ..core.plan import grow_run
from ..errors import PeerError, PeerLackedGroupError, PeerLacksError, PeerUnreachableError
from .flights import Flight, FlightState
from .loads import Loads
from .memory import MemoryBlocks
from .openfile import OpenFile
from .peerset import PeerSet
from .providers import Provider
from .runs import Run, overdue_s, run_bytes, run_timeout_s
from .stalled import Stalled
from .tasks import Tasks
from .transfer import Transfer

log = logging.getLogger(__name__)

MAX_RUNS = 48
"""Runs at once; each holds a buffer of 1 MiB, or of one block where blocks are larger."""
MAX_AHEAD_RUNS = 8
"""Of these, begun for readahead: the rest is kept for demand."""
MAX_BUFFER_BYTES = 96 * 1024 * 1024
"""Of all runs together: small files proven whole, and legacy chunks, take up to 64 MiB each."""
MAX_QUEUED_HINTS = 4096
"""The windows of 64 streams, at half a KB a block."""
_BUFFERS = ""
"""Under this, and not a peer's URL, is parked what waits for buffers."""

Queued = tuple[OpenFile, Flight]


class Scheduler:
    """Owns every download of this process."""

    def __init__(
        self,
        peers: PeerSet,
        transfer: Transfer,
        memory: MemoryBlocks,
        tasks: Tasks,
        *,
        on_progress: Callable[[OpenFile], None],
    ) -> None:
        """``on_progress`` is told of every file that a run has landed blocks of."""
        self._peers = peers
        self._transfer = transfer
        self._memory = memory
        self._tasks = tasks
        self._on_progress = on_progress
        self._demand: deque[Queued] = deque()
        self._ahead: deque[Queued] = deque()
        self._parked: defaultdict[str, deque[Queued]] = defaultdict(deque)
        self._loads = Loads()
        self.stalled = Stalled()
        self.runs: set[Run] = set()
        self._any_run = trio.Event()

    # -- what readers call -------------------------------------------------------------------------------------------

    async def ensure(
        self, file: OpenFile, blocks: Iterable[int], ahead: Iterable[int] = ()
    ) -> dict[int, VerifiedBlock]:
        """Wait, without a deadline, until every block is in the store; return those that it could not keep.

        ``ahead`` are hints: what of them follows ``blocks`` comes behind them in one request.
        """
        flights = [self._join(file, block) for block in blocks]
        try:
            self.hint(file, ahead)
            for flight in flights:
                await flight.done.wait()
            return {flight.block: flight.landed for flight in flights if flight.landed}
        finally:
            for flight in flights:
                flight.leave()

    def hint(self, file: OpenFile, blocks: Iterable[int]) -> None:
        """Fetch what is missing of ``blocks`` when there is nothing better to do; dropped under load."""
        if len(self._ahead) >= MAX_QUEUED_HINTS:  # of many runs, and most came with these
            self._ahead = deque(queued for queued in self._ahead if queued[1].state is FlightState.PENDING)
        for block in blocks:
            if len(self._ahead) >= MAX_QUEUED_HINTS:
                break
            if block in file.flights or file.stored.is_present(block) or self._memory.find(file.binding, block):
                continue
            file.flights[block] = flight = Flight(block, is_demand=False)
            self._ahead.append((file, flight))
        self._pump()

    def _join(self, file: OpenFile, block: int) -> Flight:
        flight = file.flights.get(block)
        if flight is None:
            flight = file.flights[block] = Flight(block, is_demand=True)
            self._demand.append((file, flight))
        elif not flight.is_demand:
            flight.is_demand = True
            if flight.state is FlightState.PENDING:
                self._demand.append((file, flight))
        flight.waiters += 1
        return flight

    # -- from flights to runs ----------------------------------------------------------------------------------------

    def _pump(self) -> None:
        self._pump_queue(self._demand, MAX_RUNS)
        self._pump_queue(self._ahead, MAX_AHEAD_RUNS)

    def _pump_parked(self, ended: Run) -> None:
        for name in (ended.provider.peer.url, _BUFFERS):
            if name in self._parked:
                self._pump_queue(self._parked[name], MAX_RUNS, name)
                if not self._parked[name]:
                    del self._parked[name]

    def _pump_queue(self, queue: deque[Queued], max_runs: int, name: str | None = None) -> None:
        """Start what can be started; ``name`` is what those of a parked queue wait for."""
        while queue and len(self.runs) < max_runs:
            file, flight = queue[0]
            if flight.state is FlightState.PENDING and (flight.is_demand or queue is self._ahead):
                lacking = self._start(file, flight)
                if lacking is not None and (lacking == name or queue is self._ahead):
                    break
                if lacking is not None:
                    self._parked[lacking].append((file, flight))
            queue.popleft()  # also what went with an earlier run, or stands in the other queue too

    def _start(self, file: OpenFile, flight: Flight) -> str | None:
        """Start a run, or drop or stall the flight; return what is lacking where it must wait."""
        if flight.is_demand and not flight.waiters:
            self._drop(file, flight)
            return None
        provider = file.providers.choose(flight.block, file.layout.block_bytes, flight.tried, self._loads)
        if provider is None:
            self._stall(file, flight)
            return None
        if self._loads.of(provider.peer).is_full:
            return provider.peer.url
        return None if self._start_run(file, flight, provider) else _BUFFERS

    def _start_run(self, file: OpenFile, flight: Flight, provider: Provider) -> bool:
        """Start a run that begins with ``flight``; False: no buffer is free now."""
        max_blocks = max(run_bytes(provider) // file.layout.block_bytes, 1)
        blocks = grow_run(flight.block, lambda block: _may_follow(file, block, provider), max_blocks)
        run = Run(file, provider, blocks)
        held = sum(other.buffer_bytes for other in self.runs)
        if self.runs and held + run.buffer_bytes > MAX_BUFFER_BYTES:
            return False
        for carried in run.flights:
            carried.state = FlightState.RUNNING
            carried.runs += 1
        self.runs.add(run)
        self._any_run.set()
        self._loads.add(provider.peer, run.n_bytes)
        self._tasks.start_soon(self._fly, run)
        return True

    def _stall(self, file: OpenFile, flight: Flight) -> None:
        if flight.runs:
            flight.state = FlightState.RUNNING  # overdue, and nobody else to ask: the first run goes on
        elif flight.waiters:
            self.stalled.add(file, flight)
        else:
            self._drop(file, flight)

    def _drop(self, file: OpenFile, flight: Flight) -> None:
        if flight.runs:
            flight.state = FlightState.RUNNING  # it lands, or fails, with them
        else:
            flight.state = FlightState.DROPPED
            del file.flights[flight.block]

    # -- runs --------------------------------------------------------------------------------------------------------

    async def _fly(self, run: Run) -> None:
        error = await self._carry(run)
        if error is None:
            self._peers.note_success(run.provider.peer)
        else:
            run.file.providers.blame(run.provider, error)
        self._requeue_unlanded(run, error)
        if run.has_landed:
            self._on_progress(run.file)
        self._pump_parked(run)
        self._pump()

    async def _carry(self, run: Run) -> PeerError | None:
        """Carry a run to its end, good or bad; return what went wrong."""
        url = run.provider.peer.url
        try:
            with run.scope:
                await self._transfer.carry(run.file, run.provider, run.blocks, run.n_awaited, partial(self._land, run))
        except PeerError as exc:
            return exc
        except Exception as exc:
            # An outer edge: a defect in one run must not end the engine, and with it the mount and every reader.
            log.exception("a run of sha1 %s failed in a way that it should not", run.file.proof.sha1.short)
            return PeerError(f"{url}: internal error, {type(exc).__name__} (see the log)")
        finally:
            self.runs.discard(run)
            self._loads.remove(run.provider.peer, run.n_bytes)
        if run.scope.cancelled_caught and not run.is_needless:
            return PeerUnreachableError(
                f"{url}: did not send {run.n_bytes} bytes within {run_timeout_s(run.n_bytes):.0f} s"
            )
        return None

    def _land(self, run: Run, block: int, unstored: VerifiedBlock | None) -> None:
        run.progress_at = trio.current_time()
        run.has_landed = True
        if unstored and not run.file.retired:
            self._memory.put(run.file.binding, unstored)
        flight = run.file.flights.pop(block, None)
        if flight:
            flight.land(unstored)

    def _requeue_unlanded(self, run: Run, error: PeerError | None) -> None:
        unlanded = [flight for flight in run.flights if flight.state is not FlightState.LANDED]
        for flight in unlanded:
            flight.runs -= 1
        # Who has a part of the file, and lacks the first of these blocks, may have the others.
        is_of_first = run.provider.is_partial and isinstance(error, PeerLacksError)
        for flight in unlanded[: 1 if is_of_first else None] if error else []:
            flight.tried.add(run.provider.peer.url)
        for flight in unlanded:
            if isinstance(error, PeerLackedGroupError):
                self._stall(run.file, flight)
            else:
                self._requeue(run.file, flight)

    def _requeue(self, file: OpenFile, flight: Flight) -> None:
        if flight.runs:
            return  # another run carries it still
        if not flight.waiters:
            self._drop(file, flight)
            return
        flight.state, flight.is_demand = FlightState.PENDING, True
        self._demand.append((file, flight))

    # -- what Revival and Finder call --------------------------------------------------------------------------------

    def retry_stalled(self, file: OpenFile) -> None:
        """Try the stalled flights of ``file`` again, each provider with a clean slate."""
        for flight in self.stalled.take(file):
            flight.tried.clear()
            self._requeue(file, flight)
        self._unpark(file)
        self._pump()

    async def wait_for_runs(self) -> None:
        """Return while anything is under way."""
        if not self.runs:
            self._any_run = trio.Event()
        await self._any_run.wait()

    def ask_others_too(self, now: float) -> None:
        """Put what waits in overdue runs up for a second provider."""
        overdue = [run for run in self.runs if now - run.progress_at > overdue_s(run)]
        for run in overdue:
            run.progress_at = now
            if run.is_needless:
                run.scope.cancel()
            for flight in run.flights:
                if flight.waiters and flight.state is FlightState.RUNNING and flight.runs == 1:
                    flight.tried.add(run.provider.peer.url)
                    flight.state, flight.is_demand = FlightState.PENDING, True
                    self._demand.append((run.file, flight))
        if overdue:
            self._unpark()
            self._pump()

    def _unpark(self, file: OpenFile | None = None) -> None:
        """Look at what is parked, of ``file`` or all, anew: there may be other providers now."""
        for name, queue in list(self._parked.items()):
            self._demand.extendleft(parked for parked in reversed(queue) if file in (None, parked[0]))
            self._parked[name] = deque(parked for parked in queue if file not in (None, parked[0]))
            if not self._parked[name]:
                del self._parked[name]


def _may_follow(file: OpenFile, block: int, provider: Provider) -> bool:
    """Tell whether ``block`` may go with a run that ends before it."""
    flight = file.flights.get(block)
    return flight is not None and flight.state is FlightState.PENDING and provider.peer.url not in flight.tried
