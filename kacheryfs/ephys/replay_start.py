"""Starts replays: children of a program that has SpikeInterface imported, and goes on until this process ends."""

from __future__ import annotations

import atexit
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

_PROGRAM = "from kacheryfs.ephys.replay_forks import main; main()"
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""What forks should have no others; and nothing that a replay computes gains by them."""
_ANSWER_S = 60.0
"""Importing SpikeInterface takes a second, from a busy network disk many."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process that answers lines on ``stdin`` by lines on ``stdout``."""

    pidfd: int
    stdin: IO[str]
    stdout: IO[str]

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def wait(self) -> None:
        ended = select.poll()
        ended.register(self.pidfd, select.POLLIN)
        ended.poll()

    def close(self) -> None:
        """Kill it and give back what it took."""
        self.kill()
        with suppress(BrokenPipeError):  # it ended by itself, with a question left in the pipe
            self.stdin.close()
        self.wait()
        self.stdout.close()
        os.close(self.pidfd)


@dataclass(frozen=True, slots=True)
class _Program:
    """What children are forked from; it has the modules' paths and the environment of when it was started."""

    process: subprocess.Popen[bytes]
    orders: socket.socket
    environment: dict[str, str]

    def order(self, folder: str, streams: list[int]) -> int:
        """Return a descriptor of a new child; OSError where it doesn't answer."""
        socket.send_fds(self.orders, [os.fsencode(folder)], streams)
        _, pidfds, _, _ = socket.recv_fds(self.orders, 1, 1, socket.MSG_CMSG_CLOEXEC)
        if not pidfds:
            raise ConnectionResetError("the program that forks replays has ended")
        return pidfds[0]

    def end(self) -> None:
        self.orders.close()
        self.process.kill()  # whoever was forked from us may have the socket, too
        self.process.wait()


class Starter:
    """Starts children, and what they are forked from where it isn't there; thread-safe, and safe after a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._program: _Program | None = None
        atexit.register(self.close)

    def start(self, folder: str, errors: int) -> Child:
        """Start a child whose current folder and standard error these are; OSError."""
        if self._pid != os.getpid():  # the lock may be held for ever, and the program is our parent's
            self._lock, self._pid, self._program = threading.Lock(), os.getpid(), None
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        stdin, stdout = os.fdopen(ours_in, "w"), os.fdopen(ours_out)
        try:
            with self._lock:
                return Child(self._order(folder, [theirs_in, theirs_out, errors]), stdin, stdout)
        except BaseException:
            stdin.close()
            stdout.close()
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)

    def close(self) -> None:
        """End what children are forked from, not the children."""
        program, self._program = self._program, None
        if program is not None and self._pid == os.getpid():
            program.end()

    def _order(self, folder: str, streams: list[int]) -> int:
        environment = os.environ | _ONE_THREAD | {"PYTHONPATH": _module_paths()}
        if self._program is not None and self._program.environment == environment:
            with suppress(OSError):  # it had nothing to do for long, or was killed
                return self._order_from(self._program, folder, streams)
        self.close()
        self._program = _start_program(environment, errors=streams[2])
        return self._order_from(self._program, folder, streams)

    def _order_from(self, program: _Program, folder: str, streams: list[int]) -> int:
        try:
            return program.order(folder, streams)
        except BaseException:
            self.close()  # an answer that comes late would be taken for the next one's
            raise


def _start_program(environment: dict[str, str], errors: int) -> _Program:
    ours, theirs = socket.socketpair()
    ours.settimeout(_ANSWER_S)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd="/",  # the first place where Python looks for modules: nobody else's
            env=environment,
            start_new_session=True,  # Ctrl-C is for who asked
        )
    return _Program(process, ours, environment)


def _module_paths() -> str:
    return os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))
