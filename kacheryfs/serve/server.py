"""Listens, serves every client in a task of its own, and closes everything when it is cancelled."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Sequence

import trio

from ..errors import InputError, PeerUnreachableError
from .connection import Connection, Threads
from .doorman import Doorman
from .framing import Framing
from .limits import ServeLimits
from .replies import Responder, too_busy
from .source import Source
from .warner import Warner

log = logging.getLogger("kacheryfs.serve")

_MAX_TURNED_AWAY = 64
"""So many clients at once are told "too busy"; more are hung up on."""


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Listen on every address of ``host``; port 0 picks one port for all of them; InputError says why not."""
    if not 0 <= port <= 65535:  # getaddrinfo would take it modulo 65536
        raise InputError(f"can't listen on {host}:{port}: a port is a number from 0 to 65535")
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
        if port == 0 and len(listeners) > 1:  # each got a port of its own
            picked = port_of(listeners[0])
            for listener in listeners:
                await listener.aclose()
            listeners = await trio.open_tcp_listeners(picked, host=host)
    except (OSError, UnicodeError) as exc:
        raise InputError(f"can't listen on {host}:{port}: {_why(exc)}") from exc
    return listeners


def _why(exc: Exception) -> str:
    match exc:
        case socket.gaierror():
            return "this host name is not known here; give an address of this machine, such as 127.0.0.1 or 0.0.0.0"
        case OSError(errno=errno.EADDRINUSE):
            return "the port is in use; choose another, or 0 for any free one"
        case OSError(errno=errno.EADDRNOTAVAIL):
            return "that is no address of this machine; 127.0.0.1 or 0.0.0.0 always are"
        case OSError(errno=errno.EACCES | errno.EPERM):
            return "ports below 1024 belong to root; choose a higher one"
        case OSError(errno=int() as number):
            return os.strerror(number)
    return "that is no name of a host"


def port_of(listener: trio.SocketListener) -> int:
    return int(listener.socket.getsockname()[1])


def url_of(listener: trio.SocketListener) -> str:
    """Return the URL of a listener, without a slash at its end."""
    host, port = listener.socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(
    source: Source,
    listeners: Sequence[trio.SocketListener],
    limits: ServeLimits | None = None,
    *,
    task_status: trio.TaskStatus[Sequence[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer peers on ``listeners`` until cancelled, then close all of them and every connection."""
    reception = _Reception(source, limits or ServeLimits())
    await trio.serve_listeners(reception.receive, list(listeners), task_status=task_status)


class _Reception:
    """Takes each accepted connection to a Connection, or turns it away."""

    def __init__(self, source: Source, limits: ServeLimits) -> None:
        self._limits = limits
        self._warner = Warner()
        self._responder = Responder(source, limits, self._warner.warn_once)
        self._threads = Threads(limits)
        self._doorman = Doorman(limits)
        self._n_turned_away = 0

    async def receive(self, stream: trio.SocketStream) -> None:
        """Serve one client; whatever happens, only its own connection ends."""
        async with stream:
            try:
                host = str(stream.socket.getpeername()[0])
                with self._doorman.admit(host) as is_admitted:
                    await (self._serve(stream, host) if is_admitted else self._turn_away(stream))
            except (OSError, trio.BrokenResourceError, PeerUnreachableError) as exc:
                log.debug("a connection ended: %s", exc)
            except Exception:  # the outer edge: a mistake of ours must not end the server for all others
                log.exception("a connection ended by a mistake in kacheryfs; please report it")

    async def _serve(self, stream: trio.SocketStream, host: str) -> None:
        connection = Connection(
            Framing(stream, self._limits),
            self._responder,
            limits=self._limits,
            threads=self._threads,
            doorman=self._doorman,
            warner=self._warner,
        )
        await connection.run(host)

    async def _turn_away(self, stream: trio.SocketStream) -> None:
        if self._n_turned_away >= _MAX_TURNED_AWAY:
            return
        self._n_turned_away += 1
        try:
            framing = Framing(stream, self._limits)
            await framing.send(too_busy(self._limits), self._threads.sends)
            await framing.linger()
        finally:
            self._n_turned_away -= 1
