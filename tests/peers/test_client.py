"""HttpPeer's own habits: how it keeps connections, learns what a peer is, and uses TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from fakes import FakeFile, FakePeer
from peer_servers import SPEAKS, Script, TinyServer, head, listening, part, read_request

from kacheryfs.core import wire
from kacheryfs.core.model import Binding, Blake3, ByteRange, Sha1
from kacheryfs.errors import InputError, PeerError, PeerLacksError, PeerRefusedError, PeerUnreachableError
from kacheryfs.peers.client import HttpPeer
from kacheryfs.peers.limits import ClientLimits
from kacheryfs.peers.names import HostAddresses
from kacheryfs.peers.transport import dial

DATA = bytes(range(200)) * 1000
FILE = Binding(Sha1.of(DATA), None, len(DATA))
SPAN = ByteRange(10, 5010)
RIGHT = part(DATA[10:5010], 10, len(DATA))
NOT_FOUND = head("404 Not Found", "Content-Length: 0")
PEM = Path(__file__).parent / "localhost.pem"


async def fetch(peer: HttpPeer, span: ByteRange = SPAN) -> bytes:
    pieces, buffer = [], memoryview(bytearray(100_000))
    async with peer.open_range(FILE, span, is_partial=False, size_bytes=len(DATA)) as stream:
        while n_bytes := await stream.receive_into(buffer):
            pieces.append(bytes(buffer[:n_bytes]))
    return b"".join(pieces)


async def test_one_connection_serves_many_requests() -> None:
    script = Script([RIGHT, NOT_FOUND, RIGHT], peer=SPEAKS)
    async with listening(script.handle) as url:
        peer = HttpPeer(url)
        assert await fetch(peer) == DATA[10:5010]
        with pytest.raises(PeerLacksError):
            await fetch(peer)
        assert await fetch(peer) == DATA[10:5010]
        assert script.n_connections == 1
        assert peer.stats.n_open_connections == 1
        await peer.aclose()


async def test_a_peer_is_known_by_its_id_once_it_was_asked() -> None:
    who = wire.encode_peer("x", bytes(range(16)))
    script = Script([], peer=head("200 OK", f"Content-Length: {len(who)}") + who)
    async with listening(script.handle) as url:
        peer = HttpPeer(url)
        assert peer.peer_id is None
        await peer.connect()
        assert peer.peer_id == bytes(range(16))
        await peer.aclose()


async def test_a_peer_without_an_id_or_a_static_one_has_none() -> None:
    for answer in (SPEAKS, NOT_FOUND):
        async with listening(Script([], peer=answer).handle) as url:
            peer = HttpPeer(url)
            await peer.connect()
            assert peer.peer_id is None
            await peer.aclose()


async def test_only_blocks_are_waited_for_and_the_time_is_no_round_trip() -> None:
    async def late(stream: trio.SocketStream) -> None:
        await trio.sleep(0.3)
        await stream.send_all(RIGHT)

    script = Script([late, RIGHT], peer=SPEAKS)
    async with listening(script.handle) as url:
        peer = HttpPeer(url, limits=ClientLimits(head_s=0.1))
        await peer.connect()
        before = peer.stats.round_trip_s
        file, size = Binding(FILE.sha1, Blake3(b"m" * 32)), len(DATA)
        async with peer.open_range(file, SPAN, is_partial=True, size_bytes=size, wait_s=60) as stream:
            assert await stream.receive_into(memoryview(bytearray(9))) == 9
        assert peer.stats.round_trip_s == before
        async with peer.open_range(file, SPAN, is_partial=False, size_bytes=size, wait_s=60):
            pass
        assert peer.stats.round_trip_s != before
        assert [b"Prefer: wait=5\r\n" in request for request in script.requests] == [True, False]
        await peer.aclose()


async def test_a_connection_that_the_peer_ends_is_not_kept() -> None:
    closing = RIGHT.replace(b"Content-Length", b"Connection: Close\r\nContent-Length")
    old = RIGHT.replace(b"HTTP/1.1", b"HTTP/1.0")
    script = Script([closing, old, RIGHT], peer=SPEAKS)
    async with listening(script.handle) as url:
        peer = HttpPeer(url)
        for _ in range(3):
            assert await fetch(peer) == DATA[10:5010]
        assert script.n_connections == 3
        await peer.aclose()


async def test_a_kept_connection_that_died_is_replaced_unseen() -> None:
    n_connections = 0

    async def one_answer(stream: trio.SocketStream) -> None:
        nonlocal n_connections
        n_connections += 1
        is_first = b"/v1/peer" in await read_request(stream)
        await stream.send_all(SPEAKS if is_first else RIGHT)
        await read_request(stream)  # dies with a question on its way, which only asking can show

    async with listening(one_answer) as url:
        peer = HttpPeer(url)
        await peer.connect()
        assert await fetch(peer) == DATA[10:5010]
        assert n_connections == 2
        assert peer.stats.last_error is None
        await peer.aclose()


async def test_one_dead_connection_is_not_replaced_by_another() -> None:
    n_connections, both_asked = 0, trio.Event()

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal n_connections
        n_connections += 1
        is_early = n_connections <= 2
        while request := await read_request(stream):
            if n_connections == 2:
                both_asked.set()
            if b"/v1/peer" not in request:
                if is_early and stream in answered:
                    return  # both connections die with their second question
                answered.add(stream)
                await both_asked.wait()
            await stream.send_all(SPEAKS if b"/v1/peer" in request else RIGHT)

    answered: set[trio.SocketStream] = set()
    async with listening(handle) as url:
        peer = HttpPeer(url)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch, peer)
            nursery.start_soon(fetch, peer)
        assert peer.stats.n_open_connections == 2
        assert await fetch(peer) == DATA[10:5010]
        assert n_connections == 3
        await peer.aclose()


async def test_a_peer_that_always_hangs_up_is_asked_twice_at_most() -> None:
    n_requests = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal n_requests
        while request := await read_request(stream):
            if b"/v1/peer" not in request:
                n_requests += 1
                return
            await stream.send_all(SPEAKS)

    async with listening(handle) as url:
        peer = HttpPeer(url)
        with pytest.raises(PeerUnreachableError, match="without an answer"):
            await fetch(peer)
        assert n_requests == 2
        await peer.aclose()


async def test_an_old_idle_connection_is_not_used(mock_clock: trio.testing.MockClock) -> None:
    script = Script([RIGHT, RIGHT], peer=SPEAKS)
    async with listening(script.handle) as url:
        peer = HttpPeer(url)
        assert await fetch(peer) == DATA[10:5010]
        mock_clock.jump(60)
        assert await fetch(peer) == DATA[10:5010]
        assert script.n_connections == 2
        await peer.aclose()


async def test_connections_are_bounded_and_who_waits_is_told() -> None:
    async def sleep(stream: trio.SocketStream) -> None:
        while b"/v1/peer" in await read_request(stream):
            await stream.send_all(SPEAKS)
        await stream.send_all(RIGHT[:-1])
        await trio.sleep_forever()

    async with listening(sleep) as url:
        peer = HttpPeer(url, limits=ClientLimits(max_connections=2, connect_s=0.6))
        async with (
            peer.open_range(FILE, SPAN, is_partial=False, size_bytes=len(DATA)),
            peer.open_range(FILE, SPAN, is_partial=False, size_bytes=len(DATA)),
        ):
            with pytest.raises(PeerUnreachableError, match="none of 2 connections was free"):
                await fetch(peer)
        await peer.aclose()


async def test_who_waits_for_a_connection_gets_the_next_one_free() -> None:
    async with listening(TinyServer(FakePeer(whole=[FakeFile.of(DATA)])).handle) as url:
        peer = HttpPeer(url, limits=ClientLimits(max_connections=1))
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(fetch, peer)
        assert peer.stats.n_open_connections == 1
        await peer.aclose()


async def test_nobody_there_says_why() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        peer = HttpPeer(f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(PeerUnreachableError, match="connection refused") as caught:
            await peer.connect()
    assert str(caught.value).startswith(f"{peer.url}: ")
    assert peer.stats.last_error == str(caught.value)
    await peer.aclose()


async def test_the_next_address_of_a_host_is_tried() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        sock = await dial(["127.0.0.2", "127.0.0.1"], listener.getsockname()[1])
        assert sock.getpeername()[0] == "127.0.0.1"
        sock.close()


async def test_a_host_is_looked_up_once_in_a_while(
    mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in ("10.0.0.2", "10.0.0.1")]
    asked: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: asked.append(host) or found)
    addresses = HostAddresses("lab.invalid")
    assert await addresses.get() == ["10.0.0.2", "10.0.0.1"]
    await addresses.get()
    assert asked == ["lab.invalid"]
    mock_clock.jump(60)
    await addresses.get()
    assert asked == ["lab.invalid"] * 2


async def test_a_hanging_name_server_holds_one_thread_of_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, n_lookups = threading.Event(), 0

    def hang(*_: object, **__: object) -> list[object]:
        nonlocal n_lookups
        n_lookups += 1
        answers.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    peer = HttpPeer("http://lab.invalid", limits=ClientLimits(connect_s=0.1))
    try:
        for _ in range(3):
            with pytest.raises(PeerUnreachableError, match="no connection within"):
                await peer.connect()
        assert n_lookups == 1
    finally:
        answers.set()
    await peer.aclose()


async def test_an_unknown_host_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    peer = HttpPeer("http://lab.invalid")
    with pytest.raises(PeerUnreachableError, match=r"http://lab\.invalid: name or service not known"):
        await peer.connect()
    await peer.aclose()


async def test_a_busy_peer_is_not_taken_for_a_static_one() -> None:
    answers = iter([head("503 Busy", "Content-Length: 0"), SPEAKS])

    async def who(stream: trio.SocketStream) -> None:
        await stream.send_all(next(answers))

    async with listening(Script([], peer=who).handle) as url:
        peer = HttpPeer(url)
        with pytest.raises(PeerRefusedError, match="503"):
            await peer.connect()
        await peer.connect()
        assert peer.is_static is False
        await peer.aclose()


WEB_SERVERS = [
    NOT_FOUND,
    head("403 Forbidden", "Content-Length: 0"),
    head("302 Found", "Location: /login", "Content-Length: 0"),
    head("200 OK", "Content-Length: 6") + b"<html>",
    head("200 OK", "Content-Length: 2") + b"{}",
    head("200 OK", "Content-Length: 15") + b'{"protocol": 2}',
    head("200 OK", "Content-Length: 18") + b'{"protocol": true}',
    head("200 OK", "Content-Length: 100000") + b" " * 100_000,
]


@pytest.mark.parametrize("answer", WEB_SERVERS, ids=range(len(WEB_SERVERS)))
async def test_whoever_does_not_speak_the_protocol_is_static(answer: bytes) -> None:
    async with listening(Script([], peer=answer).handle) as url:
        peer = HttpPeer(url)
        await peer.connect()
        assert peer.is_static is True
        await peer.aclose()


async def test_what_a_peer_is_is_asked_once_by_many() -> None:
    n_asked = 0

    async def who(stream: trio.SocketStream) -> None:
        nonlocal n_asked
        n_asked += 1
        await stream.send_all(SPEAKS)

    async with listening(Script([], peer=who).handle) as url:
        peer = HttpPeer(url)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(peer.connect)
        assert n_asked == 1
        await peer.aclose()


async def test_a_peer_that_comes_back_as_something_else_is_learned_again() -> None:
    peer = None
    async with listening(Script([], peer=SPEAKS).handle) as url:
        peer = HttpPeer(url)
        await peer.connect()
        assert peer.is_static is False
    with pytest.raises(PeerUnreachableError):
        await peer.describe(FILE.sha1)
    assert peer.is_static is None
    await peer.aclose()


async def test_the_place_of_the_static_layout_that_answered_is_asked_first() -> None:
    sized = head("200 OK", f"Content-Length: {len(DATA)}")
    script = Script([NOT_FOUND, sized, sized, NOT_FOUND, NOT_FOUND], peer=NOT_FOUND)
    async with listening(script.handle) as url:
        peer = HttpPeer(url)
        assert await peer.have([FILE.sha1]) == [True]
        assert await peer.have([FILE.sha1]) == [True]
        assert await peer.have([FILE.sha1]) == [False]
        await peer.aclose()
    digest = FILE.sha1.hex
    flat, deep = f"/sha1/{digest} ", f"/sha1/{digest[:2]}/{digest[2:4]}/{digest[4:6]}/{digest} "
    asked = [request.decode().split(" ", 1)[1][: len(deep)] for request in script.requests]
    assert [flat if item.startswith(flat) else deep for item in asked] == [flat, deep, deep, deep, flat]


async def test_paths_go_below_the_url_s_prefix_and_heads_are_plain() -> None:
    script = Script([RIGHT], peer=SPEAKS)
    async with listening(script.handle) as url:
        peer = HttpPeer(url + "/data/of/the%20lab/")
        await fetch(peer)
        await peer.aclose()
    lines = script.requests[0].decode().split("\r\n")
    assert lines[0] == f"GET /data/of/the%20lab/sha1/{FILE.sha1} HTTP/1.1"
    assert "Range: bytes=10-5009" in lines
    assert "Accept-Encoding: identity" in lines
    assert f"Host: {url.removeprefix('http://')}" in lines
    assert not any(line.lower().startswith(("authorization", "cookie")) for line in lines)


async def test_a_round_trip_is_measured() -> None:
    async with listening(TinyServer(FakePeer(whole=[FakeFile.of(DATA)])).handle) as url:
        peer = HttpPeer(url)
        await fetch(peer, ByteRange(0, len(DATA)))
        assert peer.stats.round_trip_s is not None
        assert peer.stats.last_answer_at is not None
        assert peer.stats.bytes_received > len(DATA)
        await peer.aclose()


def test_no_peer_is_made_of_what_is_no_url() -> None:
    with pytest.raises(InputError):
        HttpPeer("lab.example.org")


async def test_proxy_variables_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with listening(Script([RIGHT], peer=SPEAKS).handle) as url:
        peer = HttpPeer(url)
        assert await fetch(peer) == DATA[10:5010]
        await peer.aclose()


@asynccontextmanager
async def tls_listening(server: TinyServer) -> AsyncIterator[str]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)

    async def handle(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await server.handle(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client was right to hang up
        finally:
            stream.transport_stream.socket.close()

    async with trio.open_nursery() as nursery:
        serving = partial(trio.serve_ssl_over_tcp, handle, 0, context, host="127.0.0.1")
        listeners = await nursery.start(serving)
        yield f"https://127.0.0.1:{listeners[0].transport_listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def test_https_gives_the_same_bytes_on_kept_connections() -> None:
    async with tls_listening(TinyServer(FakePeer(whole=[FakeFile.of(DATA)]))) as url:
        peer = HttpPeer(url, tls=ssl.create_default_context(cafile=str(PEM)))
        for span in (ByteRange(0, len(DATA)), SPAN, ByteRange(0, len(DATA))):
            assert await fetch(peer, span) == DATA[span.start : span.stop]
        assert peer.stats.n_open_connections == 1
        await peer.aclose()


async def test_a_stream_through_tls_can_be_cancelled() -> None:
    async with tls_listening(TinyServer(FakePeer(whole=[FakeFile.of(DATA)]))) as url:
        peer = HttpPeer(url, tls=ssl.create_default_context(cafile=str(PEM)))
        with trio.CancelScope() as scope:
            async with peer.open_range(FILE, SPAN, is_partial=False, size_bytes=len(DATA)) as stream:
                scope.cancel()
                await stream.receive_into(memoryview(bytearray(10)))
        assert scope.cancelled_caught
        assert await fetch(peer) == DATA[10:5010]
        await peer.aclose()


async def test_a_certificate_that_nobody_trusts_is_refused() -> None:
    async with tls_listening(TinyServer(FakePeer())) as url:
        peer = HttpPeer(url)
        with pytest.raises(PeerUnreachableError, match="certificate is refused"):
            await peer.connect()
        await peer.aclose()


async def test_a_certificate_of_another_host_is_refused() -> None:
    async with tls_listening(TinyServer(FakePeer())) as url:
        peer = HttpPeer(url.replace("127.0.0.1", "127.0.0.2"), tls=ssl.create_default_context(cafile=str(PEM)))
        with pytest.raises(PeerUnreachableError):
            await peer.connect()
        await peer.aclose()


async def test_https_to_a_plain_server_and_back_is_unreachable_or_a_lie() -> None:
    async with listening(Script([]).handle) as url, tls_listening(TinyServer(FakePeer())) as tls_url:
        limits = ClientLimits(connect_s=0.5, head_s=0.5)
        for wrong in (url.replace("http:", "https:"), tls_url.replace("https:", "http:")):
            peer = HttpPeer(wrong, limits=limits)
            with pytest.raises(PeerError, match=wrong):
                await peer.connect()
            await peer.aclose()


async def test_silence_within_a_tls_handshake_is_cut() -> None:
    async def sleep(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with listening(sleep) as url:
        peer = HttpPeer(url.replace("http:", "https:"), limits=ClientLimits(connect_s=0.3))
        with pytest.raises(PeerUnreachableError, match=r"no connection within 0\.3 s"):
            await peer.connect()
        assert peer.stats.n_open_connections == 0
        await peer.aclose()
