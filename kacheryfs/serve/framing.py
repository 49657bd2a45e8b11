"""HTTP/1.1 on one socket: heads in through h11, replies out past it: formed by h11, they left 0.3 ms later."""

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
from .sending import Outlet, Transfer

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
        self._http = self._new_parser()  # of one request
        self._is_head = False
        self._is_last = True  # but for a request that has ended and says nothing else
        self._begun: Transfer | None = None
        self._outlet = Outlet(stream.socket.fileno(), address, common)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _KERNEL_DEFAULT)

    def _new_parser(self) -> h11.Connection:
        return h11.Connection(h11.SERVER, max_incomplete_event_size=self._common.limits.max_head_bytes)

    @property
    def has_unread(self) -> bool:
        """Tell whether bytes of a next request were received already."""
        return bool(self._http.trailing_data[0])

    @property
    def must_close(self) -> bool:
        """Tell whether no further request can come, after a reply."""
        return self._is_last

    def start_next(self) -> None:
        unread, _ = self._http.trailing_data
        self._http = self._new_parser()
        if unread:
            self._http.receive_data(unread)

    async def receive(self) -> bool:
        """Wait for bytes; False: the client closed its side."""
        data = await self._stream.receive_some(_RECEIVE_BYTES)
        self._http.receive_data(data)
        return bool(data)

    async def read_head(self) -> RequestHead | Refusal | None:
        """Return the next head, or why it isn't one; None: closed before it was whole."""
        self._is_head, self._is_last = False, True
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
                self._is_last = event.http_version == b"1.0" or head.says_close
            return head
        except h11.RemoteProtocolError as exc:
            return _TOO_LARGE if exc.error_status_hint == 431 else _NOT_HTTP

    def begin(self, reply: Reply) -> None:
        """Send at once what the socket takes of a reply that needn't wait; blocking; errors as ``Outlet.send``.

        For the thread that made the reply: a turn of the event loop (0.4 ms) less before its head leaves.
        """
        self._begun = self._outlet.begin(self._encode_head(reply), self._body_of(reply))

    async def send(self, reply: Reply) -> bool:
        """Send a reply, or the rest of one that was begun (to HEAD without its body); errors as ``Outlet.send``.

        False: it ends early, since a block that it waited for didn't come; the connection must be closed.
        """
        begun, self._begun = self._begun, None
        if begun is not None:
            await self._outlet.send(begun)
            return True
        head, body = self._encode_head(reply), self._body_of(reply)
        if isinstance(body, FileBody) and body.wait_s:
            return await self._send_as_it_comes(head, body)
        await self._outlet.send(self._outlet.transfer(head, body))
        return True

    def _body_of(self, reply: Reply) -> bytes | FileBody:
        return b"" if self._is_head else reply.body

    def _encode_head(self, reply: Reply) -> bytes:
        """latin-1 as in requests; a reply's own headers are numbers, digests and constants."""
        headers = [("Date", formatdate(usegmt=True)), *_ALWAYS, *reply.headers]
        if reply.status != 304:
            headers.append(("Content-Length", str(reply.n_bytes)))
        if reply.must_close or self.must_close:
            headers.append(("Connection", "close"))
        lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}", *map(": ".join, headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    async def _send_as_it_comes(self, head: bytes, body: FileBody) -> bool:
        rest = body.span
        while rest:
            stop = await self.wait_for(body, rest)
            if stop == rest.start:
                return False
            part = FileBody(body.readable, ByteRange(rest.start, stop))
            await self._outlet.send(self._outlet.transfer(head, part))
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
