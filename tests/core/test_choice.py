"""The provider that should deliver first is asked; what is not known is tried."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.choice import UNKNOWN_RATE_BYTES_PER_S, Candidate, choose, expected_s

CANDIDATES = st.lists(
    st.tuples(
        st.none() | st.floats(0, 10), st.none() | st.floats(0, 1e10, allow_subnormal=False), st.integers(0, 1 << 40)
    ),
    max_size=8,
).map(lambda known: [Candidate(index, *it) for index, it in enumerate(known)])
SIZES = st.integers(1, 1 << 30)


@given(CANDIDATES, SIZES)
def test_nobody_is_expected_to_deliver_before_the_one_chosen(candidates: list[Candidate], n_bytes: int) -> None:
    chosen = choose(candidates, n_bytes)
    if chosen is None:
        assert not candidates
    else:
        assert expected_s(candidates[chosen], n_bytes) == min(expected_s(c, n_bytes) for c in candidates)


@given(CANDIDATES, SIZES)
def test_the_choice_does_not_depend_on_the_order(candidates: list[Candidate], n_bytes: int) -> None:
    assert choose(candidates, n_bytes) == choose(candidates[::-1], n_bytes)


@given(st.integers(0, 1 << 40), SIZES)
def test_more_queued_bytes_never_make_a_provider_faster(queued: int, n_bytes: int) -> None:
    idle, busy = Candidate(0, 0.02, 1e7, 0), Candidate(1, 0.02, 1e7, queued)
    assert expected_s(idle, n_bytes) <= expected_s(busy, n_bytes)


@given(SIZES)
def test_a_provider_that_nobody_tried_is_preferred_to_a_slow_one(n_bytes: int) -> None:
    slow, unknown = Candidate(0, 0.02, UNKNOWN_RATE_BYTES_PER_S / 100, 0), Candidate(1, None, None, 0)
    assert choose([slow, unknown], n_bytes) == 1


def test_a_rate_of_nothing_divides_nothing_by_zero() -> None:
    assert expected_s(Candidate(0, 0.0, 0.0, 10), 10) > 0
