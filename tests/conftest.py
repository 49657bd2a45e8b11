"""What holds for every test: no warning goes unnoticed, nothing of the user's is touched, no kernel is made up."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator

import hypothesis
import pytest

# Deadlines are wall-clock assertions, and a busy machine breaks them.
hypothesis.settings.register_profile("kacheryfs", deadline=None)
hypothesis.settings.load_profile("kacheryfs")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background jobs, whose children would ignore it
    signal.signal(signal.SIGINT, signal.default_int_handler)


os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its idle threads spin, which other tests' processes pay for


def pytest_collection_finish() -> None:
    """Keep thousands of tests and what they import, of which nothing goes, out of every garbage collection."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--minutes", type=float, help="how long tests/stateful plays (default: 1)")
    parser.addoption("--seed", type=int, help="what tests/stateful plays (default: anything)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.path.exists("/dev/fuse"):
        return
    skip = pytest.mark.skip(reason="/dev/fuse is absent: no kernel mount can be made here")
    for item in items:
        if item.get_closest_marker("kernel"):
            item.add_marker(skip)


class _Warnings(logging.Handler):
    """Keeps what is logged at WARNING or higher."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(f"{record.levelname} {record.name}: {record.getMessage()}")


@pytest.fixture(autouse=True)
def _no_unexpected_warnings(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which kacheryfs warned, unless it is marked ``expects_warnings``."""
    logger, seen = logging.getLogger("kacheryfs"), _Warnings()
    logger.addHandler(seen)
    try:
        yield
    finally:
        logger.removeHandler(seen)
    if seen.messages and not request.node.get_closest_marker("expects_warnings"):
        pytest.fail("unexpected in the log (mark `expects_warnings` where it belongs):\n" + "\n".join(seen.messages))


@pytest.fixture(autouse=True)
def _no_engine_left_over() -> Iterator[None]:
    """End the engines of this process, one for each test's own folder; who reads on starts his again."""
    yield
    embedded = sys.modules.get("kacheryfs.app.embedded")
    if embedded is not None:
        embedded._close_all()
        embedded._fetchers.clear()


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep ``KACHERYFS_*`` of the shell that runs the tests out of them."""
    for variable in [name for name in os.environ if name.startswith("KACHERYFS_")]:
        monkeypatch.delenv(variable)
