"""Starts replays: children of a program that has SpikeInterface imported, and stays for a minute after the last one.

Not by multiprocessing's fork server, which runs the user's script again in every child where that has no guard, and
goes by the environment of its first use; each child here has that of its own start. A child is known by a descriptor,
since it isn't ours to wait for; where Python or the kernel has none (builds for old systems, some of conda), each
replay is a process of its own: 1 s more.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from array import array
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from .replay_forks import can_fork

_PROGRAM = "from kacheryfs.ephys.replay_forks import main; main()"
_ALONE = "from kacheryfs.ephys.replay_child import main; main()"
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""What forks should have no others; and nothing that a replay computes gains by them."""
_READ_ONCE = (
    *("PYTHON", "LD_", "LANG", "LC_", "TZ", "TMP", "TEMP"),
    *("HDF5_", "OMP_", "OPENBLAS_", "MKL_", "NUMBA_", "NUMCODECS_", "SCIPY_", "SPIKEINTERFACE_", "ZARR_"),
)
"""Variables that begin so are read when a program starts or imports; others can be changed in a child."""
_ANSWER_S = 300.0
"""Importing SpikeInterface takes a second, from a busy cluster's disk a minute or two."""


@dataclass(frozen=True, slots=True)
class Forked:
    """A process that answers lines on ``stdin`` by lines on ``stdout``; used like a ``Popen``."""

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


Child = Forked | subprocess.Popen[str]


def end(child: Child) -> None:
    """Kill a child and give back what it took."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.kill()
    with suppress(BrokenPipeError):  # it ended by itself, with a question left in the pipe
        child.stdin.close()
    child.wait()
    child.stdout.close()
    if isinstance(child, Forked):
        os.close(child.pidfd)


@dataclass(frozen=True, slots=True)
class _Program:
    """What children are forked from; it has the modules' paths of when it was started."""

    process: subprocess.Popen[bytes]
    orders: socket.socket
    read_once: dict[str, str]

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def order(self, folder: str, streams: list[int]) -> int:
        """Return a descriptor of a new child; OSError where it doesn't answer."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", streams))]
        self.orders.sendmsg([os.fsencode(folder)], rights, socket.MSG_NOSIGNAL)  # scripts may have SIGPIPE end them
        try:
            _, pidfds, _, _ = socket.recv_fds(self.orders, 1, 1)
        except TimeoutError as exc:
            raise TimeoutError(f"importing SpikeInterface took more than {_ANSWER_S:.0f} s") from exc
        if not pidfds:
            raise ConnectionResetError("the program that forks replays has ended")
        os.set_inheritable(pidfds[0], False)
        return pidfds[0]

    def end(self) -> None:
        self.orders.close()
        self.process.kill()  # whoever was forked from us may have the socket, too
        self.process.wait()

    def leave(self) -> None:
        """Let go of what is our parent's, in a process that was forked."""
        self.orders.close()
        self.process.returncode = 0  # it isn't ours to wait for


class Starter:
    """Starts children, and what they are forked from where it isn't there; thread-safe, and safe after a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._program: _Program | None = None
        atexit.register(self.close)

    def start(self, folder: str, errors: int) -> Child:
        """Start a child whose current folder and standard error these are; OSError."""
        if not can_fork():
            return _start_alone(folder, errors)
        self._leave_what_is_our_parents()
        environment = {name: value for name, value in (_environment() | _ONE_THREAD).items() if name}
        child = self._fork(folder, errors, environment)
        try:
            with suppress(BrokenPipeError):  # it ended at once: the next word to it tells why
                child.stdin.write(json.dumps(environment) + "\n")
                child.stdin.flush()
        except BaseException:
            end(child)
            raise
        return child

    def _fork(self, folder: str, errors: int, environment: dict[str, str]) -> Forked:
        ours, theirs = _make_pipes()
        try:
            with self._lock:
                return Forked(self._order(folder, [*theirs, errors], environment), *ours)
        except BaseException:
            for stream in ours:
                stream.close()
            raise
        finally:
            for fd in theirs:
                os.close(fd)

    def close(self) -> None:
        """End what children are forked from, not the children."""
        self._leave_what_is_our_parents()
        program, self._program = self._program, None
        if program is not None:
            program.end()

    def _leave_what_is_our_parents(self) -> None:
        if self._pid != os.getpid():
            if self._program is not None:
                self._program.leave()
            self._lock, self._pid, self._program = threading.Lock(), os.getpid(), None  # the lock may be held for ever

    def _order(self, folder: str, streams: list[int], environment: dict[str, str]) -> int:
        program = self._program
        if program is not None and program.is_alive and program.read_once == _read_once(environment):
            with suppress(OSError):  # it ends just now, or was killed
                return self._order_from(program, folder, streams)
        self.close()
        self._program = _start_program(environment, errors=streams[2])
        return self._order_from(self._program, folder, streams)

    def _order_from(self, program: _Program, folder: str, streams: list[int]) -> int:
        try:
            return program.order(folder, streams)
        except BaseException:
            self.close()  # an answer that comes late would be taken for the next one's
            raise


def _make_pipes() -> tuple[tuple[IO[str], IO[str]], tuple[int, int]]:
    """Return a child's standard input and output: our ends, and its own."""
    theirs_in, ours_in = os.pipe()
    try:
        ours_out, theirs_out = os.pipe()
    except BaseException:
        os.close(theirs_in)
        os.close(ours_in)
        raise
    return (os.fdopen(ours_in, "w"), os.fdopen(ours_out)), (theirs_in, theirs_out)


def _start_program(environment: dict[str, str], errors: int) -> _Program:
    ours, theirs = socket.socketpair()
    ours.settimeout(_ANSWER_S)
    with theirs:
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd="/",  # the first place where Python looks for modules: nobody else's
                env=environment,
                start_new_session=True,  # Ctrl-C is for who asked
            )
        except BaseException:
            ours.close()
            raise
    return _Program(process, ours, _read_once(environment))


def _start_alone(folder: str, errors: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _ALONE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        cwd=folder,  # the first place where Python looks for modules: nobody else's
        env=_environment(),
        text=True,
    )


def _read_once(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_ONCE)}


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))}
