"""Questions to one peer over its pool: asked again where a kept connection had died, answers read whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h11

from ..errors import PeerError, PeerLiedError
from .connection import Connection, Exchange, StaleConnectionError
from .heads import Request, check_whole, refuse
from .pool import Pool
from .seam import within

_PIECE_BYTES = 64 * 1024
_MAX_ERROR_BYTES = 16 * 1024
"""Of an error's body that is read, for its words and to keep the connection."""


class Exchanges:
    """Raises PeerError, and what ``seam`` makes one of."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def start(self, request: Request, what: str) -> Exchange:
        """Return the answer to ``request`` if it is a success, else raise its refusal; then ``finish`` it."""
        exchange = await self._ask(request)
        try:
            if exchange.head.status >= 300:
                body = await self._error_body(exchange)
                refuse(exchange.head, body, what, has_secret=exchange.connection.has_secret)
        except BaseException:
            self.finish(exchange)
            raise
        return exchange

    def finish(self, exchange: Exchange) -> None:
        """Let go of an answer, read to its end or not."""
        self._pool.give_back(exchange.connection, may_follow=exchange.may_follow)

    @asynccontextmanager
    async def started(self, request: Request, what: str) -> AsyncIterator[Exchange]:
        exchange = await self.start(request, what)
        try:
            yield exchange
        finally:
            self.finish(exchange)

    async def get(self, path: str, what: str, max_bytes: int) -> bytes:
        """Return the whole answer; PeerLiedError where it is longer than ``max_bytes``."""
        async with self.started(Request(path), what) as exchange:
            check_whole(exchange.head, max_bytes)
            return await _read(exchange, max_bytes)

    async def _ask(self, request: Request) -> Exchange:
        try:
            return await self._ask_on(await self._pool.take(), request)
        except StaleConnectionError:
            return await self._ask_on(await self._pool.take(fresh=True), request)

    async def _ask_on(self, connection: Connection, request: Request) -> Exchange:
        try:
            return await connection.ask(request)
        except BaseException:
            self._pool.give_back(connection, may_follow=False)
            raise

    async def _error_body(self, exchange: Exchange) -> bytes:
        if not exchange.head.is_framed or (exchange.head.content_length or 0) > _MAX_ERROR_BYTES:
            return b""
        try:
            with within(exchange.connection.limits.head_s, "no complete error"):
                return await _read(exchange, _MAX_ERROR_BYTES)
        except (PeerError, OSError, h11.RemoteProtocolError):
            return b""  # its status has told the main thing, and the connection is not kept


async def _read(exchange: Exchange, max_bytes: int) -> bytes:
    """Read a body to its end; PeerLiedError where it is longer than ``max_bytes``."""
    buffer = memoryview(bytearray(_PIECE_BYTES))
    pieces, n_bytes = [], 0
    while n_new := await exchange.receive_into(buffer):
        pieces.append(bytes(buffer[:n_new]))
        n_bytes += n_new
        if n_bytes > max_bytes:
            raise PeerLiedError(f"its answer is over the limit of {max_bytes} bytes")
    return b"".join(pieces)
