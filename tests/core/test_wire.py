from __future__ import annotations

import json
import math

import pytest
from core_strategies import blake3s, json_values, manifests, sha1s, sizes
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core import wire
from kacheryfs.core.manifest import GROUP_BLOCKS, MAX_FILE_BYTES
from kacheryfs.core.model import BLOCK_BYTES, Binding, Blake3, BlockRange, ByteRange, Layout, ManifestDigest, Sha1
from kacheryfs.errors import PeerLiedError

H = Sha1.from_hex("0123456789abcdef0123456789abcdef01234567")
M = Blake3.from_hex("fedcba98" * 8)
ID = bytes(range(16))
HUGE_INT = b"9" * 5000
DEEP = b"[" * 60_000


def test_paths_are_those_of_the_specification() -> None:
    binding = Binding(H, M)
    assert wire.have_path([H, H]) == f"/v1/have?q={H}&q={H}"
    assert wire.file_path(H) == f"/v1/file/{H}"
    assert wire.presence_path(binding, 7) == f"/v1/presence/{H}/{M}/7"
    assert wire.blocks_path(binding) == f"/v1/blocks/{H}/{M}"
    assert wire.sha1_path(H) == f"/sha1/{H}"
    assert wire.static_sha1_path(H) == f"/sha1/01/23/45/{H}"
    assert wire.manifest_path(M) == f"/manifest/fe/dc/ba/{M}"


@pytest.mark.parametrize("body", [HUGE_INT, DEEP, b"", b"\xff\xfe", b"[]", b"null", b"1", b'"a"', b"{", b"{}}", b"\0"])
def test_an_answer_that_is_no_json_object_is_a_lie_but_not_of_an_unknown_server(body: bytes) -> None:
    for parse in (wire.parse_file, lambda data: wire.parse_have(data, 1)):
        with pytest.raises(PeerLiedError):
            parse(body)
    assert wire.parse_peer(body) is None


def test_an_answer_over_the_limit_is_refused_before_it_is_parsed() -> None:
    body = b'{"size": 1, "manifest": null}'
    assert wire.parse_file(body + b" " * (wire.MAX_JSON_BYTES - len(body))).size_bytes == 1
    with pytest.raises(PeerLiedError, match="over the limit"):
        wire.parse_file(body + b" " * (wire.MAX_JSON_BYTES - len(body) + 1))


@given(json_values)
def test_any_json_is_understood_or_a_lie(value: object) -> None:
    body = json.dumps(value).encode()
    for parse in (wire.parse_file, lambda data: wire.parse_have(data, 2)):
        try:
            parse(body)
        except PeerLiedError:
            continue
    assert wire.parse_peer(body) is None or isinstance(value, dict)


@pytest.mark.parametrize("protocol", ["true", '"1"', "1.0", "null", "[1]"])
def test_only_an_integer_is_a_protocol(protocol: str) -> None:
    assert wire.parse_peer(b'{"protocol": 1, "software": "x"}') == wire.PeerInfo(1, None)
    assert wire.parse_peer(b'{"protocol": %s}' % protocol.encode()) is None


def test_a_peer_that_names_its_id_is_told_from_others() -> None:
    assert wire.parse_peer(wire.encode_peer("x", ID)) == wire.PeerInfo(wire.PROTOCOL, ID)
    assert wire.parse_peer(wire.encode_peer("x", None)) == wire.PeerInfo(wire.PROTOCOL, None)


@pytest.mark.parametrize("value", [None, 7, "", ID.hex()[1:], ID.hex().upper() + "\n", "٣" * 32, [ID.hex()]])
def test_an_id_that_is_none_is_no_lie_but_no_id(value: object) -> None:
    body = json.dumps({"protocol": 1, "id": value}).encode()
    assert wire.parse_peer(body) == wire.PeerInfo(1, None)


@pytest.mark.parametrize(
    ("prefer", "wait_s"),
    [
        ("wait=3", 3),
        ("respond-async, Wait = 2; foo=bar", 2),
        ('wait="4"', 4),
        ("wait=600", wire.MAX_WAIT_S),
        ("wait=0, wait=5", 0),
        ("wait=-1", 0),
        ("wait=1.5", 0),
        ("wait=٣", 0),
        ("wait=" + "9" * 5000, 0),
        ("waits=3", 0),
        ("return=minimal", 0),
        ("", 0),
    ],
)
def test_prefer_names_how_long_to_wait(prefer: str, wait_s: int) -> None:
    assert wire.parse_wait_s(prefer) == wait_s


@given(st.floats(0.001, 100))
def test_a_wait_is_asked_for_in_whole_seconds_and_never_none(wait_s: float) -> None:
    assert wire.parse_wait_s(wire.format_wait(wait_s)) == min(math.ceil(wait_s), wire.MAX_WAIT_S)


@given(st.text())
def test_any_prefer_is_understood_or_ignored(prefer: str) -> None:
    assert 0 <= wire.parse_wait_s(prefer) <= wire.MAX_WAIT_S


@pytest.mark.parametrize("have", [[1, 0], [True], [True, True, True], "ab", None, {"0": True}, [True, None]])
def test_have_answers_each_question_once_by_true_or_false(have: object) -> None:
    assert wire.parse_have(b'{"have": [true, false]}', 2) == [True, False]
    with pytest.raises(PeerLiedError, match="list of 2"):
        wire.parse_have(json.dumps({"have": have}).encode(), 2)


