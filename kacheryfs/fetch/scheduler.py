"""Downloads: one flight a block, demand before readahead before prefetch, others where one fails or is overdue.

Theory of operation. ``ensure``, ``hint`` and ``join`` put flights into their file's table as PENDING. ``pump`` turns
pending flights into runs of the ``fleet``: consecutive blocks, one provider. A run lands its blocks one by one. What it
could not land goes back to PENDING with the failure noted, so that the next run asks somebody else; where nobody can be
asked a flight is STALLED until ``Revival`` finds somebody. Of a run that is overdue all goes to others too, and whoever
lands a block first wins. A reader that is cancelled only stops waiting; a pending flight that nobody waits for is
dropped when its turn comes. State changes in sync methods alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from ..core.manifest import VerifiedBlock
from ..errors import OfflineError, PeerError, PeerLackedGroupError, PeerLacksError
from .choosing import Chooser
from .counters import Counters
from .describing import BlockReport, describe_block
from .fleet import Fleet
from .flights import Flight, FlightState, Urgency
from .memory import MemoryBlocks
from .openfile import OpenFile
from .overdue import OVERDUE_WORD
from .peerset import PeerSet
from .queues import Queued, Queues, is_waiting
from .runs import Run
from .stalled import Stalled
from .tasks import Tasks
from .transfer import Transfer

MAX_RUNS = {Urgency.DEMAND: 64, Urgency.AHEAD: 40, Urgency.PREFETCH: 16}
"""Runs at once, up to which one of this urgency may begin: what is left is kept for the more urgent.

Each holds a buffer of 1 MiB while bytes come, or of one block where blocks are larger.
"""
MAX_CARRIERS = 3
"""Runs that carry one block at once."""
_BUFFERS = ""
"""Under this, and not a peer's URL, is parked what waits for buffers."""


