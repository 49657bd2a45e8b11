"""RFC 9110's Range and conditions, decided without a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.model import ByteRange
from kacheryfs.serve.conditions import Selection, select
from kacheryfs.serve.routes import RequestHead

ETAG = '"' + "a" * 40 + '"'
SIZE = 1000


def chosen(method="GET", size=SIZE, **headers):
    return select(
        RequestHead(method, "/", tuple((name.replace("_", "-"), value) for name, value in headers.items())), ETAG, size
    )


def test_without_conditions_everything_is_sent():
    assert chosen() == Selection(200, ByteRange(0, SIZE))


@pytest.mark.parametrize(
    ("value", "span"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 20)),
        ("bytes=990-", (990, 1000)),
        ("bytes=-10", (990, 1000)),
        ("bytes=-5000", (0, 1000)),
        ("bytes=999-99999999999999999999", (999, 1000)),
        ("Bytes=1-2", (1, 3)),
    ],
)
def test_one_range_is_206(value, span):
    assert chosen(range=value) == Selection(206, ByteRange(*span))


@pytest.mark.parametrize("value", ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=99999999999999999999-"])
def test_a_range_outside_the_file_is_416(value):
    assert chosen(range=value).status == 416


@pytest.mark.parametrize("value", ["bytes=0-0", "bytes=0-", "bytes=-1"])
def test_an_empty_file_has_no_range(value):
    assert chosen(size=0, range=value).status == 416


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=5-4",
        "bytes=0-1,5-6",
        "bytes=a-b",
        "lines=1-2",
        "bytes=1 - 2",
        "bytes=+1-2",
    ],
)
def test_a_range_that_is_not_understood_is_the_whole_file(value):
    assert chosen(range=value) == Selection(200, ByteRange(0, SIZE))


def test_two_range_headers_are_the_whole_file():
    head = RequestHead("GET", "/", (("range", "bytes=0-1"), ("range", "bytes=5-6")))
    assert select(head, ETAG, SIZE).status == 200


def test_head_has_no_range():
    assert chosen("HEAD", range="bytes=0-1") == Selection(200, ByteRange(0, SIZE))


@pytest.mark.parametrize("value", [ETAG, f"W/{ETAG}", "*", f'"x", {ETAG}', f'"a,b",{ETAG}'])
def test_who_has_it_already_gets_304(value):
    assert chosen(if_none_match=value, range="bytes=0-1").status == 304


@pytest.mark.parametrize("value", ['"x"', "", "x", ETAG.strip('"')])
def test_who_has_something_else_gets_the_bytes(value):
    assert chosen(if_none_match=value).status == 200


@pytest.mark.parametrize(("value", "status"), [(ETAG, 200), ("*", 200), ('"x"', 412), (f"W/{ETAG}", 412)])
def test_if_match_is_strong(value, status):
    assert chosen(if_match=value).status == status


@pytest.mark.parametrize(
    ("value", "status"), [(ETAG, 206), (f"W/{ETAG}", 200), ('"x"', 200), ("Sun, 22 Nov 2026 15:12:38 GMT", 200)]
)
def test_if_range_guards_the_range(value, status):
    assert chosen(range="bytes=0-1", if_range=value).status == status


@given(st.integers(0, 1 << 60), st.text(st.characters(max_codepoint=255), max_size=40), st.text(max_size=20))
def test_whatever_is_asked_the_bytes_lie_in_the_file(size, text, other):
    for value in (text, "bytes=" + text):
        selection = chosen(size=size, range=value, if_none_match=other, if_range=other)
        assert selection.status in (200, 206, 304, 416)
        assert selection.span.stop <= size
        assert bool(selection.span) == (selection.status == 206 or (selection.status == 200 and size > 0))
