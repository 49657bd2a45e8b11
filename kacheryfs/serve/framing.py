"""HTTP/1.1 on one socket: heads in through h11, replies out past it."""

from __future__ import annotations

import socket
import struct
from email.utils import formatdate
from http import HTTPStatus

import h11
import trio

from ..core.model import ByteRange
from .common import Common
from .replies import FileBody, Reply
from .routes import Refusal, RequestHead
from .sending import Outlet

_RECEIVE_BYTES = 16 * 1024
_LINGER_BYTES = 1024 * 1024
_KERNEL_DEFAULT = 0
"""For TCP_NOTSENT_LOWAT: trio sets 16 KiB, which ends every sendfile after a few pages, at twice the CPU."""
_ALWAYS = (("X-Content-Type-Options", "nosniff"), ("Cross-Origin-Resource-Policy", "same-origin"))

_TOO_LARGE = Refusal(431, "the request's head is too large", must_close=True)
_NOT_HTTP = Refusal(400, "this is not a well-formed HTTP/1.1 request", must_close=True)


class Framing:
    """Frames one connection's requests and replies; knows nothing of what they mean."""

    def __init__(self, stream: trio.SocketStream, address: str, common: Common) -> None:
        self._stream = stream
        self._address = address
        self._common = common
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=common.limits.max_head_bytes)
        self._is_head = False  # Invariant: what h11 believes, too, whatever is wrong with the request
        self._outlet = Outlet(stream.socket.fileno(), address, common)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _KERNEL_DEFAULT)

    @property
    def has_unread(self) -> bool:
        """Tell whether bytes of a next request were received already."""
        return bool(self._http.trailing_data[0])

    @property
    def must_close(self) -> bool:
        """Tell whether no further request can come, after a reply."""
        return self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE

    def start_next(self) -> None:
        self._http.start_next_cycle()

    async def receive(self) -> bool:
        """Wait for bytes; False: the client closed its side."""
        data = await self._stream.receive_some(_RECEIVE_BYTES)
        self._http.receive_data(data)
        return bool(data)

    async def read_head(self) -> RequestHead | Refusal | None:
        """Return the next head, or why it isn't one; None: closed before it was whole."""
        self._is_head = False
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                if not await self.receive() and not self.has_unread:
                    return None
            if not isinstance(event, h11.Request):
                return None
            self._is_head = event.method == b"HEAD"
            if not event.http_version.startswith(b"1."):
                return _NOT_HTTP
            head = _head_of(event)
            if not head.has_body:
                self._http.next_event()  # the end of the request, which is ready at once
            return head
        except h11.RemoteProtocolError as exc:
            return _TOO_LARGE if exc.error_status_hint == 431 else _NOT_HTTP

    async def send(self, reply: Reply) -> bool:
        """Send a reply (to HEAD without its body); errors as ``Outlet.send``.

        False: it ends early, since a block that it waited for didn't come; the connection must be closed.
        """
        reason = HTTPStatus(reply.status).phrase
        head = self._http.send(h11.Response(status_code=reply.status, headers=_headers_of(reply), reason=reason))
        assert head is not None
        body = b"" if self._is_head else reply.body
        if len(body):
            self._http.send_with_data_passthrough(h11.Data(data=body))  # type: ignore[arg-type]  # only its len counts
        self._http.send(h11.EndOfMessage())
        if isinstance(body, FileBody) and body.wait_s:
            return await self._send_as_it_comes(head, body)
        await self._outlet.send(head, body)
        return True

    async def _send_as_it_comes(self, head: bytes, body: FileBody) -> bool:
        rest = body.span
        while rest:
            stop = await self.wait_for(body, rest)
            if stop == rest.start:
                return False
            await self._outlet.send(head, FileBody(body.readable, ByteRange(rest.start, stop)))
            head, rest = b"", ByteRange(stop, rest.stop)
        return True

    async def wait_for(self, body: FileBody, rest: ByteRange) -> int:
        """Return up to which byte ``rest`` can be sent now; its start where nothing of it has come."""
        sock_fd = self._stream.socket.fileno()
        return await self._common.waiters.wait_for(body.readable, rest, body.wait_s, self._address, sock_fd)

    def abort(self) -> None:
        """Have the close be a reset, which drops what the kernel still holds for a client that takes nothing."""
        self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def linger(self) -> None:
        """End our side, then drop what the client still sends, so that its reset doesn't destroy the reply."""
        with trio.move_on_after(self._common.limits.linger_s):
            await self._stream.send_eof()
            n_dropped = 0
            while n_dropped < _LINGER_BYTES and (data := await self._stream.receive_some(_RECEIVE_BYTES)):
                n_dropped += len(data)


def _head_of(event: h11.Request) -> RequestHead:
    """latin-1 keeps every byte of a header apart, whatever it was meant to be."""
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers)
    return RequestHead(event.method.decode("latin-1"), event.target.decode("latin-1"), headers)


def _headers_of(reply: Reply) -> list[tuple[str, str]]:
    headers = [("Date", formatdate(usegmt=True)), *_ALWAYS, *reply.headers]
    if reply.status != 304:
        headers.append(("Content-Length", str(reply.n_bytes)))
    if reply.must_close:
        headers.append(("Connection", "close"))
    return headers
