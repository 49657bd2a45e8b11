"""What is left in an engine once nobody asks anything of it any more: nothing."""

from __future__ import annotations

import trio

from kacheryfs.fetch.engine import Engine

SETTLE_S = 2000.0
"""Of the clock that jumps: longer than a run may take."""


async def assert_settled(engine: Engine) -> None:
    """Wait a while; then no read, wait, run, flight or question may be left over."""
    await trio.sleep(SETTLE_S)
    scheduler = engine.scheduler
    assert not len(scheduler.fleet)
    assert not list(engine.waits)
    assert not scheduler.stalled.files()
    assert not scheduler.queues.parked
    assert not scheduler.fleet.loads.n_runs
    for queue in scheduler.queues.by_urgency.values():
        assert not [flight for _, flight in queue if flight.state.value == "pending"]
    assert not len(engine._located)
    assert not len(engine._decoded)
    for file in engine.files:
        assert not file.flights
        assert not file.waiting
        assert not file.n_readers
        assert not file.is_being_proven
