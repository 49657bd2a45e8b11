"""What no server can bring about at will: acknowledgements, sends that fail, closing while dialling."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trio

from kacheryfs.errors import PeerUnreachableError
from kacheryfs.peers.address import parse_peer_url
from kacheryfs.peers.connection import Connection, StaleConnectionError
from kacheryfs.peers.heads import Request, printable
from kacheryfs.peers.limits import ClientLimits
from kacheryfs.peers.peer import WhenFull
from kacheryfs.peers.pool import Pool
from kacheryfs.peers.seam import translate
from kacheryfs.peers.stats import PeerStats
from kacheryfs.peers.transport import Transport


class _RecordingSocket(socket.socket):
    """A socket that tells which options were set."""

    def __init__(self, fd: int) -> None:
        super().__init__(fileno=fd)
        self.options: list[int] = []

    def setsockopt(self, level: int, option: int, value: object, *_: object) -> None:
        self.options.append(option)
        super().setsockopt(level, option, cast(int, value))


@pytest.mark.parametrize(("n_buffer", "is_acknowledged"), [(100, True), (1 << 20, False)])
async def test_what_came_is_acknowledged_before_waiting_for_the_last_bytes(
    n_buffer: int, is_acknowledged: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = _RecordingSocket(socket.create_connection(listener.getsockname()).detach())
        sock.setblocking(False)
        transport = Transport(sock)
        with trio.move_on_after(0.01):
            await transport.receive_into(memoryview(bytearray(n_buffer)))
        assert (socket.TCP_QUICKACK in sock.options) is is_acknowledged
        transport.close()
        transport.close()


@asynccontextmanager
async def _connected() -> AsyncIterator[tuple[Transport, socket.socket]]:
    """Yield a transport, and the other end of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport = Transport(socket.create_connection(listener.getsockname()))
        with listener.accept()[0] as other:
            yield transport, other
            transport.close()


LARGE = bytes(range(256)) * 4096


async def _receive_all(transport: Transport, buffer: memoryview, when_full: WhenFull) -> None:
    n_bytes = 0
    while n_bytes < len(buffer):
        n_new = await transport.receive_into(buffer[n_bytes:], when_full)
        assert n_new > 0
        n_bytes += n_new


async def test_a_thread_fills_a_large_buffer_and_tells_when_it_is_full() -> None:
    told: list[int] = []
    async with _connected() as (transport, other), trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, other.sendall, LARGE)
        buffer = memoryview(bytearray(len(LARGE)))
        with trio.fail_after(10):
            await _receive_all(transport, buffer, lambda: told.append(threading.get_ident()))
        assert bytes(buffer) == LARGE
        assert threading.get_ident() not in told


async def test_a_thread_goes_on_with_the_buffers_that_it_is_given() -> None:
    stops = [1 << 18, (1 << 18) + 60_000, (1 << 18) + 60_001, (1 << 18) + 100_000]  # also a small one
    data = memoryview(bytearray(stops[-1]))
    async with _connected() as (transport, other):
        other.sendall(LARGE[: stops[0]])
        n_full = 0

        def following() -> memoryview | None:
            nonlocal n_full
            if n_full == 0:
                other.sendall(LARGE[stops[0] : stops[-1]])
            n_full += 1
            return data[stops[n_full - 1] : stops[n_full]] if n_full < len(stops) else None

        with trio.fail_after(10):
            assert await transport.receive_into(data[: stops[0]], following) == len(data)
        assert data == LARGE[: len(data)]


async def test_what_came_before_a_break_within_a_further_buffer_counts_and_nothing_comes_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with _connected() as (transport, other):
        other.sendall(LARGE[: 1 << 18])
        buffer, following = memoryview(bytearray(1 << 18)), memoryview(bytearray(1 << 18))

        def break_off() -> memoryview:
            other.sendall(LARGE[:1000])  # is taken, and then there is no memory

            def fail(_: memoryview) -> int:
                raise OSError(errno.ENOMEM, "no memory")

            monkeypatch.setattr(transport, "_fill", fail)
            return following

        with trio.fail_after(10):
            assert await transport.receive_into(buffer, break_off) == 1 << 18
            other.sendall(LARGE[:1000])  # would be taken for what was lost
            for n_bytes in (10, 1 << 18):
                with pytest.raises(OSError, match="no memory"):
                    await transport.receive_into(buffer[:n_bytes])


async def test_a_thread_that_waits_for_the_rest_gives_back_what_came() -> None:
    async with _connected() as (transport, other):
        other.sendall(b"some")
        told: list[None] = []
        with trio.fail_after(10):
            assert await transport.receive_into(memoryview(bytearray(1 << 20)), lambda: told.append(None)) == 4
        assert not told


async def test_a_large_receive_meets_the_end() -> None:
    async with _connected() as (transport, other):
        other.sendall(b"some")
        other.shutdown(socket.SHUT_WR)
        buffer = memoryview(bytearray(1 << 20))
        with trio.fail_after(10):
            assert [await transport.receive_into(buffer) for _ in range(3)] == [4, 0, 0]


