"""Start a reader, start its clock, and take what it measured."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .processes import BenchError, end, module_argv


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader measured; ``kernel_bytes`` is what the kernel asked the file system for, where it can be told."""

    seconds: tuple[float, ...]
    n_bytes: int
    kernel_bytes: int | None = None
    starts: tuple[int, ...] = ()
    ends: tuple[float, ...] = ()
    """When each part was there, by the machine's monotonic clock, where the reader tells it."""

    @property
    def total_s(self) -> float:
        return sum(self.seconds)


def _nothing() -> None:
    pass


class Reader:
    """One reader's process."""

    def __init__(self, *arguments: object, argv: Sequence[str] = ()) -> None:
        """Start ``reader``, or by ``argv`` another program that speaks as it does."""
        argv = argv or module_argv("reader", *map(str, arguments))
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait_ready(self) -> None:
        assert self._process.stdout
        if self._process.stdout.readline() != "ready\n":
            raise BenchError(f"reader {self._process.args!r} did not open its file")

    def start(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def result(self) -> Reading:
        assert self._process.stdout
        text = self._process.stdout.readline()
        if not text:
            raise BenchError(f"reader {self._process.args!r} failed: exit {self._process.wait()}")
        value = json.loads(text)
        seconds, starts, ends = (tuple(value.get(name, ())) for name in ("seconds", "starts", "ends"))
        return Reading(seconds, value["n_bytes"], value.get("kernel_bytes"), starts, ends)

    def close(self) -> None:
        end(self._process)
        assert self._process.stdin
        self._process.stdin.close()


def read_together(
    readers: Sequence[Reader],
    before: Callable[[], None] = _nothing,
    after: Callable[[], None] = _nothing,
    meanwhile: Callable[[], None] = _nothing,
) -> list[Reading]:
    """Open in each, call ``before``, start all clocks, call ``meanwhile``, and wait for all; then call ``after``."""
    try:
        for reader in readers:
            reader.wait_ready()
        before()
        for reader in readers:
            reader.start()
        meanwhile()
        readings = [reader.result() for reader in readers]
        after()
        return readings
    finally:
        for reader in readers:
            reader.close()


def read(*arguments: object, before: Callable[[], None] = _nothing) -> Reading:
    """Run one reader; see ``reader``."""
    return read_together([Reader(*arguments)], before)[0]


def warm(path: Path) -> None:
    """Bring a file into the page cache."""
    buffer = bytearray(1 << 20)
    fd = os.open(path, os.O_RDONLY)
    try:
        while os.readv(fd, [buffer]):
            pass
    finally:
        os.close(fd)
