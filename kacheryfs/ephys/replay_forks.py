"""The program that imports SpikeInterface once and forks a child of itself for each replay: 0.05 s instead of 0.6.

Every child begins with what this program has, and nothing of another replay: a file that a library remembers from one
recording would be missing from the next. It takes orders on its standard input, a socket: a folder, and the
descriptors that become the child's standard streams; it answers with a descriptor of the child, which is told its
environment by the first line. It ends with who started it, or when it has had nothing to do for a minute.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from contextlib import suppress
from typing import NoReturn

from .replay_child import main as replay

IDLE_S = 60.0
_MAX_PATH_BYTES = 4096


def can_fork() -> bool:
    """Tell whether Python and the kernel have the descriptors by which a child of another process is known."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return hasattr(signal, "pidfd_send_signal")


def main() -> None:
    """Take orders until there are none."""
    import spikeinterface.core.base  # noqa: F401  what every child needs

    orders = socket.socket(fileno=0)
    orders.settimeout(IDLE_S)
    with suppress(TimeoutError, ConnectionError):
        while True:
            folder, streams, _, _ = socket.recv_fds(orders, _MAX_PATH_BYTES, 3)
            if not folder:
                return
            _answer(orders, os.fsdecode(folder), streams)


def _answer(orders: socket.socket, folder: str, streams: list[int]) -> None:
    child = os.fork()
    if not child:
        _become_child(orders, folder, streams)
    for stream in streams:
        os.close(stream)
    pidfd = os.pidfd_open(child)
    socket.send_fds(orders, [b"+"], [pidfd])
    os.close(pidfd)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:  # those that have ended
            pass


def _become_child(orders: socket.socket, folder: str, streams: list[int]) -> NoReturn:
    """Replay, and end without what a copy of the program would do at its end."""
    try:
        orders.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(folder)
        environment = json.loads(sys.stdin.readline())
        os.environ.clear()
        os.environ.update(environment)
        replay()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)
