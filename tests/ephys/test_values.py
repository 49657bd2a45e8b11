"""Values go into strict JSON and come back as they were; paths are cut down to their last names."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kacheryfs.core.strict_json import parse_strict_json
from kacheryfs.ephys.scrubbing import scrub, scrub_text
from kacheryfs.ephys.sortings_describing import canonical_json
from kacheryfs.ephys.values import decode_value, encode_value

PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.datetimes().map(lambda t: t.replace(fold=0))
)
KEYS = st.text() | st.integers() | st.booleans() | st.none()
ANY = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)
ARRAYS = arrays.arrays(
    st.sampled_from(["<i8", "<u2", "<f8", "<f4", "?", "<U5", "S3"]), arrays.array_shapes(min_dims=0, min_side=0)
)


def there_and_back(value: Any) -> Any:
    data = canonical_json(encode_value(value))
    return decode_value(parse_strict_json(data, what="values", max_bytes=1 << 24, has_fractions=True))


def in_order(value: Any) -> Any:
    """Return a value that has one ``repr`` whatever the order of a mapping; NaN is as good as NaN."""
    if isinstance(value, dict):
        return {"a mapping": sorted((repr(key), repr(in_order(item))) for key, item in value.items())}
    return type(value)(map(in_order, value)) if isinstance(value, (list, tuple)) else value


@given(ANY)
def test_any_value_comes_back(value: Any) -> None:
    assert repr(in_order(there_and_back(value))) == repr(in_order(value))


@given(ARRAYS)
def test_any_array_comes_back(array: Any) -> None:
    back = there_and_back(array)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    np.testing.assert_equal(back, array)


def test_objects_in_arrays_come_back() -> None:
    mixed = np.empty((2, 2), dtype=object)
    mixed[:] = [[None, "x"], [np.float32(0.5), datetime.datetime(2026, 11, 22, 18, 0)]]
    assert there_and_back(mixed).tolist() == mixed.tolist()


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", print, np.array([object()]), np.zeros(1, "M8[s]")])
def test_what_is_no_value_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="can't be written down"):
        encode_value(value)


def test_what_is_nested_too_deeply_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(ValueError, match="nested deeper"):
        encode_value(deep)
    with pytest.raises(ValueError, match="nested deeper"):
        decode_value(json.loads("[" * 500 + "]" * 500))


PATHS = {
    "/home/me/my data/rec.dat": "rec.dat",
    "see /home/me/x.dat, line 3": "see x.dat, line 3",
    "~/data/x": "x",
    "~bob/data/x": "x",
    "C:\\Users\\bob\\x y.bin": "x y.bin",
    "\\\\server\\share\\f.txt": "f.txt",
    "file:///home/bob/x": "x",
    "PATH=/home/bob/bin:/usr/bin": "PATH=bin:bin",
    "File '/home/bob/a.py'": "File 'a.py'",
    "/home": "home",
}
NO_PATHS = ("m/s", "https://example.org/a/b", "s3://bucket/key", "1/2/3", "spikes/uV", "/", "and/or", "a\\b", "~5 Hz")


@pytest.mark.parametrize("text", PATHS)
def test_a_path_is_cut_down(text: str) -> None:
    assert scrub_text(text) == PATHS[text]


@pytest.mark.parametrize("text", NO_PATHS)
def test_what_is_no_path_stays(text: str) -> None:
    assert scrub_text(text) == text


def test_paths_are_found_at_any_depth() -> None:
    value = {"a": ["/x/y", ("/x/z", 1)], "/k/b": np.array(["/x/w", "v"]), "c": np.array([None, "/q/r"], dtype=object)}
    clean = scrub(value)
    assert clean["a"] == ["y", ("z", 1)]
    assert clean["b"].tolist() == ["w", "v"]
    assert clean["c"].tolist() == [None, "r"]
    assert scrub(np.array([b"/x/y", b"z"])).tolist() == [b"y", b"z"]
