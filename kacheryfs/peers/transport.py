"""Bytes to and from one peer, plain or through TLS, received where the caller wants them.

The socket is asked first, without blocking; trio is only told to wait when there is nothing. So a body costs one
system call per receive, no copy and no object. An ``ssl.SSLSocket`` behaves alike but for the exceptions by which it
says "not yet", and keeps no bytes in a buffer of its own, so that ``is_quiet`` tells the truth.

A large buffer is filled by a thread: copying out of the kernel takes 0.3 s a GB, which the event loop has not to spare,
and the thread has the bytes in its cache when it goes on to verify them. It waits for all of it in one system call,
since each return to Python is a tug-of-war over the interpreter's lock.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from contextlib import suppress

import trio

from .peer import WhenFull

_NEXT_ADDRESS_S = 1.0
_LAST_SEGMENT_BYTES = 64 * 1024
"""On loopback; elsewhere a segment has 1.5 KB or 9 KB."""
_THREAD_BYTES = 128 * 1024
"""From this on a thread fills the buffer: a hop to it takes 0.1 ms, which copying so much takes too. Of a block of
256 KiB the first 16 come with the head, and the hop shall be over when its last byte comes."""
_HOP_S = 0.05
"""How long that thread waits for the rest: until it is back, nobody can cancel it."""


class Transport:
    """A connected stream of bytes; raises OSError and trio.ClosedResourceError."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over a connected socket; an ``SSLSocket`` after its handshake."""
        self._sock = sock
        self._is_encrypted = isinstance(sock, ssl.SSLSocket)  # then it can't be asked with flags, and never blocks
        sock.setblocking(not self._is_encrypted)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, int(_HOP_S * 1e6)))
        self._is_in_thread = False  # Invariant: then nobody but that thread uses the socket, and it stays open
        self._limiter = trio.CapacityLimiter(1)  # its own: of the 40 threads for everything, slow peers would hold all
        self._is_closed = False
        self._failure: OSError | None = None  # after it nothing is received: bytes may be missing in the stream

    async def send_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._send_now(rest) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                await trio.lowlevel.wait_writable(self._sock)
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(self._sock)

    async def receive_into(self, buffer: memoryview, when_full: WhenFull | None = None) -> int:
        """Wait for bytes, then fill ``buffer`` as far as they are there; 0 at the stream's end. A checkpoint.

        ``when_full`` may be called, in a thread, before this returns: if the buffer came to be full there. If it gives
        another buffer, that one is filled too; what is returned is how many bytes came in all.
        """
        if len(buffer) >= _THREAD_BYTES:
            return await self._receive_in_thread(buffer, when_full)
        if self._failure is not None:
            raise self._failure
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

    async def _receive_in_thread(self, buffer: memoryview, when_full: WhenFull | None) -> int:
        n_bytes = None
        while n_bytes is None:
            if self._is_closed:  # also since the thread came back with nothing
                raise trio.ClosedResourceError
            if self._failure is not None:
                raise self._failure
            if not (isinstance(self._sock, ssl.SSLSocket) and self._sock.pending()):
                await trio.lowlevel.wait_readable(self._sock)
            self._is_in_thread = True
            try:
                n_bytes = await trio.to_thread.run_sync(self._receive_most, buffer, when_full, limiter=self._limiter)
            finally:
                self._is_in_thread = False
                if self._is_closed:
                    self._sock.close()
        return n_bytes

    def _receive_most(self, buffer: memoryview, when_full: WhenFull | None) -> int | None:
        """Fill ``buffer``, and those given after it, while bytes keep coming; None where none came, 0 at the end.

        In a thread.
        """
        n_bytes = self._fill(buffer)
        n_all = n_bytes or 0
        while when_full and n_bytes == len(buffer):
            following = when_full()
            if following is None:
                break
            buffer = following
            try:
                n_bytes = self._fill_on(buffer)
            except OSError as exc:  # told by the next receive: what came before it counts
                self._failure = exc
                break
            n_all += n_bytes or 0  # an end is met again by the next receive
        return n_all or n_bytes

    def _fill_on(self, buffer: memoryview) -> int | None:
        """Fill ``buffer``, most of which is often there already: one system call then."""
        n_bytes = self._receive_now(buffer)
        if n_bytes == 0 or n_bytes == len(buffer):
            return n_bytes
        n_before = n_bytes or 0
        n_more = self._fill(buffer[n_before:])
        return n_before + n_more if n_more else n_bytes

    def _fill(self, buffer: memoryview) -> int | None:
        first = max(len(buffer) - _LAST_SEGMENT_BYTES, 0)
        n_bytes = self._receive_all(buffer[:first]) if first else 0
        if n_bytes != first:
            return n_bytes
        self._acknowledge()
        n_last = self._receive_all(buffer[first:])
        return first + n_last if n_last else first or n_last  # an end is met again by the next receive

    def _receive_all(self, buffer: memoryview) -> int | None:
        """Fill ``buffer``, waiting up to ``_HOP_S``; None where nothing came, 0 at the end."""
        if self._is_encrypted:
            return self._receive_patiently(buffer)
        try:
            return self._sock.recv_into(buffer, len(buffer), socket.MSG_WAITALL)
        except BlockingIOError:
            return None

    def _receive_patiently(self, buffer: memoryview) -> int | None:
        n_bytes, until = 0, time.monotonic() + _HOP_S
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        while n_bytes < len(buffer):
            n_new = self._receive_now(buffer[n_bytes:])
            n_bytes += n_new or 0
            if n_new == 0:
                return n_bytes
            if n_new is None and not poll.poll(max(until - time.monotonic(), 0) * 1000):
                return n_bytes or None
        return n_bytes

    def is_quiet(self) -> bool:
        """Tell whether the stream is open and nothing has come; if something has, it is lost."""
        try:
            return self._receive_now(memoryview(bytearray(1))) is None
        except OSError:
            return False

    def close(self) -> None:
        """Close at once, waking who waits (trio.ClosedResourceError); idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._is_in_thread:  # which meets the end at once, and closes it: its number must not be another's meanwhile
            with suppress(OSError):
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        else:
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
                n_new = self._ask(buffer[n_bytes:])
            except (BlockingIOError, ssl.SSLWantReadError):
                return n_bytes or None
            if n_new == 0:
                break  # where bytes came before it, the next receive meets the end again
            n_bytes += n_new
        return n_bytes

    def _ask(self, buffer: memoryview) -> int:
        if self._is_encrypted:
            return self._sock.recv_into(buffer)
        return self._sock.recv_into(buffer, len(buffer), socket.MSG_DONTWAIT)

    def _send_now(self, data: memoryview) -> int:
        return self._sock.send(data) if self._is_encrypted else self._sock.send(data, socket.MSG_DONTWAIT)


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
