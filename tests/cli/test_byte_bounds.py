from __future__ import annotations

import pytest

from kacheryfs.cli.reading import clip_bounds, parse_bounds
from kacheryfs.core.model import ByteRange
from kacheryfs.errors import InputError


@pytest.mark.parametrize(
    ("text", "bounds"), [("0:10", (0, 10)), ("5:", (5, None)), (":7", (0, 7)), (":", (0, None)), ("3:3", (3, 3))]
)
def test_bounds_are_half_open_and_either_may_be_left_out(text: str, bounds: tuple[int, int | None]) -> None:
    assert parse_bounds(text) == bounds


@pytest.mark.parametrize("text", ["", "5", "a:b", "-1:5", "9:3", "1:2:3", "0x1:2", "1 :2", "٣:٤", "1" * 30 + ":"])
def test_bounds_that_are_none_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="--range"):
        parse_bounds(text)


def test_bounds_are_cut_at_the_end_of_the_file_and_refused_after_it() -> None:
    assert clip_bounds((2, 100), 10) == ByteRange(2, 10)
    assert clip_bounds((10, None), 10) == ByteRange(10, 10)
    with pytest.raises(InputError, match="10 bytes"):
        clip_bounds((11, None), 10)
