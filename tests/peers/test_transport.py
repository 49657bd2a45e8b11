"""What no server can bring about at will: acknowledgements, sends that fail, closing while dialling."""

from __future__ import annotations

import socket
from typing import cast

import pytest
import trio

from kacheryfs.errors import PeerUnreachableError
from kacheryfs.peers.address import parse_peer_url
from kacheryfs.peers.connection import Connection, StaleConnectionError
from kacheryfs.peers.heads import Request, printable
from kacheryfs.peers.limits import ClientLimits
from kacheryfs.peers.pool import Pool
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