class Scheduler:
    """Owns every download of this process."""

    def __init__(
        self,
        peers: PeerSet,
        transfer: Transfer,
        memory: MemoryBlocks,
        tasks: Tasks,
        counters: Counters,
        *,
        our_id: bytes | None,
        on_progress: Callable[[OpenFile], None],
    ) -> None:
        """``our_id`` is by what others know us, where we serve.

        ``on_progress`` is told of every file that a run has landed blocks of.
        """
        self._peers = peers
        self._memory = memory
        self._on_progress = on_progress
        self.queues = Queues()
        self.stalled = Stalled()
        self.fleet = Fleet(transfer, memory, tasks, counters, on_end=self._end)
        self._chooser = Chooser(self.fleet.loads, our_id)

    # -- what readers call -------------------------------------------------------------------------------------------

    async def ensure(
        self, file: OpenFile, blocks: Collection[int], behind: Collection[int] = (), ahead: Collection[int] = ()
    ) -> dict[int, VerifiedBlock]:
        """Wait, without a deadline, until every block is in the store; return those that it could not keep.

        What of ``behind`` and ``ahead`` follows ``blocks`` comes behind them in one request; ``ahead`` are hints, and
        ``behind`` belongs to what is demanded, nobody is to wait for it elsewhere. OfflineError.
        """
        n_together = len(blocks) + len(behind) + len(ahead)
        flights = [self.join(file, block, Urgency.DEMAND, n_together) for block in blocks]
        try:
            for block in behind:
                self._add_ahead(file, block, n_together, is_guessed=False)
            self.hint(file, ahead)
            for flight in flights:
                await flight.done.wait()
            return {flight.block: flight.landed for flight in flights if flight.landed}
        finally:
            for flight in flights:
                flight.leave()

    def hint(self, file: OpenFile, blocks: Collection[int]) -> None:
        """Fetch what is missing of ``blocks`` when there is nothing better to do; dropped under load."""
        for block in blocks:
            if self._peers.is_offline or not self.queues.has_room_for_hints:
                break
            self._add_ahead(file, block, len(blocks), is_guessed=True)
        self.pump()

    def _add_ahead(self, file: OpenFile, block: int, n_together: int, *, is_guessed: bool) -> None:
        if not (block in file.flights or file.stored.is_present(block) or self._memory.find(file.binding, block)):
            self._add(file, block, Urgency.AHEAD, n_together, is_guessed=is_guessed)

    def join(self, file: OpenFile, block: int, urgency: Urgency, n_together: int) -> Flight:
        """Wait for one of ``n_together`` blocks: the caller pumps, waits for ``done``, and leaves it. OfflineError."""
        flight = file.flights.get(block)
        if flight is None:
            if self._peers.is_offline:
                raise OfflineError(
                    f"sha1 {file.proof.sha1.short}, block {block}: not here, and nobody is asked offline"
                )
            flight = self._add(file, block, urgency, n_together, is_guessed=urgency is not Urgency.DEMAND)
        elif urgency < flight.urgency:
            flight.urgency = urgency
            if flight.state is FlightState.PENDING:
                self.queues.add(file, flight)
        flight.waiters += 1
        return flight

    def _add(self, file: OpenFile, block: int, urgency: Urgency, n_together: int, *, is_guessed: bool) -> Flight:
        flight = file.flights[block] = Flight(block, urgency, n_together, is_guessed=is_guessed)
        self.queues.add(file, flight)
        return flight

    def describe(self, file: OpenFile, block: int) -> BlockReport:
        """Return what there is to say about one block now."""
        return describe_block(file, block, self.fleet)

    # -- from flights to runs ----------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Start what can be started."""
        for urgency, queue in self.queues.by_urgency.items():
            self._pump_queue(queue, urgency)

    def _pump_parked(self, ended: Run) -> None:
        for name in (ended.provider.peer.url, _BUFFERS):
            if name in self.queues.parked:
                self._pump_queue(self.queues.parked[name], Urgency.DEMAND, name)
                self.queues.forget_empty(name)
        if not self.fleet.loads.of(ended.provider.peer).n_runs:
            self.queues.unpark_from(ended.provider.peer.url)

    def _pump_queue(self, queue: deque[Queued], urgency: Urgency, name: str | None = None) -> None:
        """Start what can be started; ``name`` is what those of a parked queue wait for."""
        while queue and len(self.fleet) < MAX_RUNS[urgency]:
            file, flight = queue[0]
            lacking = self._start(file, flight) if is_waiting(flight, urgency) else None
            if lacking is not None and (lacking == name or urgency is not Urgency.DEMAND):
                break
            if lacking is not None:
                self.queues.park(lacking, file, flight)
            queue.popleft()  # also what went with an earlier run, or stands in another queue too

    def _start(self, file: OpenFile, flight: Flight) -> str | None:
        """Start a run, or drop or stall the flight; return what is lacking where it must wait."""
        if flight.urgency is not Urgency.AHEAD and not flight.waiters:
            self._drop(file, flight)
            return None
        choice = self._chooser.choose(file, flight)
        if choice is None:
            self._stall(file, flight)
            return None
        if choice.is_full:
            return choice.provider.peer.url
        return None if self.fleet.start(file, flight, choice) else _BUFFERS

    def _stall(self, file: OpenFile, flight: Flight) -> None:
        if flight.carriers:
            flight.state = FlightState.RUNNING  # overdue, and nobody else to ask: the first run goes on
        elif flight.waiters:
            self.stalled.add(file, flight)
        else:
            self._drop(file, flight)

    def _drop(self, file: OpenFile, flight: Flight) -> None:
        if flight.carriers:
            flight.state = FlightState.RUNNING  # it lands, or fails, with them
        else:
            flight.state = FlightState.DROPPED
            del file.flights[flight.block]

    # -- after a run -------------------------------------------------------------------------------------------------

    def _end(self, run: Run, error: PeerError | None) -> None:
        if error is None:
            self._peers.note_success(run.provider.peer)
        elif not run.hold_s or not isinstance(error, PeerLacksError):
            run.file.providers.blame(run.provider, error)
        self._requeue_unlanded(run, error)
        if run.landed_bytes:
            run.file.stored.refetch_s_per_mib = 2**20 / run.file.providers.best_rate_bytes_per_s
            self._on_progress(run.file)
        self._pump_parked(run)
        self.pump()

    def _requeue_unlanded(self, run: Run, error: PeerError | None) -> None:
        for flight in run.flights:
            flight.carriers.remove(run.provider.peer.url)
        unlanded = [flight for flight in run.flights if flight.state is not FlightState.LANDED]
        for flight in _failed_at(run, unlanded, error):
            flight.tried[run.provider.peer.url] = str(error)
        for flight in reversed(unlanded):
            if isinstance(error, PeerLackedGroupError):
                self._stall(run.file, flight)
            else:
                self._requeue(run.file, flight)

    def _requeue(self, file: OpenFile, flight: Flight) -> None:
        """Let another run carry it, before what nobody has carried yet: a reader is near."""
        if flight.carriers:
            return  # another run carries it still
        if not flight.waiters and flight.urgency is not Urgency.AHEAD:
            self._drop(file, flight)
            return
        flight.state = FlightState.PENDING
        self.queues.add_first(file, flight)

    # -- what Revival and Finder call --------------------------------------------------------------------------------

    def retry_stalled(self, file: OpenFile) -> None:
        """Try the stalled flights of ``file`` again, each provider with a clean slate."""
        for flight in reversed(self.stalled.take(file)):
            flight.tried.clear()
            self._requeue(file, flight)
        self.queues.unpark(file)
        self.pump()

    def ask_others_too(self, now: float, lag_s: float) -> None:
        """Put all that overdue runs still carry up for another provider; ``lag_s`` is for how long nobody looked."""
        overdue = self.fleet.take_overdue(now, lag_s)
        for run in overdue:
            self._ask_others_for(run)
        if overdue:
            self.queues.unpark()
            self.pump()

    def _ask_others_for(self, run: Run) -> None:
        for flight in reversed(run.flights):
            if flight.state is FlightState.RUNNING and len(flight.carriers) < MAX_CARRIERS:
                flight.tried[run.provider.peer.url] = OVERDUE_WORD
                flight.state = FlightState.PENDING
                self.queues.add_first(run.file, flight)


def _failed_at(run: Run, unlanded: list[Flight], error: PeerError | None) -> list[Flight]:
    """Return those at which a run's provider failed: who has a part, and lacks the first, may have the others."""
    if error is None:
        return []
    if not run.provider.is_partial or not isinstance(error, PeerLacksError):
        return unlanded
    return [] if run.hold_s else unlanded[:1]  # what isn't on its way to it now may be there soon
