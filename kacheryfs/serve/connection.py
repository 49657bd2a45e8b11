"""One connection: a deadline for every wait, one reply after another."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Iterator
from typing import Protocol

import trio

from ..errors import KacheryError, PeerUnreachableError
from .common import Common
from .framing import Framing
from .replies import FileBody, Reply, refuse, too_busy
from .routes import NOT_HERE, Refusal, RequestHead

log = logging.getLogger("kacheryfs.serve")

_DISK_ERRNOS = {errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EBADMSG, errno.EUCLEAN, errno.EINVAL}
"""What sendfile reports of the file's disk; everything else is the socket's."""


class Responder(Protocol):
    """What answers requests; thread-safe, blocking, and raises nothing."""

    def respond(self, head: RequestHead) -> Reply: ...


class Connection:
    """Answers one client until it goes, idles too long or is refused."""

    def __init__(self, framing: Framing, responder: Responder, common: Common) -> None:
        self._framing = framing
        self._responder = responder
        self._common = common

    async def run(self, client: str) -> None:
        """Serve requests until the connection ends; OSError and PeerUnreachableError: it broke, or was too slow."""
        while (head := await self._next_head()) is not None:
            started = trio.current_time()
            reply = await self._await_blocks(await self._make_reply(head))
            try:
                with self._cutting():
                    is_whole = await self._framing.send(reply)
            finally:
                reply.close()
            _log_request(client, head, reply, trio.current_time() - started)
            self._common.counters.requests[reply.status] += 1
            if not is_whole:
                self._common.counters.n_cut += 1
                return None
            if reply.must_close or self._framing.must_close:
                return await self._framing.linger()
            self._framing.start_next()
        return None

    async def _next_head(self) -> RequestHead | Refusal | None:
        """Return the next head; None: the client closed, or wasn't in time with it."""
        if not self._framing.has_unread:
            is_open = False
            with self._common.doorman.idling():
                is_open = await self._framing.receive()
            if not is_open:
                return None
        with trio.move_on_after(self._common.limits.head_timeout_s):
            return await self._framing.read_head()
        return None

    async def _make_reply(self, head: RequestHead | Refusal) -> Reply:
        if isinstance(head, Refusal):
            return refuse(head)
        refusal = self._common.access.refuse_request(head.find("authorization"))
        if refusal is not None:
            self._common.counters.refused["secret"] += 1
            return refuse(refusal, ("WWW-Authenticate", "Bearer"))
        limits = self._common.limits
        with trio.move_on_after(limits.thread_timeout_s):  # bounds the wait for a thread; what has begun is ended
            with self._cutting():
                return await trio.to_thread.run_sync(self._respond, head, limiter=self._common.lookups)
        return too_busy(limits)

    def _respond(self, head: RequestHead) -> Reply:
        """Make a reply, and begin to send it where it needn't wait; blocking."""
        reply = self._responder.respond(head)
        if not (isinstance(reply.body, FileBody) and reply.body.wait_s):
            try:
                self._framing.begin(reply)
            except BaseException:
                reply.close()
                raise
        return reply

    async def _await_blocks(self, reply: Reply) -> Reply:
        """Wait for the first block of a reply that may wait, so that "not here" can still be said."""
        body = reply.body
        if not isinstance(body, FileBody) or not body.wait_s:
            return reply
        is_here = False
        try:
            with self._cutting():
                is_here = await self._framing.wait_for(body, body.span) > body.span.start
        finally:
            if not is_here:
                reply.close()
        return reply if is_here else refuse(NOT_HERE)

    @contextlib.contextmanager
    def _cutting(self) -> Iterator[None]:
        """Cut a reply short whose file fails meanwhile (PeerUnreachableError); its owner is told."""
        try:
            yield
        except PeerUnreachableError:
            self._cut()
            raise
        except KacheryError as exc:
            self._cut()
            self._common.warner.warn_once(str(exc), f"{exc} (noticed while it was being sent)")
            raise PeerUnreachableError("cut short on purpose") from exc
        except OSError as exc:
            self._cut()
            if exc.errno in _DISK_ERRNOS:
                self._common.warner.warn_once(
                    f"disk {exc.errno}", f"a file could not be read while it was served: {exc.strerror}"
                )
            raise PeerUnreachableError("cut short") from exc

    def _cut(self) -> None:
        self._common.counters.n_cut += 1
        self._framing.abort()


def _log_request(client: str, head: RequestHead | Refusal, reply: Reply, took_s: float) -> None:
    asked = "(refused)" if isinstance(head, Refusal) else ascii(f"{head.method} {head.target[:120]}")
    log.info("%s %s %d, %d bytes, %.1f ms", client, asked, reply.status, reply.n_bytes, took_s * 1e3)
