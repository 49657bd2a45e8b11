"""Whatever a server sends, the asker gets the right number of bytes or one PeerError that names it, in bounded time."""

from __future__ import annotations

import gzip
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from peer_servers import SPEAKS, Reply, Script, head, listening, part, read_request

from kacheryfs.core.model import Binding, Blake3, ByteRange, Sha1
from kacheryfs.errors import PeerError, PeerLacksError, PeerLiedError, PeerRefusedError, PeerUnreachableError
from kacheryfs.peers.client import HttpPeer
from kacheryfs.peers.limits import ClientLimits

SIZE = 1000
DATA = random.Random(2).randbytes(SIZE)
FILE = Binding(Sha1.of(DATA), None, SIZE)
SPAN = ByteRange(100, 300)
PART = DATA[100:300]
RIGHT = part(PART, 100, SIZE)
AT = f"Content-Range: bytes 100-299/{SIZE}"
LENGTH = "Content-Length: 200"
TIGHT = ClientLimits(connect_s=2, head_s=0.6, idle_s=0.6, min_rate_bytes_per_s=50_000, min_rate_window_s=0.3)
"""Short enough that a test of a wait is short; long enough that a busy machine isn't cut off."""


@asynccontextmanager
async def asking(
    *replies: Reply, limits: ClientLimits | None = None, peer: Reply | None = SPEAKS
) -> AsyncIterator[tuple[HttpPeer, Script]]:
    script = Script(replies, peer=peer)
    async with listening(script.handle) as url:
        client = HttpPeer(url, limits=limits)
        try:
            yield client, script
        finally:
            await client.aclose()


async def fetch(peer: HttpPeer, span: ByteRange = SPAN, *, file: Binding = FILE) -> bytes:
    pieces, buffer = [], memoryview(bytearray(SIZE))
    async with peer.open_range(file, span, is_partial=False, size_bytes=file.size_bytes or 0) as stream:
        while n_bytes := await stream.receive_into(buffer):
            pieces.append(bytes(buffer[:n_bytes]))
    return b"".join(pieces)


def crowd(*headers: str) -> bytes:
    return head("206 Partial Content", *headers)


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end


async def test_a_right_answer_is_taken() -> None:
    async with asking(RIGHT, crowd(AT, "Transfer-Encoding: chunked") + chunked(PART[:50], PART[50:])) as (peer, _):
        assert await fetch(peer) == PART
        assert await fetch(peer) == PART


