"""One connection to a peer, and one question with its answer on it at a time.

h11 reads heads and chunked bodies. A body with a Content-Length doesn't pass through it: what came along with the head
is taken back (``trailing_data``), and the rest goes from the socket into the caller's buffer, counted. Each exchange
has an h11 state of its own (0.1 ms), so that nothing of one answer can be taken for the next.
"""

from __future__ import annotations

import h11
import trio

from ..core.secret import Secret
from ..errors import PeerLacksError, PeerLiedError, PeerUnreachableError
from .address import PeerAddress
from .heads import Head, Request, printable
from .limits import ClientLimits
from .pace import Pace
from .peer import WhenFull
from .seam import within
from .stats import PeerStats
from .transport import Transport

_RECEIVE_BYTES = 16 * 1024
_MAX_INFORMATIONAL = 4
_FREE_PIECES = 256
_MIN_PIECE_BYTES = 256


class StaleConnectionError(Exception):
    """A kept connection was closed by the peer before it answered: ask again on a fresh one."""


class Connection:
    """A transport and what was done on it; after an exchange that wasn't read to its end it can only be closed."""

    def __init__(
        self,
        transport: Transport,
        address: PeerAddress,
        limits: ClientLimits,
        stats: PeerStats,
        secret: Secret | None = None,
    ) -> None:
        """``secret``: said with every request."""
        self.limits = limits
        self.idle_since = 0.0
        self._transport = transport
        self._address = address
        self._secret = secret
        self.has_secret = secret is not None
        self._stats = stats
        self.is_reused = False  # it answered before, so the peer may have closed it since
        self._scratch = memoryview(bytearray(_RECEIVE_BYTES))

    async def ask(self, request: Request) -> Exchange:
        """Send a request and return its answer once the head is there.

        StaleConnectionError only on a connection that served before. PeerError, OSError, h11.RemoteProtocolError.
        """
        asked = request.encode(self._address, self._secret)
        self._stats.n_requests += 1
        with within(self.limits.head_s + request.wait_s, "no complete answer's head"):
            await self._send(_written(asked))
            sent_at = None if request.wait_s else trio.current_time()
            state = self._expect(asked)
            response = await self._receive_head(state, sent_at)
        self.is_reused = True
        return Exchange(self, state, Head.of(response), request)

    def _expect(self, asked: h11.Request) -> h11.Connection:
        """Return what reads the answer; made while the question is under way (0.3 ms)."""
        state = h11.Connection(h11.CLIENT, max_incomplete_event_size=self.limits.head_bytes)
        state.send(asked)
        state.send(h11.EndOfMessage())
        return state

    async def receive_into(self, buffer: memoryview, when_full: WhenFull | None = None) -> int:
        n_bytes = await self._transport.receive_into(buffer, when_full)
        self._stats.bytes_received += n_bytes
        return n_bytes

    async def receive(self, max_bytes: int = _RECEIVE_BYTES) -> bytes:
        """Return some bytes, b"" at the end."""
        return bytes(self._scratch[: await self.receive_into(self._scratch[:max_bytes])])

    def is_quiet(self) -> bool:
        return self._transport.is_quiet()

    def close(self) -> None:
        self._transport.close()

    async def _send(self, data: bytes) -> None:
        try:
            await self._transport.send_all(data)
        except OSError as exc:
            raise self._broken() from exc

    async def _receive_head(self, state: h11.Connection, sent_at: float | None) -> h11.Response:
        """``sent_at``: None where the peer may wait, so that the time it takes is no round trip."""
        n_bytes = n_informational = 0
        while True:
            event = state.next_event()
            if isinstance(event, h11.Response):
                return event
            if isinstance(event, h11.InformationalResponse):
                n_informational += 1
                if n_informational > _MAX_INFORMATIONAL:
                    raise PeerLiedError(f"it sends more than {_MAX_INFORMATIONAL} heads before its answer")
                continue
            assert event is h11.NEED_DATA, event
            n_allowed = self.limits.head_bytes - n_bytes
            if n_allowed <= 0:
                raise PeerLiedError(f"its answer's head is over the limit of {self.limits.head_bytes} bytes")
            data = await self._receive_some_head(n_allowed, is_first=n_bytes == 0, sent_at=sent_at)
            if n_bytes == 0 and data[:5] != b"HTTP/"[: len(data)]:
                raise PeerLiedError(f"its answer is not HTTP/1.1 (it begins '{printable(data[:20])}')")
            state.receive_data(data)
            n_bytes += len(data)

    async def _receive_some_head(self, max_bytes: int, *, is_first: bool, sent_at: float | None) -> bytes:
        try:
            data = await self.receive(max_bytes)
        except OSError as exc:
            if is_first:
                raise self._broken() from exc
            raise
        if not data:
            raise self._broken() if is_first else PeerUnreachableError("it closed the connection within a head")
        if is_first and sent_at is not None:
            now = trio.current_time()
            self._stats.note_round_trip(now - sent_at, now)
        return data

    def _broken(self) -> Exception:
        if self.is_reused:
            return StaleConnectionError()
        return PeerUnreachableError("it closed the connection without an answer")


