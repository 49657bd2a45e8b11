"""Labs for each test, and an end for whatever they start: by pid, and unmounted."""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from system_labs import Lab, MakeLab, Running

TEST_TIMEOUT_S = 100.0
"""A bound against hanging: the slowest test of this folder takes a tenth of it."""


@pytest.fixture
def make_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeLab]:
    """Make labs that last for one test."""
    yield from _labs(tmp_path_factory.mktemp("t"))


@pytest.fixture(scope="module")
def make_lasting_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeLab]:
    """Make labs that last for all tests of a module: for what they only read."""
    yield from _labs(tmp_path_factory.mktemp("m"))


_RUNNING: list[Running] = []


def _labs(folder: Path) -> Iterator[MakeLab]:
    running = Running()
    labs: list[Lab] = []

    def make(name: str, **settings: str) -> Lab:
        labs.append(Lab(folder / name, running, {f"KACHERYFS_{key.upper()}": value for key, value in settings.items()}))
        return labs[-1]

    _RUNNING.append(running)
    try:
        yield make
    finally:
        _RUNNING.remove(running)
        running.kill()
    logs = {log: log.read_text(errors="replace") for lab in labs for log in lab.folder.glob("*.log")}
    faults = [f"{log}:\n{text}" for log, text in logs.items() if "Traceback" in text or "a fault of kacheryfs" in text]
    assert not faults, "\n".join(faults)


@pytest.fixture(autouse=True)
def _watchdog(request: pytest.FixtureRequest) -> Iterator[None]:
    """End a test that hangs: its mounts die first, since who reads there hears no signal."""

    def bite() -> None:
        faulthandler.dump_traceback(file=sys.__stderr__)
        for running in list(_RUNNING):
            running.kill()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    def fail(*_: object) -> None:
        raise TimeoutError(f"{request.node.name} hung for {TEST_TIMEOUT_S:g} s")

    before = signal.signal(signal.SIGALRM, fail)
    timer = threading.Timer(TEST_TIMEOUT_S, bite)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGALRM, before)
