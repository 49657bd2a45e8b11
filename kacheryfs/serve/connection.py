"""One connection: a deadline for every wait, one reply after another."""

from __future__ import annotations

import errno
import logging

import trio

from ..errors import KacheryError, PeerUnreachableError
from .doorman import Doorman
from .framing import Framing
from .limits import ServeLimits
from .replies import Reply, Responder, refuse, too_busy
from .routes import Refusal, RequestHead
from .warner import Warner

log = logging.getLogger("kacheryfs.serve")

_DISK_ERRNOS = {errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EBADMSG, errno.EUCLEAN, errno.EINVAL}
"""What sendfile reports of the file's disk; everything else is the socket's."""


class Threads:
    """How many threads all connections together may use."""

    def __init__(self, limits: ServeLimits) -> None:
        self.lookups = trio.CapacityLimiter(limits.max_lookups)
        self.sends = trio.CapacityLimiter(limits.max_sends)


class Connection:
    """Answers one client until it goes, idles too long or is refused."""

    def __init__(
        self,
        framing: Framing,
        responder: Responder,
        *,
        limits: ServeLimits,
        threads: Threads,
        doorman: Doorman,
        warner: Warner,
    ) -> None:
        self._framing = framing
        self._responder = responder
        self._limits = limits
        self._threads = threads
        self._doorman = doorman
        self._warner = warner

    async def run(self, client: str) -> None:
        """Serve requests until the connection ends; OSError and PeerUnreachableError: it broke, or was too slow."""
        while (head := await self._next_head()) is not None:
            started = trio.current_time()
            reply = await self._make_reply(head)
            try:
                await self._send(reply)
            finally:
                reply.close()
            _log_request(client, head, reply, trio.current_time() - started)
            if reply.must_close or self._framing.must_close:
                return await self._framing.linger()
            self._framing.start_next()
        return None

    async def _next_head(self) -> RequestHead | Refusal | None:
        """Return the next head; None: the client closed, or wasn't in time with it."""
        if not self._framing.has_unread:
            is_open = False
            with self._doorman.idling():
                is_open = await self._framing.receive()
            if not is_open:
                return None
        with trio.move_on_after(self._limits.head_timeout_s):
            return await self._framing.read_head()
        return None

    async def _make_reply(self, head: RequestHead | Refusal) -> Reply:
        if isinstance(head, Refusal):
            return refuse(head)
        with trio.move_on_after(self._limits.thread_timeout_s):  # bounds the wait for a thread; what has begun is ended
            return await trio.to_thread.run_sync(self._responder.respond, head, limiter=self._threads.lookups)
        return too_busy(self._limits)

    async def _send(self, reply: Reply) -> None:
        """Send a reply; a file that fails meanwhile cuts it short (PeerUnreachableError), and its owner is told."""
        try:
            await self._framing.send(reply, self._threads.sends)
        except PeerUnreachableError:
            self._framing.abort()
            raise
        except KacheryError as exc:
            self._framing.abort()
            self._warner.warn_once(str(exc), f"{exc} (noticed while it was being sent)")
            raise PeerUnreachableError("cut short on purpose") from exc
        except OSError as exc:
            self._framing.abort()
            if exc.errno in _DISK_ERRNOS:
                self._warner.warn_once(
                    f"disk {exc.errno}", f"a file could not be read while it was served: {exc.strerror}"
                )
            raise PeerUnreachableError("cut short") from exc


def _log_request(client: str, head: RequestHead | Refusal, reply: Reply, took_s: float) -> None:
    asked = "(refused)" if isinstance(head, Refusal) else ascii(f"{head.method} {head.target[:120]}")
    log.info("%s %s %d, %d bytes, %.1f ms", client, asked, reply.status, reply.n_bytes, took_s * 1e3)