LIES: dict[str, tuple[bytes, str]] = {
    "no content range": (crowd(LENGTH) + PART, "no Content-Range"),
    "another start": (crowd(LENGTH, f"Content-Range: bytes 0-199/{SIZE}") + PART, "Content-Range"),
    "another end": (crowd(LENGTH, f"Content-Range: bytes 100-300/{SIZE}") + PART, "Content-Range"),
    "another size": (crowd(LENGTH, "Content-Range: bytes 100-299/999") + PART, "Content-Range"),
    "unknown size": (crowd(LENGTH, "Content-Range: bytes 100-299/*") + PART, "Content-Range"),
    "absurd content range": (crowd(LENGTH, "Content-Range: bytes " + "9" * 5000) + PART, "Content-Range"),
    "two content ranges": (crowd(LENGTH, AT, AT) + PART, "more than one Content-Range"),
    "shorter content length": (crowd("Content-Length: 199", AT) + PART, "Content-Length is 199"),
    "longer content length": (crowd("Content-Length: 201", AT) + PART, "Content-Length is 201"),
    "two content lengths": (crowd(LENGTH, "Content-Length: 5", AT) + PART, "not HTTP"),
    "negative content length": (crowd("Content-Length: -1", AT) + PART, "not HTTP"),
    "huge content length": (crowd("Content-Length: " + "9" * 400, AT) + PART, "not HTTP"),
    "length and chunks": (crowd(LENGTH, AT, "Transfer-Encoding: chunked") + chunked(PART), "both Content-Length"),
    "gzip": (crowd(AT, LENGTH, "Content-Encoding: gzip") + PART, "encoded as 'gzip'"),
    "gzip bomb": (
        head("200 OK", "Content-Encoding: gzip", f"Content-Length: {SIZE}") + gzip.compress(bytes(1 << 20))[:SIZE],
        "encoded",
    ),
    "another transfer encoding": (crowd(AT, "Transfer-Encoding: gzip, chunked") + chunked(PART), "not HTTP"),
    "no content": (head("204 No Content"), "204"),
    "too many in chunks": (crowd(AT, "Transfer-Encoding: chunked") + chunked(PART, b"x"), "longer"),
    "too few in chunks": (crowd(AT, "Transfer-Encoding: chunked") + chunked(PART[:-1]), "ends 1 bytes before"),
    "chunks of crumbs": (
        crowd(AT, "Transfer-Encoding: chunked") + chunked(*(bytes([byte]) for byte in PART * 2)),
        "longer",
    ),
    "chunks of garbage": (crowd(AT, "Transfer-Encoding: chunked") + b"zz\r\n" + PART, "not HTTP"),
    "endless chunk header": (crowd(AT, "Transfer-Encoding: chunked") + b"1;" + b"x" * 100_000, "not HTTP"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n" * 3, "not HTTP"),
    "binary garbage": (random.Random(3).randbytes(5000), "not HTTP"),
    "no status": (b"HTTP/1.1 \r\n\r\n", "not HTTP"),
    "a status of four digits": (b"HTTP/1.1 2000 OK\r\n\r\n", "not HTTP"),
    "a switch of protocols": (head("101 Switching Protocols", "Upgrade: x"), "not HTTP"),
    "header injection": (b"HTTP/1.1 206 x\r\nA: b\x00c\r\n" + RIGHT[20:], "not HTTP"),
    "a folded header": (b"HTTP/1.1 206 x\r\n folded: b\r\n\r\n", "not HTTP"),
    "a header without colon": (b"HTTP/1.1 206 x\r\ncolon\r\n\r\n", "not HTTP"),
    "a flood of 1xx": (head("100 Continue") * 500 + RIGHT, "heads before its answer"),
    "one long header": (crowd(AT, LENGTH, "X: " + "x" * 40_000) + PART, "head is over the limit"),
    "many headers": (crowd(AT, LENGTH, *(f"X{i}: y" for i in range(5000))) + PART, "head is over the limit"),
}


@pytest.mark.parametrize("reply", LIES)
async def test_a_false_answer_is_a_lie_that_says_which(reply: str) -> None:
    answer, words = LIES[reply]
    async with asking(answer) as (peer, script):
        with pytest.raises(PeerLiedError, match=words) as caught:
            await fetch(peer)
        assert str(caught.value).startswith(f"{peer.url}: ")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300
        assert peer.stats.last_error == str(caught.value)
        assert len(script.requests) == 1


async def test_chunks_of_crumbs_are_refused_before_they_cost_much() -> None:
    big = Binding(FILE.sha1, None, 100_000)
    at = "Content-Range: bytes 0-99999/100000"
    async with asking(crowd(at, "Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 100_000) as (peer, _):
        with pytest.raises(PeerLiedError, match="pieces"):
            await fetch(peer, ByteRange(0, 100_000), file=big)


REFUSALS: dict[str, tuple[bytes, type[PeerError], str]] = {
    "404": (head("404 Not Found", "Content-Length: 2") + b"no", PeerLacksError, "does not have sha1"),
    "410": (head("410 Gone", "Content-Length: 0"), PeerLacksError, "was changed since it was shared"),
    "416": (head("416 Nope", "Content-Length: 0"), PeerRefusedError, "416"),
    "403": (head("403 Forbidden", "Content-Length: 0"), PeerRefusedError, "403"),
    "500": (head("500 Oops"), PeerRefusedError, "500"),
    "503": (head("503 Busy", "Retry-After: 5", "Content-Length: 0"), PeerRefusedError, "503"),
    "999": (head("999 What", "Content-Length: 0"), PeerRefusedError, "999"),
    "304": (head("304 Not Modified"), PeerRefusedError, "304"),
    "redirect": (head("302 Found", "Location: http://127.0.0.1:1/", "Content-Length: 0"), PeerRefusedError, "redirect"),
    "permanent redirect": (head("308 x", "Location: /sha1/x", "Content-Length: 0"), PeerRefusedError, "redirect"),
    "the whole file": (head("200 OK", f"Content-Length: {SIZE}") + DATA, PeerRefusedError, "no ranges"),
    "no length": (head("206 x", AT) + PART, PeerRefusedError, "no length"),
}


@pytest.mark.parametrize("reply", REFUSALS)
async def test_a_refusal_is_told_from_a_lie(reply: str) -> None:
    answer, kind, words = REFUSALS[reply]
    async with asking(answer) as (peer, script):
        with pytest.raises(kind, match=words) as caught:
            await fetch(peer)
        assert not isinstance(caught.value, PeerLiedError)
        assert str(caught.value).startswith(f"{peer.url}: ")
        assert len(script.requests) == 1, "a redirect was followed"


async def test_lacking_is_no_error_of_the_peer() -> None:
    async with asking(head("404 Not Found", "Content-Length: 0")) as (peer, _):
        with pytest.raises(PeerLacksError):
            await fetch(peer)
        assert peer.stats.last_error is None


async def test_words_of_a_stranger_are_cut_and_made_printable() -> None:
    body = b'{"error": "\\u001b[31mred\\nline ' + b"x" * 500 + b'"}'
    async with asking(head("503 Busy", f"Content-Length: {len(body)}") + body) as (peer, _):
        with pytest.raises(PeerRefusedError, match=r"\?\[31mred\?line x+$") as caught:
            await fetch(peer)
        assert str(caught.value).isprintable()
        assert "x" * 81 not in str(caught.value)


async def test_a_huge_error_page_is_not_read() -> None:
    async with asking(head("404 Not Found", "Content-Length: 9000000000") + b"x" * 70_000) as (peer, _):
        with pytest.raises(PeerLacksError):
            await fetch(peer)
        assert peer.stats.n_open_connections == 0
        assert peer.stats.bytes_received < 20_000


async def test_an_endless_error_page_ends() -> None:
    async with asking(_endless(head("404 Not Found", "Transfer-Encoding: chunked"), b"5\r\nhello\r\n")) as (peer, _):
        with pytest.raises(PeerLacksError):
            await fetch(peer)


def _endless(start: bytes, again: bytes, *, pause_s: float = 0) -> Reply:
    async def reply(stream: trio.SocketStream) -> None:
        await stream.send_all(start)
        while True:
            await stream.send_all(again)
            await trio.sleep(pause_s)

    return reply


async def test_endless_headers_end() -> None:
    async with asking(_endless(b"HTTP/1.1 206 x\r\n", b"X: y\r\n" * 100)) as (peer, _):
        with pytest.raises(PeerLiedError, match="head is over the limit"):
            await fetch(peer)
        assert peer.stats.bytes_received < 40_000


async def test_an_endless_body_gives_the_span_and_no_more() -> None:
    async with asking(_endless(crowd(AT, LENGTH) + PART, b"x" * 1000), RIGHT) as (peer, script):
        assert await fetch(peer) == PART
        assert await fetch(peer) == PART
        assert script.n_connections == 2, "the surplus was left in a connection that was used again"


async def test_an_endless_answer_to_a_small_question_ends() -> None:
    async with asking(_endless(head("200 OK", "Transfer-Encoding: chunked"), b"400\r\n" + b"x" * 1024 + b"\r\n")) as (
        peer,
        _,
    ):
        with pytest.raises(PeerLiedError, match="limit"):
            await peer.describe(FILE.sha1)
        assert peer.stats.bytes_received < 200_000


async def test_one_byte_at_a_time_of_headers_is_cut() -> None:
    async with asking(_endless(b"HTTP/1.1 206 x\r\nX: ", b"y", pause_s=0.02), limits=TIGHT) as (peer, _):
        with pytest.raises(PeerUnreachableError, match=r"no complete answer's head within 0\.6 s"):
            await fetch(peer)


async def test_a_flood_of_slow_1xx_is_cut() -> None:
    async with asking(_endless(head("100 Continue"), b"", pause_s=0.05), limits=TIGHT) as (peer, _):
        with pytest.raises(PeerUnreachableError, match="head within"):
            await fetch(peer)


async def test_one_byte_at_a_time_of_a_body_is_cut() -> None:
    async with asking(_endless(crowd(AT, LENGTH), b"y", pause_s=0.02), limits=TIGHT) as (peer, _):
        with pytest.raises(PeerUnreachableError, match="too slow"):
            await fetch(peer)


async def test_one_byte_at_a_time_of_chunk_headers_is_cut() -> None:
    start = crowd(AT, "Transfer-Encoding: chunked") + b"5;"
    async with asking(_endless(start, b"y", pause_s=0.02), limits=TIGHT) as (peer, _):
        with pytest.raises(PeerUnreachableError, match="no byte of its answer came within"):
            await fetch(peer)


async def _silence(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def test_silence_is_cut() -> None:
    async with asking(_silence, limits=TIGHT) as (peer, _):
        with pytest.raises(PeerUnreachableError, match="head within"):
            await fetch(peer)


async def test_silence_within_a_body_is_cut() -> None:
    async def stall(stream: trio.SocketStream) -> None:
        await stream.send_all(RIGHT[:-1])
        await trio.sleep_forever()

    async with asking(stall, limits=TIGHT) as (peer, _):
        with pytest.raises(PeerUnreachableError, match="no byte of its answer came within"):
            await fetch(peer)


async def test_a_peer_that_takes_no_connection_is_cut() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        port = busy.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            peer = HttpPeer(f"http://127.0.0.1:{port}", limits=ClientLimits(connect_s=0.2, head_s=0.2))
            with pytest.raises(PeerUnreachableError, match="within"):
                await peer.connect()
            await peer.aclose()


async def _close(stream: trio.SocketStream) -> None:
    await stream.aclose()


async def _reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


def _then(data: bytes, end: Reply) -> Reply:
    async def reply(stream: trio.SocketStream) -> None:
        await stream.send_all(data)
        assert callable(end)
        await end(stream)

    return reply


BREAKS: dict[str, tuple[Reply, str]] = {
    "close before a head": (_close, "without an answer"),
    "reset before a head": (_reset, "without an answer"),
    "close within a head": (_then(RIGHT[:40], _close), "within a head"),
    "reset within a head": (_then(RIGHT[:40], _reset), "reset|within a head|without an answer"),
    "close within a body": (_then(RIGHT[:-7], _close), "7 bytes before"),
    "reset within a body": (_then(RIGHT[:-7], _reset), "reset|bytes before|without an answer"),
    "close within chunks": (
        _then(crowd(AT, "Transfer-Encoding: chunked") + chunked(PART, end=b""), _close),
        "before its answer's end",
    ),
}


@pytest.mark.parametrize("reply", BREAKS)
async def test_a_broken_connection_is_unreachable(reply: str) -> None:
    answer, words = BREAKS[reply]
    async with asking(answer, peer=SPEAKS.replace(b"200 OK", b"200 OK\r\nConnection: close")) as (peer, _):
        with pytest.raises(PeerUnreachableError, match=words):
            await fetch(peer)
        assert peer.stats.n_open_connections == 0


async def test_what_comes_after_an_answer_is_never_the_next_answer() -> None:
    poison = part(b"P" * 200, 100, SIZE)
    async with asking(RIGHT + poison, RIGHT) as (peer, script):
        assert await fetch(peer) == PART
        assert await fetch(peer) == PART
        assert script.n_connections == 2


async def test_poison_that_comes_late_is_never_the_next_answer() -> None:
    sent = trio.Event()

    async def late(stream: trio.SocketStream) -> None:
        await stream.send_all(RIGHT)
        await read.wait()
        await stream.send_all(part(b"P" * 200, 100, SIZE))
        sent.set()

    read = trio.Event()
    async with asking(late, RIGHT) as (peer, script):
        assert await fetch(peer) == PART
        read.set()
        await sent.wait()
        assert await fetch(peer) == PART
        assert script.n_connections == 2


async def test_poison_behind_an_error_is_never_the_next_answer() -> None:
    no = head("404 Not Found", "Content-Length: 0")
    async with asking(no + part(b"P" * 200, 100, SIZE), RIGHT) as (peer, _):
        with pytest.raises(PeerLacksError):
            await fetch(peer)
        assert await fetch(peer) == PART


async def test_a_body_behind_a_head_answer_is_never_the_next_answer() -> None:
    plain = head("404 Not Found", "Content-Length: 0")
    async with asking(head("200 OK", "Content-Length: 1000") + DATA, RIGHT, peer=plain) as (peer, _):
        assert (await peer.describe(FILE.sha1)).size_bytes == SIZE
        assert await fetch(peer) == PART


JSON_LIES = [
    b"",
    b"[]",
    b"nonsense",
    b'{"size": -1, "manifest": null}',
    b'{"size": true, "manifest": null}',
    b'{"size": 1e3, "manifest": null}',
    b'{"size": ' + b"9" * 6000 + b', "manifest": null}',
    b'{"size": 5, "manifest": "zz"}',
    b'{"size": 5, "manifest": ["' + b"a" * 64 + b'"]}',
    b"[" * 60_000,
    b'{"size": 5, "manifest": "\xff\xfe"}',
]


@pytest.mark.parametrize("body", JSON_LIES, ids=range(len(JSON_LIES)))
async def test_a_false_description_is_a_lie(body: bytes) -> None:
    async with asking(head("200 OK", f"Content-Length: {len(body)}") + body) as (peer, _):
        with pytest.raises(PeerLiedError) as caught:
            await peer.describe(FILE.sha1)
        assert str(caught.value).startswith(peer.url)


@pytest.mark.parametrize("body", [b'{"have": [true, true]}', b'{"have": [1]}', b'{"have": {}}', b"{}"])
async def test_a_false_have_is_a_lie(body: bytes) -> None:
    async with asking(head("200 OK", f"Content-Length: {len(body)}") + body) as (peer, _):
        with pytest.raises(PeerLiedError):
            await peer.have([FILE.sha1])


@pytest.mark.parametrize("body", [b"", b"\x01\x02\x03"])
async def test_a_bitmap_of_another_length_is_a_lie(body: bytes) -> None:
    binding = Binding(FILE.sha1, Blake3.of(b"m"))
    async with asking(head("200 OK", f"Content-Length: {len(body)}") + body) as (peer, _):
        with pytest.raises(PeerLiedError):
            await peer.presence(binding, 0, 9)


async def test_a_lie_about_a_manifest_part_length_is_found_before_it_is_read() -> None:
    async with asking(head("200 OK", "Content-Length: 99999999999999999")) as (peer, _):
        with pytest.raises(PeerLiedError, match="limit"):
            await peer.get_manifest_part(Blake3.of(b"m"), 1 << 26)


async def test_a_digest_is_told_only_to_who_has_it() -> None:
    """DESIGN: "have you" asks by SHA-1("kacheryfs-1:" + H)."""
    body = b'{"have": [false]}'
    async with asking(head("200 OK", f"Content-Length: {len(body)}") + body) as (peer, script):
        assert await peer.have([FILE.sha1]) == [False]
        assert FILE.sha1.hex.encode() not in b"".join(script.requests)


async def outcome(peer: HttpPeer) -> str:
    try:
        n_bytes = len(await fetch(peer))
    except PeerError as exc:
        return type(exc).__name__ if str(exc).startswith(peer.url) and str(exc).isprintable() else repr(exc)
    return "read" if n_bytes == len(SPAN) else f"{n_bytes} bytes"


async def test_no_mutation_of_an_answer_lets_anything_but_peer_errors_out() -> None:
    chance = random.Random(4)
    answers = [RIGHT, crowd(AT, "Transfer-Encoding: chunked") + chunked(PART[:9], PART[9:]), LIES["gzip"][0]]

    async def reply(stream: trio.SocketStream) -> None:
        while await read_request(stream):
            await stream.send_all(_mutated(chance.choice(answers), chance))
            if chance.random() < 0.7:
                return

    outcomes = set()
    async with listening(reply) as url:
        for _ in range(200):
            peer = HttpPeer(url, limits=ClientLimits(head_s=0.05, idle_s=0.05))
            for _ in range(2):
                outcomes.add(await outcome(peer))
            await peer.aclose()
    kinds = {"PeerLiedError", "PeerUnreachableError", "PeerRefusedError", "PeerLacksError", "PeerBusyError", "read"}
    assert {"PeerLiedError", "PeerUnreachableError"} <= outcomes <= kinds


def _mutated(data: bytes, chance: random.Random) -> bytes:
    mutable = bytearray(data)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(mutable))
        match chance.randrange(4):
            case 0:
                mutable[at] = chance.randrange(256)
            case 1:
                del mutable[at : at + chance.randrange(20)]
            case 2:
                mutable[at:at] = chance.choice([b"\r\n", b"\x00", b": ", b"0", b"Content-Length: 3\r\n", b"\xff" * 9])
            case _:
                del mutable[max(at, 1) :]
    return bytes(mutable)
