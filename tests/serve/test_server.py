"""The server over real sockets: what HTTP and the protocol promise."""

import itertools
import json
import logging
import os

import pytest
import trio
from serve_fakes import BLOCK_BYTES, PEER_ID, serving

from kacheryfs.core import wire
from kacheryfs.core.model import Binding, Blake3, ByteRange, Sha1, salted
from kacheryfs.core.wire import FileInfo
from kacheryfs.errors import ChangedError, InputError, ListenError, ProofError, StoreError
from kacheryfs.serve import open_listeners, url_of

LARGE = os.urandom(9_000_001)
SMALL = os.urandom(1000)


async def test_a_file_comes_whole_with_the_headers_of_immutable_bytes():
    async with serving() as server:
        sha1, _ = server.source.add(LARGE)
        got = await server.ask(wire.sha1_path(sha1))
        assert (got.status, got.body == LARGE) == (200, True)
        assert got.headers["etag"] == f'"{sha1}"'
        assert "immutable" in got.headers["cache-control"]
        assert got.headers["content-type"] == "application/octet-stream"
        assert got.headers["accept-ranges"] == "bytes"
        assert got.headers["x-content-type-options"] == "nosniff"
        assert not any(name.startswith("access-control") for name in got.headers)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (5, 262_149), (1, 9_000_000), (8_999_999, 9_000_001)])
async def test_a_range_comes_alone(start, stop):
    async with serving() as server:
        sha1, _ = server.source.add(LARGE)
        got = await server.ask(wire.sha1_path(sha1), range=wire.format_range(ByteRange(start, stop)))
        assert (got.status, got.body == LARGE[start:stop]) == (206, True)
        assert got.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(LARGE)}"


async def test_head_has_the_headers_of_get_and_no_body():
    async with serving() as server:
        sha1, _ = server.source.add(LARGE)
        client = await server.open()
        got = await client.ask(wire.sha1_path(sha1), "HEAD")
        assert (got.status, got.headers["content-length"], got.body) == (200, str(len(LARGE)), b"")
        assert (await client.ask(wire.sha1_path(sha1), range="bytes=0-9")).body == LARGE[:10]


async def test_an_empty_file_is_served():
    async with serving() as server:
        sha1, _ = server.source.add(b"")
        got = await server.ask(wire.sha1_path(sha1))
        assert (got.status, got.body, got.headers["content-length"]) == (200, b"", "0")
        assert (await server.ask(wire.sha1_path(sha1), range="bytes=0-0")).status == 416


async def test_a_range_outside_is_416_with_the_size():
    async with serving() as server:
        sha1, _ = server.source.add(SMALL)
        got = await server.ask(wire.sha1_path(sha1), range="bytes=1000-")
        assert (got.status, got.headers["content-range"]) == (416, "bytes */1000")
        assert "cache-control" in got.headers
        assert "immutable" not in got.headers["cache-control"]


async def test_who_has_it_gets_304_without_a_body():
    async with serving() as server:
        sha1, _ = server.source.add(SMALL)
        client = await server.open()
        got = await client.ask(wire.sha1_path(sha1), if_none_match=f'"{sha1}"')
        assert (got.status, got.body, got.headers["etag"]) == (304, b"", f'"{sha1}"')
        assert (await client.ask(wire.sha1_path(sha1))).body == SMALL


async def test_a_connection_serves_one_request_after_another():
    async with serving() as server:
        sha1, _ = server.source.add(LARGE)
        client = await server.open()
        for target in [wire.sha1_path(sha1), "/nothing", "/v1/peer", "/sha1/BAD", wire.sha1_path(sha1)]:
            got = await client.ask(target)
        assert got.body == LARGE


