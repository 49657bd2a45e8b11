"""A body that is too slow is cut; a reader that is slow is not the peer's fault."""

from __future__ import annotations

import pytest

from kacheryfs.errors import PeerUnreachableError
from kacheryfs.peers.limits import ClientLimits
from kacheryfs.peers.pace import Pace


def test_a_byte_a_second_is_cut_after_the_window() -> None:
    pace = Pace(ClientLimits())
    for _ in range(9):
        pace.note(1, 1.0)
    with pytest.raises(PeerUnreachableError, match="1 bytes a second"):
        pace.note(1, 1.0)


def test_a_body_just_above_the_floor_goes_on_for_ever() -> None:
    pace = Pace(ClientLimits())
    for _ in range(1000):
        pace.note(4096, 1.0)


def test_a_fast_start_does_not_pay_for_a_slow_rest() -> None:
    pace = Pace(ClientLimits())
    pace.note(10**9, 10.0)
    for _ in range(9):
        pace.note(1, 1.0)
    with pytest.raises(PeerUnreachableError):
        pace.note(1, 1.0)


def test_what_was_not_waited_for_counts_nothing() -> None:
    pace = Pace(ClientLimits())
    for _ in range(1000):
        pace.note(1, 0.0)


def test_one_silence_is_shorter_than_the_window() -> None:
    limits = ClientLimits()
    assert Pace(limits).wait_s == limits.idle_s <= limits.min_rate_window_s
