"""The processes that read all the time, and what they told so far."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from system_labs import Running

PROGRAM = Path(__file__).with_name("reading_loop.py")
END_TIMEOUT_S = 60.0

Files = Sequence[tuple[str, str]]
"""Paths below a mountpoint, and the original of each."""


@dataclass(frozen=True)
class Told:
    """A reading that has ended."""

    began: float
    ended: float
    what: str
    error: str | None
    wrong: str | None


@dataclass(eq=False)
class RandomReader:
    """A process that reads one mount at random until it is told to stop."""

    running: Running
    mountpoint: Path
    files: Files
    log: Path
    is_mapped: bool
    seed: int
    n_readings: int = 0
    under_way: tuple[float, str] | None = None
    """When the reading began that has not ended, and what it reads."""
    _position: int = 0
    _process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        argv = [sys.executable, str(PROGRAM), str(self.seed), str(int(self.is_mapped)), str(self.mountpoint)]
        with self.log.open("ab") as log, self.words.open("ab") as words:
            self._process = self.running.start(
                [*argv, json.dumps(self.files)], stdin=subprocess.PIPE, stdout=log, stderr=words
            )
        self.seed += 1000

    @property
    def words(self) -> Path:
        """Where its last words stand."""
        return self.log.with_suffix(".err")

    def news(self) -> Iterator[Told]:
        """Yield what has ended since the last call."""
        with self.log.open("rb") as log:
            log.seek(self._position)
            lines = log.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._position += len(whole)
        for line in whole.splitlines():
            value = json.loads(line)
            self.under_way = None if "ended" in value else (value["began"], value["what"])
            if "ended" in value:
                self.n_readings += 1
                yield Told(**value)

    def waited_s(self) -> float:
        """Return for how long the reading that is under way has taken so far."""
        return time.monotonic() - self.under_way[0] if self.under_way else 0.0

    def death(self) -> str | None:
        """Return how it died, None while it lives."""
        code = self._process.poll()
        return None if code is None else signal.Signals(-code).name if code < 0 else f"exit {code}"

    def stop(self) -> None:
        """End it after the reading that is under way; it must end well."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(END_TIMEOUT_S)
        assert code == 0, f"a reader ended with {code}: {self.words.read_text()[-2000:]}"

    @property
    def pid(self) -> int:
        return self._process.pid