async def test_every_byte_is_held_while_it_is_sent():
    async with serving() as server:
        sha1, file = server.source.add(LARGE)
        assert (await server.ask(wire.sha1_path(sha1))).body == LARGE
    held = sorted((span.start, span.stop) for span in file.held)
    assert held[0][0] == 0
    assert held[-1][1] == len(LARGE)
    assert all(start <= stop for (_, stop), (start, _) in itertools.pairwise(held))


async def test_pipelined_requests_are_answered_in_order():
    async with serving() as server:
        sha1, _ = server.source.add(SMALL)
        one = f"GET /sha1/{sha1} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        answer = await server.say(one + b"GET /v1/peer HTTP/1.1\r\nHost: x\r\n\r\n" + one)
        assert answer.count(b"HTTP/1.1 200 OK") == 3
        assert answer.endswith(SMALL)


@pytest.mark.parametrize("options", ["close", "keep-alive, Close"])
async def test_connection_close_is_obeyed(options: str):
    async with serving() as server:
        client = await server.open()
        got = await client.ask("/v1/peer", connection=options)
        assert got.headers["connection"] == "close"
        assert await client.is_closed()


async def test_http_1_0_is_answered_and_closed():
    async with serving() as server:
        sha1, _ = server.source.add(SMALL)
        async with (await server.open()).stream as stream:
            await stream.send_all(f"GET /sha1/{sha1} HTTP/1.0\r\n\r\n".encode())
            answer = b"".join([part async for part in stream])
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert answer.endswith(b"\r\n\r\n" + SMALL)


async def test_an_upgrade_and_an_expectation_are_ignored():
    async with serving() as server:
        client = await server.open()
        got = await client.ask("/v1/peer", upgrade="h2c", connection="Upgrade", expect="100-continue")
        assert got.status == 200
        assert (await client.ask("/v1/peer")).status == 200


async def test_the_peer_says_its_protocol_and_nothing_of_its_machine():
    async with serving() as server:
        got = await server.ask("/v1/peer")
        assert wire.parse_peer(got.body) == wire.PeerInfo(wire.PROTOCOL, PEER_ID)
        assert set(json.loads(got.body)) == {"protocol", "software", "id"}
        assert "server" not in got.headers


async def test_the_front_page_tells_people_what_this_is():
    async with serving() as server:
        got = await server.ask("/")
        assert got.headers["content-type"].startswith("text/plain")
        assert b"kacheryfs" in got.body


async def test_have_answers_in_order_and_only_to_salted_digests():
    async with serving() as server:
        sha1, _ = server.source.add(SMALL)
        binding, _ = server.source.add_partial(LARGE, [True] * 35)
        absent = Sha1.of(b"absent")
        got = await server.ask(wire.have_path([salted(absent), salted(sha1), salted(binding.sha1), sha1]))
        assert wire.parse_have(got.body, 4) == [False, True, True, False]


async def test_a_file_is_described_only_if_it_is_shared_or_proven():
    async with serving() as server:
        sha1, manifest = Sha1.of(b"x"), Blake3.of(b"m")
        server.source.infos[sha1] = FileInfo(12345, manifest)
        assert wire.parse_file((await server.ask(wire.file_path(sha1))).body) == FileInfo(12345, manifest)
        assert (await server.ask(wire.file_path(Sha1.of(b"y")))).status == 404


async def test_presence_is_a_bitmap_of_the_group():
    async with serving() as server:
        present = [i % 3 == 0 for i in range(35)]
        binding, _ = server.source.add_partial(LARGE, present)
        got = await server.ask(wire.presence_path(binding, 0))
        assert wire.parse_presence(got.body, 35) == present
        assert (await server.ask(wire.presence_path(binding, 1))).status == 404
        other = Binding(binding.sha1, Blake3.of(b"other"))
        assert (await server.ask(wire.presence_path(other, 0))).status == 404


