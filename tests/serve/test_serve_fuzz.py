"""Whatever is said to the server: it answers in well-formed HTTP or hangs up, and goes on."""

import h11
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serve_fakes import FakeSource, serving

from kacheryfs.core import wire
from kacheryfs.core.model import Sha1
from kacheryfs.serve import ServeLimits

DATA = bytes(range(256)) * 2000
SHA1 = Sha1.of(DATA)
LIMITS = ServeLimits(head_timeout_s=2, idle_timeout_s=2, linger_s=0.2)

methods = st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS", b"get", b"", b"G T", b"CONNECT"])
targets = st.one_of(
    st.sampled_from([f"/sha1/{SHA1}".encode(), b"/", b"/v1/peer", b"*", b"/v1/have?q=", b"//", b"/../x", b"/%00"]),
    st.binary(max_size=60),
    st.integers(0, 20_000).map(lambda n: b"/" + b"x" * n),
)
versions = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b"HTTP/9.9", b"", b"XTTP/1.1"])
numbers = st.one_of(st.integers(-5, 600_000), st.integers(0, 1 << 80)).map(lambda n: str(n).encode())
ranges = st.builds(lambda a, b: b"Range: bytes=" + a + b"-" + b, numbers, st.one_of(numbers, st.just(b"")))
headers = st.one_of(
    ranges,
    st.sampled_from(
        [b"Host: a", b"Connection: close", b"Expect: 100-continue", b"Transfer-Encoding: chunked", b"If-Match: x"]
    ),
    st.builds(lambda n: b"Content-Length: " + n, numbers),
    st.builds(lambda n: b'If-None-Match: "' + n + b'"', st.binary(max_size=30)),
    st.binary(max_size=40),
    st.integers(0, 20_000).map(lambda n: b"X: " + b"y" * n),
)
ends = st.sampled_from([b"\r\n", b"\n", b"\r", b"\r\n\r\n"])
heads = st.builds(
    lambda method, target, version, lines, end: end.join([b" ".join([method, target, version]), *lines, b"", b""]),
    methods,
    targets,
    versions,
    st.lists(headers, max_size=5),
    ends,
)
good_heads = st.builds(
    lambda method, lines: b"\r\n".join([method + f" /sha1/{SHA1} HTTP/1.1".encode(), b"Host: a", *lines, b"", b""]),
    st.sampled_from([b"GET", b"HEAD"]),
    st.lists(ranges, max_size=2),
)
said = st.lists(st.one_of(heads, good_heads, st.binary(max_size=300)), min_size=1, max_size=4).map(b"".join)


def methods_of(data: bytes) -> list[bytes]:
    """Return the methods of the requests in ``data`` up to the first with a body, as strictly as h11 reads them."""
    http, found = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000), []
    http.receive_data(data)
    try:
        while isinstance(event := http.next_event(), h11.Request):
            found.append(event.method)
            if not isinstance(http.next_event(), h11.EndOfMessage):
                break
            http.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
            http.send(h11.EndOfMessage())
            http.start_next_cycle()
    except h11.ProtocolError:
        pass
    return found


def check_answers(answer: bytes, asked: list[bytes]) -> None:
    """Read ``answer`` as the responses to ``asked`` (a refusal may follow), to its last byte."""
    for method in [*asked, b"GET"]:
        if not answer:
            return
        head, separator, rest = answer.partition(b"\r\n\r\n")
        assert separator, answer[:200]
        status, *lines = head.split(b"\r\n")
        assert status.startswith(b"HTTP/1.1 ")
        code = int(status.split(b" ")[1])
        assert code in (200, 206, 304, 400, 404, 405, 412, 413, 414, 416, 431)
        fields = dict(line.lower().split(b": ", 1) for line in lines)
        n_bytes = 0 if method == b"HEAD" or code == 304 else int(fields[b"content-length"])
        assert len(rest) >= n_bytes
        answer = rest[n_bytes:]
    assert answer == b""


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(said, min_size=1, max_size=12))
def test_any_bytes_are_answered_in_http_or_hung_up_on(messages):
    async def main():
        source = FakeSource()
        source.add(DATA)
        async with serving(source, LIMITS) as server:
            for message in messages:
                check_answers(await server.say(message), methods_of(message))
            assert wire.parse_peer((await server.ask("/v1/peer")).body) is not None

    trio.run(main)


@settings(max_examples=15)
@given(said, st.integers(0, 400))
def test_who_hangs_up_in_the_middle_harms_nobody(message, n_bytes):
    async def main():
        source = FakeSource()
        _, file = source.add(DATA)
        async with serving(source, LIMITS) as server:
            client = await server.open()
            await client.stream.send_all(message[:n_bytes])
            await trio.aclose_forcefully(client.stream)
            assert (await server.ask(wire.sha1_path(SHA1))).body == DATA
            await server.stop()
        assert file.n_open == 0

    trio.run(main)
