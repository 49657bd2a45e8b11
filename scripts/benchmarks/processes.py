"""Start a process, wait until it is of use, and end it by its id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class BenchError(Exception):
    """Something that the bench needs is missing or failed; one line for people."""


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Poll until it is so; BenchError after the timeout."""
    end = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > end:
            raise BenchError(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(0.01)


@contextmanager
def running(
    argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None, *, stdout: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """Run a process for the time of the block, its stdout in a pipe (a talkative one's nowhere), stderr in ``log``."""
    with log.open("a") as stderr:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            env={**os.environ, **(env or {})},
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[str], timeout_s: float = 15.0) -> None:
    """Ask the process to end, then make it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)  # a row may have frozen it
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout:
        process.stdout.close()


def first_line(process: subprocess.Popen[str], log: Path) -> str:
    """Return the first line that a server prints (its port or URL)."""
    assert process.stdout
    line = process.stdout.readline().strip()
    if not line:
        raise BenchError(f"{process.args!r} printed nothing: {tail(log)}")
    return line


def tail(log: Path) -> str:
    text = log.read_text(errors="replace") if log.exists() else ""
    return text.strip()[-600:] or "(no words on stderr)"


def module_argv(name: str, *arguments: str) -> list[str]:
    """Return how to run a program of this package."""
    return [sys.executable, "-m", f"{__package__}.{name}", *arguments]


def run(argv: Sequence[str], env: Mapping[str, str] | None = None, timeout_s: float = 900.0) -> str:
    """Run to its end and return its stdout; BenchError with its last words when it fails."""
    done = subprocess.run(
        argv, env={**os.environ, **(env or {})}, timeout=timeout_s, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise BenchError(f"{' '.join(argv)[:200]}: exit {done.returncode}: {done.stderr.strip()[-600:]}")
    return done.stdout
