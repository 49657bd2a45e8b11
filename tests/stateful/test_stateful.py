"""Everything at once, at random, by real processes: no wrong byte, no hang, nothing over the bound, nothing left."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from stateful_machine import Machine
from stateful_world import Tied

pytestmark = pytest.mark.kernel

DURATION_S = 60.0
END_S = 180.0
"""For the beginning and the end of a run: a bound against hanging."""


@pytest.fixture
def running() -> Iterator[Tied]:
    """End whatever was started, by its pid, and unmount it."""
    tied = Tied()
    try:
        yield tied
    finally:
        tied.kill()


@pytest.fixture
def duration_s(request: pytest.FixtureRequest) -> Iterator[float]:
    """Return ``--minutes`` in seconds; a test that hangs for longer is ended."""

    def bite(*_: object) -> None:
        raise TimeoutError(f"{request.node.name} hung")

    minutes = request.config.getoption("--minutes")
    wanted_s = DURATION_S if minutes is None else 60 * float(minutes)
    before = signal.signal(signal.SIGALRM, bite)
    signal.setitimer(signal.ITIMER_REAL, wanted_s + END_S)
    try:
        yield wanted_s
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_whatever_is_killed_evicted_and_restarted_no_reader_sees_a_wrong_byte(
    request: pytest.FixtureRequest, tmp_path: Path, running: Tied, duration_s: float
) -> None:
    seed = request.config.getoption("--seed")
    seed = random.randrange(10**6) if seed is None else int(seed)
    print(f"seed {seed}: again with pytest {Path(__file__).parent} --seed {seed} --minutes {duration_s / 60:g}")
    machine = Machine(tmp_path, seed, running)
    machine.run(duration_s)
    machine.finish()
    n_readings = sum(reader.n_readings for reader in machine.readers)
    print(f"{n_readings} readings, {len(machine.moves)} moves")
    assert n_readings > 0