async def test_closing_while_a_thread_receives_ends_it_and_keeps_the_descriptor_till_then() -> None:
    async with _connected() as (transport, other), trio.open_nursery() as nursery:
        other.sendall(b"some")
        buffer = memoryview(bytearray(1 << 20))
        received: list[int] = []

        async def receive() -> None:
            received.append(await transport.receive_into(buffer))

        nursery.start_soon(receive)
        with trio.fail_after(10):
            while not transport._is_in_thread:
                await trio.sleep(0.001)
            transport.close()
            assert not received
            assert transport._sock.fileno() >= 0
            while not received:
                await trio.sleep(0.001)
        assert received == [4]
        assert transport._sock.fileno() == -1


@pytest.mark.parametrize("n_buffer", [10, 1 << 20])
async def test_a_receive_after_closing_is_the_networks_error_whatever_its_size(n_buffer: int) -> None:
    async with _connected() as (transport, _):
        transport.close()
        with pytest.raises((OSError, trio.ClosedResourceError)) as caught:
            await transport.receive_into(memoryview(bytearray(n_buffer)))
        assert str(translate(caught.value)) == "closed on this side"


async def test_closing_just_as_a_thread_comes_back_with_nothing_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _connected() as (transport, other):
        other.sendall(b"some")

        def receive_nothing(*_: object) -> None:  # as of TLS, which has received but a part of its record
            trio.from_thread.run_sync(transport.close)

        monkeypatch.setattr(transport, "_receive_most", receive_nothing)
        with pytest.raises(trio.ClosedResourceError), trio.fail_after(10):
            await transport.receive_into(memoryview(bytearray(1 << 20)))
        assert transport._sock.fileno() == -1


async def test_receives_that_linger_take_no_thread_from_anything_else() -> None:
    limiter = trio.to_thread.current_default_thread_limiter()
    async with _connected() as (transport, other):
        busy = [object() for _ in range(int(limiter.total_tokens))]
        for borrower in busy:
            limiter.acquire_on_behalf_of_nowait(borrower)
        other.sendall(b"some")
        with trio.fail_after(10):
            assert await transport.receive_into(memoryview(bytearray(1 << 20))) == 4
        for borrower in busy:
            limiter.release_on_behalf_of(borrower)


async def test_a_small_receive_and_a_send_do_not_block_the_loop() -> None:
    async with _connected() as (transport, _):
        with trio.move_on_after(0.02) as receiving:
            await transport.receive_into(memoryview(bytearray(10)))
        assert receiving.cancelled_caught
        with trio.move_on_after(0.05) as sending:
            await transport.send_all(bytes(64 << 20))
        assert sending.cancelled_caught


async def test_a_warmed_pool_lends_without_dialling() -> None:
    dialled: list[Connection] = []

    async def dial() -> Connection:
        ours, theirs = socket.socketpair()
        others.append(theirs)
        dialled.append(Connection(Transport(ours), parse_peer_url("http://lab"), ClientLimits(), PeerStats()))
        return dialled[-1]

    others: list[socket.socket] = []
    pool = Pool(dial, ClientLimits(), PeerStats())
    await pool.warm()
    await pool.warm()
    connection = await pool.take()
    assert dialled == [connection]
    pool.give_back(connection, may_follow=False)
    pool.close()
    for other in others:
        other.close()


class _BrokenPipe(Transport):
    """Whose peer is gone before anything is sent."""

    def __init__(self) -> None:
        super().__init__(socket.socket())

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize(("is_reused", "error"), [(True, StaleConnectionError), (False, PeerUnreachableError)])
async def test_a_send_that_fails_is_tried_again_only_on_a_kept_connection(
    is_reused: bool, error: type[Exception]
) -> None:
    transport = _BrokenPipe()
    connection = Connection(transport, parse_peer_url("http://lab"), ClientLimits(), PeerStats())
    connection.is_reused = is_reused
    with pytest.raises(error):
        await connection.ask(Request("/"))
    transport.close()


async def test_a_peer_that_is_closed_while_it_is_dialled_keeps_no_connection() -> None:
    stats, transport = PeerStats(), Transport(socket.socket())

    async def dial() -> Connection:
        await trio.lowlevel.checkpoint()
        pool.close()
        return Connection(transport, parse_peer_url("http://lab"), ClientLimits(), stats)

    pool = Pool(dial, ClientLimits(), stats)
    with pytest.raises(PeerUnreachableError, match="closed on this side"):
        await pool.take()
    assert stats.n_open_connections == 0
    assert not transport.is_quiet()


def test_words_of_a_stranger_are_printable_and_short() -> None:
    assert printable("a\r\n\x1b[2J\u202e\udc80b") == "a???[2J??b"
    assert printable(b"\xff\xfe") == "\ufffd\ufffd"
    assert len(printable("x" * 1000)) == len(printable(b"x" * 1000)) == 80
