"""Asks a running mount; plain blocking code, for commands."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from ..errors import MountError
from .messages import MAX_ANSWER_BYTES, Request, decode_answer, encode_request
from .sockets import connect

DEFAULT_TIMEOUT_S = 30.0


def ask(path: Path, command: str, /, *, timeout_s: float = DEFAULT_TIMEOUT_S, **arguments: object) -> object:
    """Return the result of ``command``; raises what the mount raised, MountError where it doesn't answer in time.

    ``path`` is the mount's socket (``sockets.socket_path``); arguments are those of ``messages.COMMANDS``.
    """
    line = encode_request(Request(command, arguments))
    deadline = time.monotonic() + timeout_s
    with connect(path, timeout_s) as sock:
        try:
            sock.sendall(line)
            answer = _receive_line(sock, deadline)
        except TimeoutError as exc:
            raise MountError(f"the running mount did not answer within {timeout_s:g} s; its log says more") from exc
        except OSError as exc:
            raise MountError(f"the running mount broke off ({exc.strerror})") from exc
    return decode_answer(answer)


def _receive_line(sock: socket.socket, deadline: float) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        sock.settimeout(left_s)
        chunk = sock.recv(64 * 1024)
        received += chunk
        if not chunk:
            raise MountError("the running mount ended before it answered")
        if len(received) > MAX_ANSWER_BYTES:
            raise MountError(f"the running mount's answer is over the limit of {MAX_ANSWER_BYTES} bytes")
    return bytes(received)
