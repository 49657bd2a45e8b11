from __future__ import annotations

import hashlib

import pytest
from blake3 import blake3
from core_strategies import blake3s, sha1s
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.model import (
    MAX_BLOCK_BYTES,
    Binding,
    Blake3,
    BlockRange,
    ByteRange,
    Layout,
    Sha1,
    parse_manifest_digest,
    salted,
)

layouts = st.builds(Layout, st.integers(0, 5000), st.integers(1, 700))


@given(st.one_of(sha1s, blake3s))
def test_hex_of_a_digest_parses_back_to_it(digest: Sha1 | Blake3) -> None:
    assert type(digest).from_hex(digest.hex) == digest
    assert parse_manifest_digest(digest.hex) == digest
    assert str(digest) == digest.hex
    assert digest.hex.startswith(digest.short)


@pytest.mark.parametrize(
    "text",
    ["", "ab" * 19, "ab" * 21, "AB" * 20, "ab" * 19 + "a\n", "ab" * 19 + " a", "٣" * 40, "0x" + "ab" * 19, "g" * 40],
)
def test_what_is_not_exactly_40_lowercase_hex_is_no_sha1(text: str) -> None:
    with pytest.raises(ValueError, match="is not 40 lowercase hex digits"):
        Sha1.from_hex(text)


@given(st.text(max_size=70))
def test_any_text_is_a_manifest_digest_or_a_value_error(text: str) -> None:
    try:
        digest = parse_manifest_digest(text)
    except ValueError:
        return
    assert digest.hex == text


def test_a_digest_of_another_length_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="has 20 bytes, not 32"):
        Sha1(bytes(32))
    with pytest.raises(ValueError, match="has 32 bytes, not 20"):
        Blake3(bytes(20))


def test_digests_of_two_kinds_are_never_equal() -> None:
    assert {Sha1(bytes(20)), Blake3(bytes(32))} == {Sha1(bytes(20)), Blake3(bytes(32))}
    assert Sha1(bytes(20)) != Blake3(bytes(32))


@given(st.binary(max_size=100))
def test_digests_are_those_of_the_libraries(data: bytes) -> None:
    assert Sha1.of(data).hex == hashlib.sha1(data).hexdigest()
    assert Blake3.of(memoryview(data)).hex == blake3(data).hexdigest()


def test_have_you_asks_by_the_documented_salted_digest() -> None:
    name = "f44fb545e66b2277a119655760e050a8889fe146"
    assert salted(Sha1.from_hex(name)).hex == hashlib.sha1(b"kacheryfs-1:" + name.encode()).hexdigest()


@pytest.mark.parametrize(("start", "stop"), [(-1, 0), (2, 1), (-3, -2)])
def test_a_range_that_runs_backwards_or_below_zero_cannot_be_made(start: int, stop: int) -> None:
    for kind in (ByteRange, BlockRange):
        with pytest.raises(ValueError, match="is not a range"):
            kind(start, stop)


def test_an_empty_range_is_false_and_iterates_over_nothing() -> None:
    assert not ByteRange(5, 5)
    assert list(BlockRange(5, 5)) == []
    assert list(BlockRange(2, 5)) == [2, 3, 4]
    assert len(BlockRange(2, 5)) == 3


@pytest.mark.parametrize(("size_bytes", "block_bytes"), [(-1, 1), (1, 0), (1, -5), (1, MAX_BLOCK_BYTES + 1)])
def test_an_absurd_layout_cannot_be_made(size_bytes: int, block_bytes: int) -> None:
    with pytest.raises(ValueError, match="no layout"):
        Layout(size_bytes, block_bytes)


@given(layouts)
def test_the_blocks_of_a_file_are_the_file(layout: Layout) -> None:
    spans = [layout.bytes_of(BlockRange(block, block + 1)) for block in range(layout.n_blocks)]
    assert [len(span) for span in spans] == [layout.block_size(block) for block in range(layout.n_blocks)]
    assert [byte for span in spans for byte in range(span.start, span.stop)] == list(range(layout.size_bytes))
    assert all(len(span) == layout.block_bytes for span in spans[:-1])
    assert layout.bytes_of(BlockRange(0, layout.n_blocks)) == ByteRange(0, layout.size_bytes)


@given(layouts, st.integers(0, 6000), st.integers(0, 6000))
def test_a_read_touches_exactly_the_blocks_that_hold_its_bytes(layout: Layout, offset: int, n_bytes: int) -> None:
    span = layout.clip(offset, n_bytes)
    assert set(layout.blocks_of(span)) == {byte // layout.block_bytes for byte in range(span.start, span.stop)}


@given(layouts, st.integers(-10, 6000), st.integers(-10, 6000))
def test_a_read_is_cut_at_the_end_of_the_file_as_a_slice_is(layout: Layout, offset: int, n_bytes: int) -> None:
    span = layout.clip(offset, n_bytes)
    wanted = range(layout.size_bytes)[max(offset, 0) :][: max(n_bytes, 0)]
    assert list(range(span.start, span.stop)) == list(wanted)


@given(layouts)
def test_there_is_no_block_outside_the_file(layout: Layout) -> None:
    for block in (-1, layout.n_blocks):
        with pytest.raises(IndexError):
            layout.block_size(block)


def test_bindings_of_one_content_differ_by_their_proof() -> None:
    sha1, manifest = Sha1(bytes(20)), Blake3(bytes(32))
    bindings = {Binding(sha1, manifest), Binding(sha1, None, 5), Binding(sha1, None, 6), Binding(sha1, Sha1(bytes(20)))}
    assert len(bindings) == 4
