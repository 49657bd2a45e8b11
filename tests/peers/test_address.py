"""A peer's URL is checked once, and refused in one line that says what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.errors import InputError
from kacheryfs.peers.address import parse_peer_url

GOOD = {
    "http://lab.example.org": "http://lab.example.org",
    "http://lab.example.org/": "http://lab.example.org",
    " http://lab.example.org:80\n": "http://lab.example.org",
    "HTTPS://Lab.Example.ORG:443": "https://lab.example.org",
    "https://lab.example.org:80": "https://lab.example.org:80",
    "http://127.0.0.1:8080/data/": "http://127.0.0.1:8080/data",
    "http://[::1]:8080": "http://[::1]:8080",
    "http://[0:0::1]": "http://[::1]",
    "http://bücher.example": "http://xn--bcher-kva.example",
    "http://my_host:1/a%20b/ü": "http://my_host:1/a%20b/%C3%BC",
}


@pytest.mark.parametrize("text", GOOD)
def test_a_url_has_one_spelling(text: str) -> None:
    assert str(parse_peer_url(text)) == GOOD[text]
    assert str(parse_peer_url(GOOD[text])) == GOOD[text]


BAD = {
    "": "empty",
    "   ": "empty",
    "http://": "host",
    "lab.example.org:8080": "http://",
    "ftp://lab.example.org": "http://",
    "file:///etc/passwd": "http://",
    "/data": "http://",
    "http:lab": "host",
    "http://lab example": "spaces",
    "http://lab\x00": "control",
    "http://lab\r\nX: y": "control",
    "http://lab:0": "port 0",
    "http://lab:65536": "ort",
    "http://lab:http": "ort",
    "http://me:secret@lab": "user names",
    "http://lab/?q": "query",
    "http://lab/?": "query",
    "http://lab#": "fragment",
    "http://[::1": "IPv6",
    "http://[::x]": r"IPv6|valid",
    "http://[fe80::1%25eth0]": r"IPv6|valid",
    "http://a..b": "host name",
    "http://" + "a" * 64 + ".org": "host name",
    "http://-a/": "host name",
    "http://a;b/": "host name",
    "http://" + "a" * 2000: "long",
    "http://*": "host name",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_url_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match=BAD[text]) as caught:
        parse_peer_url(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert "secret" not in str(caught.value)


@given(st.text() | st.text().map(lambda text: "http://" + text))
def test_any_text_is_a_url_with_one_spelling_or_an_input_error(text: str) -> None:
    try:
        address = parse_peer_url(text)
    except InputError:
        return
    assert parse_peer_url(str(address)) == address
    assert str(address).isascii()
    assert str(address).isprintable()
    assert " " not in str(address)
