from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.quantities import (
    MAX_DURATION_S,
    MAX_SIZE_BYTES,
    Address,
    format_duration,
    format_size,
    parse_address,
    parse_duration_s,
    parse_fraction,
    parse_size_bytes,
    parse_timeout_s,
    parse_yes_no,
)

PARSERS = [parse_size_bytes, parse_duration_s, parse_timeout_s, parse_fraction, parse_yes_no, parse_address]


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


@given(st.integers(0, MAX_SIZE_BYTES))
def test_a_size_for_people_is_right_to_a_tenth_of_its_unit(n_bytes: int) -> None:
    text = format_size(n_bytes)
    if text.endswith("bytes"):
        assert text == f"{n_bytes} bytes"
    else:
        unit_bytes = parse_size_bytes("1 " + text.split()[1])
        assert abs(float(text.split()[0]) - n_bytes / unit_bytes) <= 0.0501


def test_quantities_are_shown_with_their_units() -> None:
    assert [format_size(n) for n in (0, 1023, 1024, 1536, 64 << 20)] == [
        "0 bytes",
        "1023 bytes",
        "1 KiB",
        "1.5 KiB",
        "64 MiB",
    ]
    assert [format_duration(s) for s in (5.0, 0.5, 300)] == ["5 s", "0.5 s", "300 s"]