def _written(asked: h11.Request) -> bytes:
    """Return a request, which h11 has checked, as it goes out."""
    headers = b"".join(b"%s: %s\r\n" % header for header in asked.headers.raw_items())
    return b"%s %s HTTP/1.1\r\n%s\r\n" % (asked.method, asked.target, headers)


class Exchange:
    """An answer whose head is there and whose body is on its way."""

    def __init__(self, connection: Connection, state: h11.Connection, head: Head, request: Request) -> None:
        self.connection = connection
        self.head = head
        self._pace = Pace(connection.limits)
        self._wait_s = request.wait_s
        self._body: _FixedBody | _ChunkedBody
        if request.method == "HEAD" or head.status in (204, 304):
            self._body = _FixedBody(connection, state.trailing_data[0], 0)
        elif head.is_chunked:
            self._body = _ChunkedBody(connection, state)
        else:
            n_bytes = head.content_length or 0
            self._body = _FixedBody(connection, state.trailing_data[0], n_bytes, may_end_early=request.wait_s > 0)

    async def receive_into(self, buffer: memoryview, when_full: WhenFull | None = None) -> int:
        """Give at least one byte of the body, 0 at its end; bounded in time, see ClientLimits."""
        if self._body.is_complete:
            return 0
        started_at = trio.current_time()
        with within(self._pace.wait_s + self._wait_s, "no byte of its answer came"):
            n_bytes = await self._body.receive_into(buffer, when_full)
        self._pace.note(n_bytes, trio.current_time() - started_at)
        return n_bytes

    @property
    def may_follow(self) -> bool:
        """The connection is at rest after exactly this answer, and can be used for another."""
        return self.head.may_follow and self.head.is_framed and self._body.is_complete and self._body.is_clean


class _FixedBody:
    """A body of a known length; the bytes beyond it that came along are never read as anything."""

    def __init__(self, connection: Connection, early: bytes, n_bytes: int, *, may_end_early: bool = False) -> None:
        self.is_clean = len(early) <= n_bytes
        self._connection = connection
        self._early = memoryview(early)[:n_bytes]
        self._n_left = n_bytes
        self._may_end_early = may_end_early

    @property
    def is_complete(self) -> bool:
        return self._n_left == 0

    async def receive_into(self, buffer: memoryview, when_full: WhenFull | None) -> int:
        if self._early:
            await trio.lowlevel.checkpoint()
            n_bytes = min(len(buffer), len(self._early))
            buffer[:n_bytes] = self._early[:n_bytes]
            self._early = self._early[n_bytes:]
        else:
            is_whole = len(buffer) <= self._n_left
            n_bytes = await self._connection.receive_into(buffer[: self._n_left], when_full if is_whole else None)
        if n_bytes == 0:
            kind = PeerLacksError if self._may_end_early else PeerUnreachableError
            raise kind(f"it closed the connection {self._n_left} bytes before its answer's end")
        self._n_left -= n_bytes
        return n_bytes


class _ChunkedBody:
    """A body in chunks, unpacked by h11 (copied twice: no server of files does it for a range)."""

    def __init__(self, connection: Connection, state: h11.Connection) -> None:
        self.is_complete = False
        self._connection = connection
        self._state = state
        self._ready = memoryview(b"")
        self._n_bytes = self._n_pieces = 0

    @property
    def is_clean(self) -> bool:
        return not self._state.trailing_data[0]

    async def receive_into(self, buffer: memoryview, when_full: WhenFull | None) -> int:
        await trio.lowlevel.checkpoint()
        while not self._ready and not self.is_complete:
            await self._next_event()
        n_bytes = min(len(buffer), len(self._ready))
        buffer[:n_bytes] = self._ready[:n_bytes]
        self._ready = self._ready[n_bytes:]
        return n_bytes

    def _count(self, n_bytes: int) -> None:
        """Refuse a body in crumbs: at 10 µs each they cost us more than their sender."""
        self._n_bytes += n_bytes
        self._n_pieces += 1
        if self._n_pieces > _FREE_PIECES + self._n_bytes // _MIN_PIECE_BYTES:
            raise PeerLiedError(f"its answer comes in {self._n_pieces} pieces for {self._n_bytes} bytes")

    async def _next_event(self) -> None:
        event = self._state.next_event()
        if isinstance(event, h11.Data):
            self._ready = memoryview(bytes(event.data))
            self._count(len(event.data))
        elif isinstance(event, h11.EndOfMessage):
            self.is_complete = True
        else:
            assert event is h11.NEED_DATA, event
            data = await self._connection.receive()
            if not data:
                raise PeerUnreachableError("it closed the connection before its answer's end")
            self._state.receive_data(data)
