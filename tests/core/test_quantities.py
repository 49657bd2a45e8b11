from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.quantities import (
    MAX_DURATION_S,
    MAX_SIZE_BYTES,
    Address,
    ByteRate,
    CacheSize,
    format_duration,
    format_size,
    parse_address,
    parse_cache_size,
    parse_count,
    parse_duration_s,
    parse_fraction,
    parse_rate,
    parse_size_bytes,
    parse_timeout_s,
    parse_yes_no,
)

PARSERS = [
    parse_rate,
    parse_count,
    parse_size_bytes,
    parse_duration_s,
    parse_timeout_s,
    parse_fraction,
    parse_yes_no,
    parse_address,
]


@pytest.mark.parametrize(
    ("value", "n_bytes"),
    [
        (0, 0),
        (67108864, 67108864),
        ("67108864", 67108864),
        ("64 MiB", 64 * 1024**2),
        ("64MiB", 64 * 1024**2),
        ("64 mib", 64 * 1024**2),
        (" 1 kB ", 1000),
        ("1 KiB", 1024),
        ("1.5 GB", 1_500_000_000),
        ("0.5 KiB", 512),
        ("2 TiB", 2 * 1024**4),
        ("10 B", 10),
        ("46.6 GiB", 50_036_368_998),
    ],
)
def test_a_size_is_bytes_or_has_a_unit(value: object, n_bytes: int) -> None:
    assert parse_size_bytes(value) == n_bytes


@pytest.mark.parametrize(
    "value",
    [True, 1.0, None, -1, "", "-1", "1.5", "64 M", "1e6", "MiB", "٣", "1 2", "0.3 KiB", [1], 2**60 + 1, "2000000 TiB"],
)
def test_what_is_no_whole_number_of_bytes_is_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="64 MiB"):
        parse_size_bytes(value)


@pytest.mark.parametrize(
    ("value", "duration_s"),
    [
        (5, 5),
        (0.25, 0.25),
        ("5", 5),
        ("5s", 5),
        ("2 min", 120),
        ("500 ms", 0.5),
        ("1.5 h", 5400),
        ("3 Seconds", 3),
        (0, 0),
    ],
)
def test_a_duration_is_seconds_or_has_a_unit(value: object, duration_s: float) -> None:
    assert parse_duration_s(value) == duration_s


@pytest.mark.parametrize(
    "value",
    [True, None, -1, "", "-5 s", "5 d", "five", float("nan"), float("inf"), "inf", "1e3", MAX_DURATION_S + 1, "8000 h"],
)
def test_what_is_no_time_up_to_a_week_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="up to 7 days"):
        parse_duration_s(value)


def test_a_timeout_is_longer_than_nothing() -> None:
    assert parse_timeout_s("1 ms") == 0.001
    with pytest.raises(ValueError, match="longer than 0"):
        parse_timeout_s("0 s")


@pytest.mark.parametrize(("value", "fraction"), [(0, 0), (0.05, 0.05), ("5 %", 0.05), ("5%", 0.05), ("0.2", 0.2)])
def test_a_fraction_is_a_number_or_a_percentage(value: object, fraction: float) -> None:
    assert parse_fraction(value) == fraction


@pytest.mark.parametrize("value", [True, None, 1, 1.5, -0.1, "100 %", "x", float("nan"), ""])
def test_what_is_not_below_1_is_no_fraction(value: object) -> None:
    with pytest.raises(ValueError, match="from 0 to less than 1"):
        parse_fraction(value)


