"""The table of paths: what is asked for, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core import wire
from kacheryfs.core.model import Binding, Blake3, Sha1, salted
from kacheryfs.serve.limits import ServeLimits
from kacheryfs.serve.routes import (
    AskFile,
    AskHave,
    AskPeer,
    AskPresence,
    GetBlocks,
    GetFile,
    GetManifestPart,
    Refusal,
    RequestHead,
    Welcome,
    read_request,
    read_target,
)

LIMITS = ServeLimits()
H = Sha1.of(b"a file")
M = Blake3.of(b"a manifest")
LEGACY = Sha1.of(b"a legacy manifest")

sha1s = st.binary(min_size=20, max_size=20).map(Sha1)
blake3s = st.binary(min_size=32, max_size=32).map(Blake3)
bindings = st.builds(Binding, sha1s, st.one_of(sha1s, blake3s))


def head(method="GET", target="/", **headers):
    named = {"host": "peer", **headers}
    return RequestHead(method, target, tuple((name.replace("_", "-"), value) for name, value in named.items()))


def status(asked):
    return asked.status if isinstance(asked, Refusal) else 200


@given(sha1s, bindings, blake3s, st.integers(0, 2_097_151), st.lists(sha1s, min_size=1, max_size=64))
def test_every_path_that_the_protocol_builds_is_understood(sha1, binding, digest, group, many):
    assert read_target(wire.PEER_PATH) == AskPeer()
    assert read_target(wire.have_path(many)) == AskHave(tuple(many))
    assert read_target(wire.file_path(sha1)) == AskFile(sha1)
    assert read_target(wire.presence_path(binding, group)) == AskPresence(binding, group)
    assert read_target(wire.blocks_path(binding)) == GetBlocks(binding)
    assert read_target(wire.sha1_path(sha1)) == GetFile(sha1)
    assert read_target(wire.manifest_path(digest)) == GetManifestPart(digest)


def test_the_largest_have_fits_the_limit_of_a_path():
    assert len(wire.have_path([salted(H)] * wire.MAX_HAVE)) <= LIMITS.max_target_bytes


def test_the_front_page_is_there_for_people():
    assert read_target("/") == Welcome()


@pytest.mark.parametrize(
    "target",
    [
        f"/sha1/../sha1/{H}",
        f"/sha1/%2e%2e/{H}",
        f"/sha1%2f{H}",
        f"/sha1//{H}",
        f"//sha1/{H}",
        f"/sha1/{H}/",
        f"/sha1/{H}/x",
        f"/sha1/{str(H).upper()}",
        f"/SHA1/{H}",
        f"/sha1/{H}\x00",
        f"/sha1/{H}%00",
        f"/sha1/{H}.dat",
        f"/sha1/{str(H)[:-1]}",
        f"/sha1/{H}#x",
        f"/sha1/{M}",
        "/sha1/",
        "/sha1",
        "/sha1/" + "\u0660" * 40,
        "/sha1/" + "0" * 39 + "\n",
        "/etc/passwd",
        "/sha1/etc/passwd",
        f"http://peer/sha1/{H}",
        f"sha1/{H}",
        "*",
        "",
        "peer:80",
        "/v1",
        "/v1/",
        f"/v1/file/{H}/..",
        f"/v1/blocks/{H}",
        f"/v1/blocks/{H}/{H}x",
        f"/v1/presence/{H}/{M}",
        f"/v1/presence/{H}/{M}/",
        f"/v1/presence/{H}/{M}/-1",
        f"/v1/presence/{H}/{M}/01",
        f"/v1/presence/{H}/{M}/0x",
        f"/v1/presence/{H}/{M}/1e3",
        f"/v1/presence/{H}/{M}/99999999999999999999",
        f"/v1/presence/{H}/{M}/9999999",
        f"/manifest/{M}",
        f"/manifest/00/00/00/{M}",
        f"/manifest/../../../{M}",
        f"/manifest/{wire.fan_out(H)}",
    ],
)
def test_what_is_not_in_the_table_is_400_or_404(target):
    assert status(read_target(target)) in (400, 404)


@pytest.mark.parametrize(
    "query",
    ["", "q=", "q=x", f"q={H}&", f"&q={H}", f"q={H}&p={H}", f"q={str(H).upper()}", f"q={H};q={H}", f"Q={H}"],
)
def test_a_have_that_is_not_a_list_of_digests_is_400(query):
    assert status(read_target(f"/v1/have?{query}")) == 400


def test_a_have_of_65_is_400():
    assert status(read_target("/v1/have?" + "&".join([f"q={H}"] * 65))) == 400


def test_a_query_is_ignored_where_none_is_asked_for():
    assert read_target(f"/sha1/{H}?manifest={M}") == GetFile(H)


@given(st.text(st.characters(max_codepoint=255), max_size=200))
def test_any_target_is_a_route_or_a_refusal(target):
    assert status(read_target(target)) in (200, 400, 404)
    assert status(read_target("/" + target)) in (200, 400, 404)


_ALPHABET = st.sampled_from(
    ["sha1", "v1", "have", "file", "blocks", "presence", "manifest", "..", "%2f", "", str(H), str(M)]
)


@given(st.lists(_ALPHABET, max_size=8), st.text(max_size=8))
def test_any_shuffle_of_the_tables_words_is_a_route_or_a_refusal(parts, tail):
    assert status(read_target("/" + "/".join(parts) + tail)) in (200, 400, 404)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "get", "PRI"])
def test_only_get_and_head_are_answered(method):
    assert status(read_request(head(method, f"/sha1/{H}"), LIMITS)) == 405


def test_head_asks_what_get_asks():
    assert read_request(head("HEAD", f"/sha1/{H}"), LIMITS) == GetFile(H)


def test_a_path_over_the_limit_is_414():
    assert status(read_request(head(target="/" + "x" * LIMITS.max_target_bytes), LIMITS)) == 414


def test_a_head_over_the_limit_is_431():
    assert status(read_request(head(x="x" * LIMITS.max_head_bytes), LIMITS)) == 431


@pytest.mark.parametrize("headers", [{"content_length": "1"}, {"transfer_encoding": "chunked"}])
def test_a_body_is_413_and_ends_the_connection(headers):
    refusal = read_request(head(**headers), LIMITS)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.must_close) == (413, True)


def test_an_empty_body_is_none():
    assert read_request(head(content_length="0"), LIMITS) == Welcome()


@pytest.mark.parametrize("host", ["peer", "peer:8000", "127.0.0.1:1", "[::1]", "[::1]:80", "a-b.example.org", ""])
def test_a_well_formed_host_is_taken(host):
    assert read_request(head(host=host), LIMITS) == Welcome()


@pytest.mark.parametrize(
    "host", ["a b", "a/b", "a@b", "peer:", "peer:x", "peer:123456", "[::1", "::1", "a,b", "é", "a\n"]
)
def test_a_malformed_host_is_400(host):
    assert status(read_request(head(host=host), LIMITS)) == 400


@given(
    st.text(st.characters(max_codepoint=255), max_size=10),
    st.text(st.characters(max_codepoint=255), max_size=50),
    st.lists(st.tuples(st.text(max_size=10), st.text(st.characters(max_codepoint=255), max_size=20)), max_size=5),
)
def test_any_head_is_a_route_or_a_refusal(method, target, headers):
    asked = read_request(RequestHead(method, target, tuple(headers)), LIMITS)
    assert status(asked) in (200, 400, 404, 405, 413, 414, 431)


def test_no_refusal_repeats_what_was_asked():
    for target in ["/sha1/SECRET", "/SECRET", "SECRET", "/v1/have?q=SECRET", f"/v1/presence/{H}/{M}/SECRET"]:
        refusal = read_target(target)
        assert isinstance(refusal, Refusal)
        assert "SECRET" not in refusal.message
        assert "\n" not in refusal.message
