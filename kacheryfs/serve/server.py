"""Listens, serves every client in a task of its own, and closes everything when it is cancelled."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable, Sequence

import trio

from ..errors import InputError, ListenError, PeerUnreachableError
from . import connection, metrics
from .access import Access, Everybody
from .common import Common
from .counters import Counters
from .doorman import neighbourhood
from .framing import Framing
from .limits import ServeLimits
from .metrics import CacheNumbers
from .replies import Reply, Responder, refuse, too_busy
from .source import Source

log = logging.getLogger("kacheryfs.serve")

_MAX_TURNED_AWAY = 64
"""So many clients at once are told why they are turned away; more are hung up on."""


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Listen on every address of ``host``; port 0 picks one port for all of them.

    ListenError says why not; InputError: that is no port.
    """
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
        raise ListenError(f"can't listen on {host}:{port}: {_why(exc)}") from exc
    return listeners


def inherit_listeners(fds: Sequence[int]) -> list[trio.SocketListener]:
    """Take over sockets that listen already, made by who started this process."""
    return [trio.SocketListener(trio.socket.from_stdlib_socket(socket.socket(fileno=fd))) for fd in fds]


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
    peer_id: bytes | None = None,
    access: Access | None = None,
    counters: Counters | None = None,
    task_status: trio.TaskStatus[Sequence[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer peers on ``listeners`` until cancelled, then close all of them and every connection.

    ``peer_id``: who we say we are; ``access``: whom we answer (None: everybody); ``counters``: to count in.
    """
    common = Common(limits or ServeLimits(), access or Everybody(), counters or Counters())
    responder = Responder(source, common.limits, common.warner.warn_once, peer_id)
    await respond(responder, listeners, common, task_status=task_status)


async def respond(
    responder: connection.Responder,
    listeners: Sequence[trio.SocketListener],
    common: Common,
    *,
    task_status: trio.TaskStatus[Sequence[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer by ``responder`` until cancelled."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(common.uploads.run)
        nursery.start_soon(common.waiters.run)
        await trio.serve_listeners(_Reception(responder, common).receive, list(listeners), task_status=task_status)


async def serve_metrics(
    counters: Counters,
    read_cache: Callable[[], CacheNumbers | None],
    listeners: Sequence[trio.SocketListener],
    *,
    task_status: trio.TaskStatus[Sequence[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer who asks what a server counts, until cancelled."""
    common = Common(metrics.LIMITS, Everybody(), Counters())
    await respond(metrics.Metrics(counters, read_cache), listeners, common, task_status=task_status)


class _Reception:
    """Takes each accepted connection to a Connection, or turns it away."""

    def __init__(self, responder: connection.Responder, common: Common) -> None:
        self._responder = responder
        self._common = common
        self._n_turned_away = 0

    async def receive(self, stream: trio.SocketStream) -> None:
        """Serve one client; whatever happens, only its own connection ends."""
        async with stream:
            try:
                await self._receive(stream, str(stream.socket.getpeername()[0]))
            except (OSError, trio.BrokenResourceError, PeerUnreachableError) as exc:
                log.debug("a connection ended: %s", exc)
            except Exception:  # the outer edge: a mistake of ours must not end the server for all others
                log.exception("a connection ended by a mistake in kacheryfs; please report it")

    async def _receive(self, stream: trio.SocketStream, host: str) -> None:
        framing = Framing(stream, neighbourhood(host), self._common)
        refusal = self._common.access.refuse_address(host)
        if refusal is not None:
            await self._turn_away(framing, refuse(refusal), "address")
            return
        with self._common.doorman.admit(host) as is_admitted:
            if is_admitted:
                await self._serve(framing, host)
            else:
                await self._turn_away(framing, too_busy(self._common.limits), "full")

    async def _serve(self, framing: Framing, host: str) -> None:
        counters = self._common.counters
        counters.n_connections += 1
        counters.n_open += 1
        try:
            await connection.Connection(framing, self._responder, self._common).run(host)
        finally:
            counters.n_open -= 1

    async def _turn_away(self, framing: Framing, reply: Reply, reason: str) -> None:
        self._common.counters.refused[reason] += 1
        if self._n_turned_away >= _MAX_TURNED_AWAY:
            return
        self._n_turned_away += 1
        try:
            await framing.send(reply)
            await framing.linger()
        finally:
            self._n_turned_away -= 1
