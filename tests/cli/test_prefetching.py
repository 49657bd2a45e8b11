"""The grammar of --time."""

from __future__ import annotations

import pytest

from kacheryfs.cli.prefetching_time import parse_times
from kacheryfs.errors import InputError


@pytest.mark.parametrize(
    ("text", "times"),
    [("10:12.5", (10, 12.5)), (":2", (0, 2)), ("3:", (3, None)), (":", (0, None)), ("1 min:90 s", (60, 90))],
)
def test_seconds_are_read(text: str, times: tuple[float, float | None]) -> None:
    assert parse_times(text) == times


@pytest.mark.parametrize("text", ["", "5", "2:1", "1:1", "a:b", "-1:2", "1:2:3", "nan:1", "1:9999999999"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"for example 10:12\.5"):
        parse_times(text)