def test_yes_and_no_have_the_usual_words() -> None:
    assert [parse_yes_no(word) for word in (True, "true", "YES", " on ", "1")] == [True] * 5
    assert [parse_yes_no(word) for word in (False, "false", "No", "off", "0")] == [False] * 5
    for value in (1, 0, None, "", "2", "truth"):
        with pytest.raises(ValueError, match="true or false"):
            parse_yes_no(value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:27180", Address("127.0.0.1", 27180)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:80", Address("::1", 80)),
        ("0.0.0.0:65535", Address("0.0.0.0", 65535)),
    ],
)
def test_an_address_reads_as_it_is_written(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text
    assert address.url == f"http://{text}"


@pytest.mark.parametrize(
    "value",
    ["", ":80", "host", "host:", "host:65536", "host:-1", "::1:80", "[::zz]:80", "[1]:80", "a b:1", "h:٣", 80, None],
)
def test_what_is_no_host_and_port_is_no_address(value: object) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|not an IPv6 address"):
        parse_address(value)


@given(st.one_of(st.text(max_size=20), st.integers(), st.floats(), st.none(), st.booleans(), st.lists(st.none())))
def test_any_value_is_read_or_is_a_value_error_of_one_line(value: object) -> None:
    for parse in PARSERS:
        reason = ""
        try:
            parse(value)
        except ValueError as exc:
            reason = str(exc)
        assert reason.isprintable()


@pytest.mark.parametrize(
    ("value", "bytes_per_s"),
    [
        ("10 MB/s", 10_000_000),
        ("10MB/s", 10_000_000),
        ("1.5 MiB / s", 1536 * 1024),
        (" 20 kB ", 20_000),
        (16_000, 16_000),
        ("none", None),
        ("None", None),
        (0, None),
        ("0 B/s", None),
    ],
)
def test_a_rate_is_bytes_per_second_or_none(value: object, bytes_per_s: int | None) -> None:
    assert parse_rate(value).bytes_per_s == bytes_per_s


@pytest.mark.parametrize("value", ["", "/s", "10 MB/min", "15 kB/s", 1, True, None, "-1 MB/s", "fast", "1 MB/s/s"])
def test_what_is_no_rate_is_refused_and_so_is_one_that_looks_dead_to_peers(value: object) -> None:
    with pytest.raises(ValueError, match="10 MB/s"):
        parse_rate(value)


@given(st.none() | st.integers(16_000, MAX_SIZE_BYTES))
def test_a_rate_is_read_back_as_it_was_written(bytes_per_s: int | None) -> None:
    rate = ByteRate(bytes_per_s)
    assert parse_rate(str(rate)) == rate


@pytest.mark.parametrize(("value", "count"), [(1, 1), ("256", 256), (100_000, 100_000)])
def test_a_count_is_a_whole_number(value: object, count: int) -> None:
    assert parse_count(value) == count


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "", "٣", "1e3", "0", 100_001, None])
def test_what_is_no_count_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="whole number"):
        parse_count(value)


@given(st.integers(0, MAX_SIZE_BYTES))
def test_a_size_is_read_back_as_it_was_written(n_bytes: int) -> None:
    assert parse_size_bytes(format_size(n_bytes)) == n_bytes


def test_quantities_are_shown_with_their_units() -> None:
    sizes = (0, 1023, 1024, 1536, 64 << 20, 50 * 10**9)
    assert [format_size(n) for n in sizes] == ["0 B", "1023 B", "1 KiB", "1536 B", "64 MiB", "50 GB"]
    assert [format_duration(s) for s in (5.0, 0.5, 300)] == ["5 s", "0.5 s", "300 s"]


@pytest.mark.parametrize(
    ("value", "size", "text"),
    [
        (10**9, CacheSize(n_bytes=10**9), "1 GB"),
        ("64 MiB", CacheSize(n_bytes=64 * 1024**2), "64 MiB"),
        ("0", CacheSize(n_bytes=0), "0 B"),
        ("80%", CacheSize(disk_fraction=0.8), "80 %"),
        (" 12.5 % ", CacheSize(disk_fraction=0.125), "12.5 %"),
        ("free 20 GiB", CacheSize(free_bytes=20 * 1024**3), "free 20 GiB"),
        ("Free  1KB", CacheSize(free_bytes=1000), "free 1 kB"),
        ("auto", CacheSize(), "auto"),
    ],
)
def test_a_cache_size_is_bytes_a_share_of_the_disk_or_what_stays_free(
    value: object, size: CacheSize, text: str
) -> None:
    assert parse_cache_size(value) == size
    assert str(size) == text


@given(st.integers(1_000_000, MAX_SIZE_BYTES), st.decimals(0, 99, places=9))
def test_a_cache_size_is_read_back_as_it_was_written(n_bytes: int, percentage: Decimal) -> None:
    of_disk = parse_cache_size(f"{percentage:f} %")
    for size in (CacheSize(n_bytes=n_bytes), CacheSize(free_bytes=n_bytes), of_disk, CacheSize()):
        assert parse_cache_size(str(size)) == size


@pytest.mark.parametrize(
    "value", [True, None, 1.5, -1, "", "100 %", "-5 %", "free", "free 5 %", "freely", "half", "%", 80, "80"]
)
def test_what_bounds_nothing_is_no_cache_size(value: object) -> None:
    with pytest.raises(ValueError, match="free 20 GB"):
        parse_cache_size(value)


def test_what_0_means_is_told_to_who_writes_less_than_can_be() -> None:
    with pytest.raises(ValueError, match="or for no limit 'none' or 0"):
        parse_rate("15 kB/s")
    with pytest.raises(ValueError, match="or 0, which keeps nothing"):
        parse_cache_size("100")
