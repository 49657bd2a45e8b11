"""What is fetched ahead: much for who reads on, nothing for who jumps about."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.model import ByteRange
from kacheryfs.core.readahead import (
    FAULT_BYTES,
    FIRST_LEFT_BYTES,
    FULL_AFTER_BYTES,
    SETTLED_BYTES,
    STREAMS,
    ReadPattern,
    snippet_after,
)

KIB = 1024
MIB = 1024 * KIB
WINDOW = 16 * MIB
SPANS = st.builds(lambda start, size: ByteRange(start, start + size), st.integers(0, 1 << 40), st.integers(1, 4 * MIB))


def sequential(start: int, n_reads: int, step: int = 128 * KIB) -> list[ByteRange]:
    return [ByteRange(start + i * step, start + (i + 1) * step) for i in range(n_reads)]


@given(st.lists(SPANS, max_size=60), st.integers(0, WINDOW))
def test_hints_lie_ahead_and_within_the_window(spans: list[ByteRange], window: int) -> None:
    pattern = ReadPattern(window)
    for span in spans:
        hint = pattern.observe(span)
        if hint is not None:
            assert hint
            assert hint.start >= span.stop or hint.stop > span.stop
            assert len(hint) <= window


@given(st.integers(0, 1 << 40), st.integers(1, 1000))
def test_a_sequential_reader_is_never_hinted_the_same_bytes_twice(start: int, n_reads: int) -> None:
    pattern = ReadPattern(WINDOW)
    hints = [hint for span in sequential(start, n_reads) if (hint := pattern.observe(span))]
    assert all(one.stop <= other.start for one, other in itertools.pairwise(hints))


@given(st.integers(0, 1 << 40))
def test_a_sequential_reader_has_half_the_window_ahead_of_it(start: int) -> None:
    pattern = ReadPattern(WINDOW)
    hinted_to = 0
    for i, span in enumerate(sequential(start, 400)):
        hint = pattern.observe(span)
        hinted_to = hint.stop if hint else hinted_to
        if (i + 1) * 128 * KIB > FULL_AFTER_BYTES:
            assert hinted_to - span.stop >= WINDOW // 2


@given(st.integers(0, 1 << 40), st.sampled_from([128 * KIB, MIB]))
def test_a_second_of_384_channels_fetches_less_than_30_mb(start: int, request_bytes: int) -> None:
    pattern, second_bytes = ReadPattern(WINDOW), 30_000 * 384 * 2
    starts = range(start, start + second_bytes, request_bytes)
    hints = [hint for at in starts if (hint := pattern.observe(ByteRange(at, at + request_bytes)))]
    assert hints
    assert hints[-1].stop - start < 29_000_000


@given(st.integers(0, 1 << 40))
def test_a_waveform_snippet_costs_no_readahead(start: int) -> None:
    pattern = ReadPattern(WINDOW)
    assert not any(pattern.observe(span) for span in sequential(start, SETTLED_BYTES // FAULT_BYTES))


@given(st.integers(0, 1 << 40))
def test_only_the_first_fault_of_a_snippet_is_at_its_start(start: int) -> None:
    pattern, at_start = ReadPattern(WINDOW), []
    first, second, third = sequential(start, SETTLED_BYTES // FAULT_BYTES)
    for span in (first, first, second, third):  # a read that waits is observed twice
        pattern.observe(span)
        at_start.append(pattern.is_at_start)
    assert at_start == [True, True, False, False]
    assert snippet_after(first) == ByteRange(second.start, third.stop)


@given(st.integers(0, 1 << 40), st.integers(1, 64 * 1024 * KIB))
def test_one_read_is_no_sequence_however_long(start: int, n_bytes: int) -> None:
    pattern = ReadPattern(WINDOW)
    assert pattern.observe(ByteRange(start, start + n_bytes)) is None
    assert pattern.observe(ByteRange(start, start + n_bytes)) is None


@given(st.integers(1, WINDOW), st.integers(0, 1 << 40))
def test_a_small_window_moves_on_before_it_is_read_to_its_end(window: int, start: int) -> None:
    pattern, hinted_to = ReadPattern(window), start + SETTLED_BYTES + window
    for span in sequential(start, 100, step=16 * KIB):
        hint = pattern.observe(span)
        hinted_to = hint.stop if hint else hinted_to
        assert hinted_to - span.stop >= min(window // 2, FIRST_LEFT_BYTES) - 16 * KIB


@given(st.lists(st.integers(0, 1 << 20), min_size=1, max_size=200, unique=True))
def test_random_reads_are_never_read_ahead_of(places: list[int]) -> None:
    pattern = ReadPattern(WINDOW)
    assert not any(pattern.observe(ByteRange(at * 8 * MIB, at * 8 * MIB + 64 * KIB)) for at in places)


@given(st.permutations(range(64)))
def test_the_order_of_two_reads_under_way_does_not_end_a_stream(order: list[int]) -> None:
    pattern = ReadPattern(WINDOW)
    spans = sequential(0, 64)
    n_hints = 0
    for i in range(0, 64, 2):  # the kernel's two may come in either order
        pair = spans[i : i + 2] if order[i] % 2 else spans[i : i + 2][::-1]
        n_hints += sum(pattern.observe(span) is not None for span in pair)
    assert n_hints == 4  # at 0.5, 2.5, 4.5 and 6.5 MiB
    assert pattern.observe(ByteRange(64 * 128 * KIB, 64 * 128 * KIB + WINDOW)) is not None


def test_several_places_of_one_file_are_followed_at_once() -> None:
    pattern = ReadPattern(WINDOW)
    hinted = [False] * STREAMS
    for i in range(10):
        for stream in range(STREAMS):
            span = sequential(stream << 30, i + 1)[i]
            hinted[stream] |= pattern.observe(span) is not None
    assert all(hinted)


def test_a_window_of_nothing_means_no_readahead() -> None:
    pattern = ReadPattern(0)
    assert not any(pattern.observe(span) for span in sequential(0, 100))
