from __future__ import annotations

import pytest

from kacheryfs.cli.terminal import format_table
from kacheryfs.cli.units import format_bytes, format_count, format_ms, format_rate, format_share


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_996, "10.0 kB"),
        (99_960, "100 kB"),
        (999_600, "1.00 MB"),
        (87_000_000_000, "87.0 GB"),
        (5 * 10**18, "5000 PB"),
    ],
)
def test_bytes_have_three_digits_and_a_decimal_unit(n_bytes: int, text: str) -> None:
    assert format_bytes(n_bytes) == text


def test_a_share_is_a_hundred_percent_only_when_all_is_there() -> None:
    assert format_share(999_999_999, 1_000_000_000) == "99.9 %"
    assert format_share(1, 3) == "33.3 %"
    assert format_share(0, 0) == "100 %"


def test_what_is_not_known_is_a_dash() -> None:
    assert (format_rate(None), format_ms(None)) == ("-", "-")
    assert (format_rate(2e6), format_ms(0.0021), format_ms(0.25)) == ("2.00 MB/s", "2.1 ms", "250 ms")


def test_counts_name_their_noun() -> None:
    assert [format_count(n, "file") for n in (0, 1, 1024)] == ["0 files", "1 file", "1,024 files"]


def test_a_table_is_aligned_and_nothing_trails() -> None:
    assert format_table([("a", "bb", "c"), ("aaa", "b", "")]) == ["a    bb  c", "aaa  b"]
    assert format_table([]) == []