@given(sizes, st.one_of(st.none(), manifests))
def test_what_is_said_of_a_file_parses_back(size_bytes: int, manifest: ManifestDigest | None) -> None:
    info = wire.FileInfo(size_bytes, manifest)
    assert wire.parse_file(wire.encode_file(info)) == info


@pytest.mark.parametrize("size", ["true", "-1", "1.0", "1e3", '"5"', "null", "NaN", str(MAX_FILE_BYTES + 1)])
def test_a_size_is_an_integer_up_to_a_pebibyte(size: str) -> None:
    with pytest.raises(PeerLiedError, match="'size'"):
        wire.parse_file(b'{"size": %s, "manifest": null}' % size.encode())


@pytest.mark.parametrize("manifest", ['""', '"ab"', "1", "true", "[]", '"%s"' % ("AB" * 32), '"%s"' % ("ab" * 31)])
def test_a_manifest_is_a_digest_or_null(manifest: str) -> None:
    with pytest.raises(PeerLiedError, match="'manifest'"):
        wire.parse_file(b'{"size": 1, "manifest": %s}' % manifest.encode())


def test_an_error_is_one_line_of_json() -> None:
    assert json.loads(wire.encode_error('a "b"\nc')) == {"error": 'a "b"\nc'}
    assert b"\n" not in wire.encode_error('a "b"\nc')


@given(st.integers(0, 3 * GROUP_BLOCKS * BLOCK_BYTES))
def test_groups_part_the_blocks_of_a_file(size_bytes: int) -> None:
    layout = Layout(size_bytes)
    groups = [wire.group_blocks(layout, group) for group in range(5)]
    assert [block for group in groups for block in group] == list(range(layout.n_blocks))
    assert all(len(group) <= GROUP_BLOCKS for group in groups)
    assert wire.group_blocks(layout, 10**15) == BlockRange(layout.n_blocks, layout.n_blocks)


@given(st.lists(st.booleans(), max_size=70))
def test_presence_survives_the_wire(present: list[bool]) -> None:
    data = wire.encode_presence(present)
    assert wire.parse_presence(data, len(present)) == present
    assert [bool(data[i // 8] >> i % 8 & 1) for i in range(len(present))] == present
    for wrong in (data + b"\0", data[:-1]):
        if len(wrong) != len(data):
            with pytest.raises(PeerLiedError, match="bitmap"):
                wire.parse_presence(wrong, len(present))


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_a_range_that_is_asked_for_is_read_as_it_was_meant(start: int, n_bytes: int) -> None:
    span = ByteRange(start, start + n_bytes)
    assert wire.parse_range(wire.format_range(span), 5000) == span
    assert wire.parse_content_range(wire.format_content_range(span, 5000)) == (span, 5000)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-", ByteRange(0, 100)),
        ("bytes=99-", ByteRange(99, 100)),
        ("bytes=10-1000", ByteRange(10, 100)),
        ("bytes=-30", ByteRange(70, 100)),
        ("bytes=-300", ByteRange(0, 100)),
        (" bytes=0-0 ", ByteRange(0, 1)),
    ],
)
def test_open_suffix_and_overlong_ranges_are_cut_at_the_file(header: str, expected: ByteRange) -> None:
    assert wire.parse_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999-"])
def test_a_range_past_the_end_is_an_empty_one(header: str) -> None:
    span = wire.parse_range(header, 100)
    assert span is not None
    assert not span


@pytest.mark.parametrize(
    "header",
    [
        *("", "bytes=", "bytes=-", "bytes=5-3", "bytes=a-b", "bytes=0-1,5-6", "items=0-1", "bytes=0x0-1", "bytes=--1"),
        *("bytes=٣-٤", "bytes=0-" + "9" * 30, "bytes 0-1", "bytes=+1-2", "bytes=1_0-20"),
    ],
)
def test_a_range_that_is_not_understood_means_the_whole_file(header: str) -> None:
    assert wire.parse_range(header, 100) is None


@given(st.text(max_size=40), st.integers(0, 2000))
def test_any_range_header_lies_in_the_file_or_is_none(header: str, size_bytes: int) -> None:
    for text in (header, "bytes=" + header):
        span = wire.parse_range(text, size_bytes)
        assert span is None or span.stop <= size_bytes


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes 5-3/10",
        "bytes */100",
        "bytes 0-/10",
        "bytes 0-1",
        "bytes=0-1/2",
        "bytes 0-1/" + "9" * 30,
        "bytes 0-٣/5",
    ],
)
def test_a_content_range_that_is_none_is_a_lie(header: str) -> None:
    with pytest.raises(PeerLiedError, match="Content-Range"):
        wire.parse_content_range(header)


def test_a_content_range_may_leave_the_size_open() -> None:
    assert wire.parse_content_range("bytes 0-4/*") == (ByteRange(0, 5), None)


@given(st.one_of(sha1s, blake3s))
def test_an_object_lies_below_the_first_three_bytes_of_its_digest(digest: Sha1 | Blake3) -> None:
    first, second, third, name = wire.fan_out(digest).split("/")
    assert name == digest.hex
    assert first + second + third == digest.hex[:6]
