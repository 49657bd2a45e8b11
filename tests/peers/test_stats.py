"""What is remembered of a peer follows what it does."""

from __future__ import annotations

import pytest

from kacheryfs.peers.stats import PeerStats


def test_the_first_sample_stands_and_later_ones_move_it() -> None:
    stats = PeerStats()
    stats.note_round_trip(0.1, now=5.0)
    assert stats.round_trip_s == 0.1
    stats.note_round_trip(0.2, now=6.0)
    assert 0.1 < stats.round_trip_s < 0.2
    assert stats.last_answer_at == 6.0


def test_a_change_is_followed_within_a_score_of_samples() -> None:
    stats = PeerStats()
    stats.note_round_trip(10.0, now=0.0)
    for _ in range(20):
        stats.note_round_trip(0.01, now=0.0)
    assert stats.round_trip_s == pytest.approx(0.01, abs=0.05)


def test_small_bodies_say_nothing_of_the_rate() -> None:
    stats = PeerStats()
    stats.note_body(1000, 1.0)
    stats.note_body(1 << 20, 0.0)
    assert stats.rate_bytes_per_s is None
    stats.note_body(1 << 20, 0.5)
    assert stats.rate_bytes_per_s == 2 << 20


def test_an_error_is_kept_with_its_time() -> None:
    stats = PeerStats()
    stats.note_error("http://a: broke", now=7.0)
    assert (stats.last_error, stats.last_error_at) == ("http://a: broke", 7.0)