async def test_a_part_serves_the_span_that_it_has_and_no_other():
    async with serving() as server:
        binding, _ = server.source.add_partial(LARGE, [2 <= block < 30 for block in range(35)])
        path = wire.blocks_path(binding)
        span = ByteRange(2 * BLOCK_BYTES, 30 * BLOCK_BYTES)
        got = await server.ask(path, range=wire.format_range(span))
        assert (got.status, got.body == LARGE[span.start : span.stop]) == (206, True)
        for outside in (ByteRange(span.start - 1, span.stop), ByteRange(span.start, span.stop + 1)):
            assert (await server.ask(path, range=wire.format_range(outside))).status == 404
        assert (await server.ask(path)).status == 400
        assert (await server.ask(path, "HEAD", range=wire.format_range(span))).status == 206
        assert (await server.ask(wire.sha1_path(binding.sha1))).status == 404


@pytest.mark.expects_warnings
async def test_a_damaged_block_is_404_before_the_head_and_a_cut_after_it():
    async with serving() as server:
        binding, file = server.source.add_partial(LARGE, [True] * 35)
        file.failure, file.checks_before_failure = ProofError("damaged"), 0
        assert (await server.ask(wire.blocks_path(binding), range="bytes=0-99")).status == 404
        file.checks_before_failure = 2
        got = await server.ask(wire.blocks_path(binding), range="bytes=0-8999999")
        assert not got.is_whole


async def test_a_manifest_part_is_served_under_its_digest():
    async with serving() as server:
        data = os.urandom(100_000)
        server.source.parts[Blake3.of(data)] = data
        got = await server.ask(wire.manifest_path(Blake3.of(data)))
        assert got.body == data
        assert "immutable" in got.headers["cache-control"]
        part = await server.ask(wire.manifest_path(Blake3.of(data)), range="bytes=10-19")
        assert (part.status, part.body) == (206, data[10:20])
        assert (await server.ask(wire.manifest_path(Blake3.of(b"x")))).status == 404


@pytest.mark.expects_warnings
async def test_a_changed_original_is_410_and_its_owner_is_told_once(caplog):
    async with serving() as server:
        sha1 = Sha1.of(b"changed")
        server.source.whole[sha1] = ChangedError("sha1 12345678: /home/me/secret.dat changed")
        for _ in range(3):
            got = await server.ask(wire.sha1_path(sha1))
            assert got.status == 410
            assert "secret" not in got.body.decode()
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1


@pytest.mark.expects_warnings
@pytest.mark.parametrize("n_bytes", [1000, 65_536, 65_537, 300_000, 9_000_001])
async def test_an_original_that_changes_while_it_is_sent_never_ends_cleanly(n_bytes):
    async with serving() as server:
        sha1, file = server.source.add(LARGE[:n_bytes])
        file.is_changed_by_reading_its_end = True
        got = await server.ask(wire.sha1_path(sha1))
        assert got.status == 410 or (not got.is_whole and len(got.body) < n_bytes)


@pytest.mark.expects_warnings
@pytest.mark.parametrize("n_bytes", [1000, 300_000, 9_000_000])
async def test_an_original_that_was_cut_never_ends_cleanly(n_bytes):
    async with serving() as server:
        sha1, file = server.source.add(LARGE)
        file.truncate(n_bytes)
        got = await server.ask(wire.sha1_path(sha1))
        assert got.status == 410 or not got.is_whole


@pytest.mark.expects_warnings
async def test_every_opened_file_is_closed_again():
    async with serving() as server:
        sha1, file = server.source.add(LARGE)
        for kind in [
            {},
            {"range": "bytes=0-9"},
            {"range": "bytes=9999999-"},
            {"if_none_match": "*"},
            {"if_match": "x"},
        ]:
            for method in ("GET", "HEAD"):
                await server.ask(wire.sha1_path(sha1), method, **kind)
        file.checks_before_failure = 1
        await server.ask(wire.sha1_path(sha1))
    assert file.n_open == 0


