"""A progress bar for whatever takes more than a second, on a terminal only."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

DELAY_S = 1.0
"""What is done sooner needs no bar."""


class Progress:
    """Counts bytes, and shows them with rate and time left; any thread may report.

    ``total_bytes`` may be None until it is known, and may grow.
    """

    def __init__(self, label: str, total_bytes: int | None = None) -> None:
        self.total_bytes = total_bytes
        self.done_bytes = 0
        self._label = label
        self._started_at = time.monotonic()
        self._lock = threading.Lock()
        self._bar: Any = None
        self._is_wanted = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, n_bytes: int) -> None:
        with self._lock:
            self.done_bytes += n_bytes
            self._show()

    def set(self, done_bytes: int, total_bytes: int) -> None:
        with self._lock:
            self.done_bytes, self.total_bytes = done_bytes, total_bytes
            self._show()

    def set_total(self, total_bytes: int) -> None:
        with self._lock:
            self.total_bytes = total_bytes

    def add_total(self, n_bytes: int) -> None:
        """Let there be so much more to do."""
        with self._lock:
            self.total_bytes = (self.total_bytes or 0) + n_bytes

    def set_label(self, label: str) -> None:
        with self._lock:
            self._label = label

    def _show(self) -> None:
        if not self._is_wanted or time.monotonic() - self._started_at < DELAY_S:
            return
        if self._bar is None:
            self._bar = _start_bar(self._label)
        task = self._bar.task_ids[0]
        self._bar.update(task, completed=self.done_bytes, total=self.total_bytes, description=self._label)


def _start_bar(label: str) -> Any:
    # Imported here: rich takes longer to load than most commands to run.
    from rich import progress
    from rich.console import Console

    bar = progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    bar.start()
    bar.add_task(label, total=None)
    return bar
