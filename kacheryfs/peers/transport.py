"""Bytes to and from one peer, plain or through TLS, received where the caller wants them.

The socket is non-blocking and asked first; trio is only told to wait when there is nothing. So a body costs one
system call per receive, no copy and no object. An ``ssl.SSLSocket`` behaves alike but for the exceptions by which it
says "not yet", and keeps no bytes in a buffer of its own, so that ``is_quiet`` tells the truth.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress

import trio

_NEXT_ADDRESS_S = 1.0
_LAST_SEGMENT_BYTES = 64 * 1024
"""On loopback; elsewhere a segment has 1.5 KB or 9 KB."""


class Transport:
    """A connected stream of bytes; raises OSError and trio.ClosedResourceError."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def send_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._sock.send(rest) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                await trio.lowlevel.wait_writable(self._sock)
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(self._sock)

    async def receive_into(self, buffer: memoryview) -> int:
        """Wait for bytes, then fill ``buffer`` as far as they are there; 0 at the stream's end. A checkpoint."""
        n_bytes = self._receive_now(buffer)
        if n_bytes is not None:
            await trio.lowlevel.checkpoint()
            return n_bytes
        while n_bytes is None:
            if len(buffer) <= _LAST_SEGMENT_BYTES:
                self._acknowledge()
            await trio.lowlevel.wait_readable(self._sock)
            n_bytes = self._receive_now(buffer)
        return n_bytes

    def is_quiet(self) -> bool:
        """Tell whether the stream is open and nothing has come; if something has, it is lost."""
        try:
            return self._receive_now(memoryview(bytearray(1))) is None
        except OSError:
            return False

    def close(self) -> None:
        """Close at once, waking who waits (trio.ClosedResourceError); idempotent."""
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    def _acknowledge(self) -> None:
        """Tell the sender now what came, before waiting for the last bytes of an answer.

        A sender that holds back its last, small segment until the ones before it are acknowledged (nginx with
        ``tcp_nopush``, as Debian sets it up) else waits 40 ms for our delayed one: 44 ms for 64 KiB instead of 0.4.
        """
        with suppress(OSError):  # a broken connection says so at the next receive; other systems lack the option
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _receive_now(self, buffer: memoryview) -> int | None:
        """Fill ``buffer`` with what is there; None where nothing is, 0 at the end."""
        n_bytes = 0
        while n_bytes < len(buffer):
            try:
                n_new = self._sock.recv_into(buffer[n_bytes:])
            except (BlockingIOError, ssl.SSLWantReadError):
                return n_bytes or None
            if n_new == 0:
                break  # where bytes came before it, the next receive meets the end again
            n_bytes += n_new
        return n_bytes


async def dial(addresses: Sequence[str], port: int) -> socket.socket:
    """Connect to the first address that answers, each but the last within a second; OSError of the last."""
    for address in addresses[:-1]:
        with suppress(OSError), trio.move_on_after(_NEXT_ADDRESS_S):
            return await _connect(address, port)
    return await _connect(addresses[-1], port)


async def _connect(address: str, port: int) -> socket.socket:
    stream = await trio.open_tcp_stream(address, port)  # sets TCP_NODELAY
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    return sock


async def encrypt(sock: socket.socket, host: str, tls: ssl.SSLContext) -> ssl.SSLSocket:
    """Shake hands as a client of ``host``; takes the socket over, also when it fails. OSError (ssl.SSLError is one)."""
    encrypted = tls.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    try:
        await _shake_hands(encrypted)
    except BaseException:
        encrypted.close()
        raise
    return encrypted


async def _shake_hands(encrypted: ssl.SSLSocket) -> None:
    while True:
        try:
            return encrypted.do_handshake()
        except ssl.SSLWantReadError:
            await trio.lowlevel.wait_readable(encrypted)
        except ssl.SSLWantWriteError:
            await trio.lowlevel.wait_writable(encrypted)