@pytest.mark.expects_warnings
async def test_a_failing_store_is_500_without_its_path(caplog):
    async with serving() as server:
        sha1 = Sha1.of(b"x")
        for failure in (StoreError("/home/me/store: broken"), PermissionError(13, "no", "/home/me/store")):
            server.source.whole[sha1] = failure
            got = await server.ask(wire.sha1_path(sha1))
            assert got.status == 500
            assert "home" not in got.body.decode()
    assert "broken" in caplog.text


@pytest.mark.expects_warnings
@pytest.mark.parametrize("n_bytes", [1000, BLOCK_BYTES, 10 * BLOCK_BYTES])
async def test_bytes_that_cannot_be_held_are_told_by_a_status_and_not_cut(n_bytes: int):
    async with serving() as server:
        sha1, file = server.source.add(bytes(n_bytes))
        file.hold_failure = StoreError("no descriptor is free")
        client = await server.open()
        assert (await client.ask(wire.sha1_path(sha1))).status == 500
        assert (await client.ask("/v1/peer")).status == 200, "the connection goes on"


@pytest.mark.expects_warnings
async def test_a_mistake_of_ours_ends_one_connection_and_not_the_server(caplog):
    async with serving() as server:
        sha1 = Sha1.of(b"x")
        server.source.whole[sha1] = ZeroDivisionError("a mistake")
        assert await server.say(f"GET /sha1/{sha1} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) == b""
        assert (await server.ask("/v1/peer")).status == 200
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"x" * 40000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 10000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 17000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 413),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\nabc", 413),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ],
)
async def test_what_is_not_asked_well_is_refused_in_one_line(said, status):
    async with serving() as server:
        answer = await server.say(said)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        error = json.loads(body)["error"]
        assert error
        assert "\n" not in error
        if status == 405:
            assert b"\r\nAllow: GET, HEAD\r\n" in head
        assert (await server.ask("/v1/peer")).status == 200


async def test_port_0_is_one_port_for_every_address_of_a_name():
    listeners = await open_listeners("localhost", 0)
    try:
        assert len({listener.socket.getsockname()[1] for listener in listeners}) == 1
        assert url_of(listeners[0]).startswith("http://")
    finally:
        for listener in listeners:
            await listener.aclose()


@pytest.mark.parametrize(
    ("host", "port", "error"),
    [("203.0.113.77", 0, ListenError), ("no such host", 0, ListenError), ("127.0.0.1", 99999, InputError)],
)
async def test_what_can_not_be_listened_on_is_said_in_one_line(host, port, error):
    with pytest.raises(error, match="can't listen on") as caught:
        await open_listeners(host, port)
    assert "\n" not in str(caught.value)


async def test_a_port_in_use_is_said_so():
    (listener,) = await open_listeners("127.0.0.1", 0)
    async with listener:
        with pytest.raises(ListenError, match="in use"):
            await open_listeners("127.0.0.1", listener.socket.getsockname()[1])


async def test_a_cancelled_server_closes_everything():
    async with serving() as server:
        sha1, file = server.source.add(os.urandom(30_000_000))
        idle, busy = await server.open(), await server.open()
        await idle.ask("/v1/peer")
        await busy.stream.send_all(f"GET /sha1/{sha1} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await busy.stream.receive_some(1000)
        await server.stop()
        assert await idle.is_closed()
        assert await busy.is_closed()
        assert file.n_open == 0
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream("127.0.0.1", server.port)


async def test_each_request_is_one_line_for_those_who_want_more(caplog):
    caplog.set_level(logging.INFO, logger="kacheryfs.serve")
    async with serving() as server:
        client = await server.open()
        await client.ask("/v1/peer")
        await client.ask("/nothing")
    lines = [record.getMessage() for record in caplog.records if record.name == "kacheryfs.serve"]
    assert [line.split(",")[0] for line in lines] == [
        "127.0.0.1 'GET /v1/peer' 200",
        "127.0.0.1 'GET /nothing' 404",
    ]
