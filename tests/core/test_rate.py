"""What a peer is thought to deliver: over busy time alone, soon lower when it slows down, never forgotten for good."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.rate import KNOWN_BYTES, MIN_RATE_BYTES_PER_S, Rate


def deliver(rate: Rate, bytes_per_s: float, start: float, stop: float, step_s: float = 0.05) -> None:
    """One body, whose bytes come evenly."""
    rate.begin(start)
    n_steps = round((stop - start) / step_s)
    for i in range(1, n_steps + 1):
        rate.note(int(bytes_per_s * step_s), start + i * step_s)
    rate.end(stop)


def known(bytes_per_s: float = 25e6) -> Rate:
    rate = Rate()
    deliver(rate, bytes_per_s, 0.0, 10.0)
    return rate


def test_nothing_is_known_of_who_has_delivered_little() -> None:
    rate = Rate()
    assert rate.find_estimate(0.0) is None
    rate.begin(0.0)
    rate.note(KNOWN_BYTES - 1, 1.0)
    assert rate.find_estimate(1.0) is None
    rate.note(1, 1.0)
    assert rate.find_estimate(1.0) == pytest.approx(KNOWN_BYTES)


@given(st.floats(1e6, 1e9), st.floats(0.1, 100))
def test_a_steady_peer_is_known_by_its_rate(bytes_per_s: float, elapsed_s: float) -> None:
    rate = Rate()
    deliver(rate, bytes_per_s, 5.0, 5.0 + elapsed_s, elapsed_s / 100)
    assert rate.find_estimate(1000.0) == pytest.approx(bytes_per_s, rel=0.05)


@given(st.integers(1, 10))
def test_bodies_at_the_same_time_share_its_line(n_bodies: int) -> None:
    rate = Rate()
    for _ in range(n_bodies):
        rate.begin(0.0)
    for i in range(100):
        for _ in range(n_bodies):
            rate.note(1_000_000 // n_bodies, (i + 1) * 0.1)
    assert rate.find_estimate(10.0) == pytest.approx(10e6, rel=0.05)


def test_time_without_work_is_not_slowness() -> None:
    rate = Rate()
    for start in (0.0, 100.0, 5000.0):
        deliver(rate, 25e6, start, start + 1)
    assert rate.find_estimate(9999.0) == pytest.approx(25e6, rel=0.01)


def test_a_slowdown_to_a_tenth_shows_within_a_second_and_a_half() -> None:
    rate = known()
    deliver(rate, 2.5e6, 10.0, 11.5)
    estimate = rate.find_estimate(11.5)
    assert estimate is not None
    assert estimate < 0.6 * 25e6


def test_who_slumps_is_thought_slow_at_once_and_capable_again_after_seconds_of_rest() -> None:
    rate = known()
    rate.slump(0.0, 10.0)
    assert rate.find_estimate(10.0) == MIN_RATE_BYTES_PER_S
    later = rate.find_estimate(20.0)
    assert later == pytest.approx(25e6, rel=0.1)


def test_each_slump_makes_it_rest_twice_as_long() -> None:
    rate = known()
    rests = []
    now = 10.0
    for _ in range(4):
        rate.slump(2.5e5, now)
        began = now
        while (rate.find_estimate(now) or 0.0) < 12e6:
            now += 0.1
        rests.append(now - began)
    assert all(longer > 1.8 * shorter for shorter, longer in itertools.pairwise(rests))


def test_who_was_always_slow_is_not_thought_faster_for_resting() -> None:
    rate = known(1e5)
    rate.slump(1e4, 10.0)
    assert (rate.find_estimate(1e6) or 0.0) <= 1.05e5


def test_good_work_ends_a_slump() -> None:
    rate = known()
    rate.slump(0.0, 10.0)
    deliver(rate, 25e6, 10.0, 12.0)
    estimate = rate.find_estimate(12.0)
    assert estimate is not None
    assert estimate > 15e6


@given(st.lists(st.tuples(st.sampled_from(["begin", "note", "end", "slump"]), st.floats(0, 10)), max_size=60))
def test_whatever_happens_an_estimate_is_positive(steps: list[tuple[str, float]]) -> None:
    rate, now, n_bodies = Rate(), 0.0, 0
    for what, elapsed_s in steps:
        now += elapsed_s
        if what == "begin":
            rate.begin(now)
            n_bodies += 1
        elif what == "note" and n_bodies:
            rate.note(100_000, now)
        elif what == "end" and n_bodies:
            rate.end(now)
            n_bodies -= 1
        elif what == "slump":
            rate.slump(1000.0, now)
        estimate = rate.find_estimate(now)
        assert estimate is None or estimate >= MIN_RATE_BYTES_PER_S
