"""A peer reached by HTTP/1.1: kacheryfs's own server, or any web server with the static layout."""

from __future__ import annotations

import enum
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import trio

from ..core import wire
from ..core.model import Binding, Blake3, ByteRange, Sha1, salted
from ..core.secret import Secret
from ..core.wire import FileInfo
from ..errors import ConfigError, PeerLacksError, PeerLiedError, PeerRefusedError, PeerUnreachableError
from .address import parse_peer_url
from .connection import Connection, Exchange
from .exchanges import Exchanges
from .heads import PeerBusyError, PeerForbidsError, Request, check_range, size_of
from .limits import ClientLimits
from .names import HostAddresses
from .peer import RangeStream, WhenFull
from .pool import Pool
from .seam import Seam
from .stats import PeerStats
from .transport import Transport, dial, encrypt


class Kind(enum.Enum):
    SPEAKS = "it speaks the protocol"
    STATIC = "some web server"


class HttpPeer:
    """Implements ``peer.Peer``; safe for any number of tasks, each cancelled at will."""

    def __init__(
        self,
        url: str,
        *,
        limits: ClientLimits | None = None,
        tls: ssl.SSLContext | None = None,
        find_secret: Callable[[], Secret | None] = lambda: None,
    ) -> None:
        """Check the URL (InputError) without connecting; ``tls`` replaces the system's trusted certificates.

        ``find_secret`` reads what is said to this peer, before each connection: so one that is told later holds at
        once, since who refuses us for the lack of it closes. It may block for a small file.
        """
        self._address = parse_peer_url(url)
        self._limits = limits or ClientLimits()
        self._tls = tls
        self._find_secret = find_secret
        self._host_addresses = HostAddresses(self._address.host)
        self._stats = PeerStats()
        self._seam = Seam(self.url, self._stats)
        self._pool = Pool(self._dial, self._limits, self._stats)
        self._exchanges = Exchanges(self._pool)
        self._kind: Kind | None = None
        self._peer_id: bytes | None = None
        self._learning = trio.Lock()
        self._static_paths = (wire.sha1_path, wire.static_sha1_path)

    @property
    def url(self) -> str:
        return str(self._address)

    @property
    def stats(self) -> PeerStats:
        return self._stats

    @property
    def peer_id(self) -> bytes | None:
        return self._peer_id

    @property
    def is_static(self) -> bool | None:
        """It is a plain web server; None where that isn't known yet."""
        return None if self._kind is None else self._kind is Kind.STATIC

    async def connect(self) -> None:
        with self._seam:
            await self._learn()

    async def warm(self) -> None:
        with self._seam:
            await self._pool.warm()

    async def have(self, sha1s: Sequence[Sha1]) -> list[bool]:
        with self._seam:
            if await self._learn() is Kind.STATIC:
                return [await self._find_size(sha1) is not None for sha1 in sha1s]
            batches = [sha1s[i : i + wire.MAX_HAVE] for i in range(0, len(sha1s), wire.MAX_HAVE)]
            return [answer for batch in batches for answer in await self._have(batch)]

    async def describe(self, sha1: Sha1) -> FileInfo:
        with self._seam:
            if await self._learn() is Kind.SPEAKS:
                data = await self._exchanges.get(wire.file_path(sha1), f"sha1 {sha1.short}", wire.MAX_JSON_BYTES)
                return wire.parse_file(data)
            size_bytes = await self._find_size(sha1)
            if size_bytes is None:
                raise PeerLacksError(f"it does not have sha1 {sha1.short}")
            return FileInfo(size_bytes, None)

    async def presence(self, binding: Binding, group: int, n_blocks: int) -> list[bool]:
        what = f"sha1 {binding.sha1.short}"
        with self._seam:
            if await self._learn() is Kind.STATIC or binding.manifest is None:
                raise PeerLacksError(f"it does not say which blocks of {what} it has")
            data = await self._exchanges.get(wire.presence_path(binding, group), f"blocks of {what}", -(-n_blocks // 8))
            return wire.parse_presence(data, n_blocks)

    async def get_manifest_part(self, digest: Blake3, max_bytes: int) -> bytes:
        with self._seam:
            return await self._exchanges.get(wire.manifest_path(digest), f"manifest {digest.short}", max_bytes)

    @asynccontextmanager
    async def open_range(
        self, binding: Binding, span: ByteRange, *, is_partial: bool, size_bytes: int, wait_s: float = 0.0
    ) -> AsyncIterator[RangeStream]:
        assert span.stop <= size_bytes
        assert span or size_bytes == 0
        with self._seam:
            request = Request("", span=span, wait_s=min(wait_s, wire.MAX_WAIT_S) if is_partial else 0.0)
            exchange = await self._start_range(binding, request, is_partial, size_bytes)
        try:
            yield _Body(exchange, self._seam, len(span))
        finally:
            self._exchanges.finish(exchange)

    async def aclose(self) -> None:
        self._pool.close()
        await trio.lowlevel.checkpoint()

    async def _learn(self) -> Kind:
        kind = self._kind
        if kind is None:
            async with self._learning:
                kind = self._kind = self._kind or await self._ask_kind()
        return kind

    async def _ask_kind(self) -> Kind:
        try:
            data = await self._exchanges.get(wire.PEER_PATH, "who it is", wire.MAX_JSON_BYTES)
        except (PeerBusyError, PeerForbidsError):
            raise  # tells nothing about what it is when it isn't busy, and we are let in
        except (PeerRefusedError, PeerLiedError):
            return Kind.STATIC
        info = wire.parse_peer(data)
        if info is None or info.protocol != wire.PROTOCOL:
            return Kind.STATIC
        self._peer_id = info.peer_id
        return Kind.SPEAKS

    async def _have(self, sha1s: Sequence[Sha1]) -> list[bool]:
        path = wire.have_path([salted(sha1) for sha1 in sha1s])
        return wire.parse_have(await self._exchanges.get(path, "what it has", wire.MAX_JSON_BYTES), len(sha1s))

    async def _find_size(self, sha1: Sha1) -> int | None:
        """Ask a static peer for a file's size; None where it has no such file."""
        try:
            exchange = await self._start_static(sha1, Request("", "HEAD"))
        except PeerLacksError:
            return None
        try:
            return size_of(exchange.head)
        finally:
            self._exchanges.finish(exchange)

    async def _start_range(self, binding: Binding, request: Request, is_partial: bool, size_bytes: int) -> Exchange:
        assert request.span is not None
        exchange = await self._start_file(binding, request, is_partial)
        try:
            check_range(exchange.head, request.span, size_bytes)
        except BaseException:
            self._exchanges.finish(exchange)
            raise
        return exchange

    async def _start_file(self, binding: Binding, request: Request, is_partial: bool) -> Exchange:
        what = f"sha1 {binding.sha1.short}"
        is_static = await self._learn() is Kind.STATIC
        if is_partial and (is_static or binding.manifest is None):
            raise PeerLacksError(f"it serves no file in part, so not {what}")
        if is_partial:
            return await self._exchanges.start(
                replace(request, path=wire.blocks_path(binding)), f"these bytes of {what}"
            )
        if is_static:
            return await self._start_static(binding.sha1, request)
        return await self._exchanges.start(replace(request, path=wire.sha1_path(binding.sha1)), what)

    async def _start_static(self, sha1: Sha1, request: Request) -> Exchange:
        """Ask at both places of the static layout, first at the one that answered last."""
        what = f"sha1 {sha1.short}"
        first, second = self._static_paths
        try:
            return await self._exchanges.start(replace(request, path=first(sha1)), what)
        except PeerLacksError:
            exchange = await self._exchanges.start(replace(request, path=second(sha1)), what)
        self._static_paths = (second, first)
        return exchange

    async def _dial(self) -> Connection:
        try:
            secret = self._find_secret()
        except ConfigError as exc:
            raise PeerUnreachableError(f"not asked without its secret: {exc}") from exc
        try:
            sock = await dial(await self._host_addresses.get(), self._address.port)
        except OSError:
            self._kind = None  # whoever listens here next may be something else
            raise
        if self._address.is_tls:
            sock = await self._encrypt(sock)
        return Connection(Transport(sock), self._address, self._limits, self._stats, secret)

    async def _encrypt(self, sock: socket.socket) -> socket.socket:
        try:
            tls = await self._get_tls()
        except BaseException:
            sock.close()
            raise
        return await encrypt(sock, self._address.host, tls)

    async def _get_tls(self) -> ssl.SSLContext:
        if self._tls is None:  # reads the system's certificates: tens of milliseconds
            self._tls = await trio.to_thread.run_sync(ssl.create_default_context)
        return self._tls


class _Body:
    """The bytes of exactly one span, out of a peer's answer."""

    def __init__(self, exchange: Exchange, seam: Seam, n_bytes: int) -> None:
        self._exchange = exchange
        self._seam = seam
        self._n_left = n_bytes

    async def receive_into(self, buffer: memoryview, when_full: WhenFull | None = None) -> int:
        assert buffer
        with self._seam:
            if self._n_left == 0:
                await trio.lowlevel.checkpoint()
                return 0
            is_whole = len(buffer) <= self._n_left
            n_bytes = await self._exchange.receive_into(buffer[: self._n_left], when_full if is_whole else None)
            self._n_left -= n_bytes
            if n_bytes == 0:
                raise PeerLiedError(f"its answer ends {self._n_left} bytes before what its head says")
            if self._n_left == 0 and await self._exchange.receive_into(memoryview(bytearray(1))):
                raise PeerLiedError("its answer is longer than its head says")
            return n_bytes
