"""What is remembered of a peer follows what it does."""

from __future__ import annotations

import pytest
import trio
import trio.testing

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


async def test_what_is_expected_is_what_its_rate_says_now(autojump_clock: trio.testing.MockClock) -> None:
    stats = PeerStats()
    assert stats.rate_bytes_per_s is None
    stats.rate.begin(trio.current_time())
    await trio.sleep(0.5)
    stats.rate.note(1 << 20, trio.current_time())
    stats.rate.end(trio.current_time())
    assert stats.rate_bytes_per_s == pytest.approx(2 << 20)


def test_an_error_is_kept_with_its_time() -> None:
    stats = PeerStats()
    stats.note_error("http://a: broke", now=7.0)
    assert (stats.last_error, stats.last_error_at) == ("http://a: broke", 7.0)
