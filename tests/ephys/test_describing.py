"""kacheryfs.json goes there and back unchanged, in one form, and what a stranger made of it is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.ephys.describing import decode_description, encode_description
from kacheryfs.ephys.layouts import (
    BinaryLayout,
    Hdf5Place,
    Hdf5Segment,
    RecordingDescription,
    SegmentLayout,
    Summary,
)
from kacheryfs.errors import ProofError

SEGMENT = SegmentLayout(("run", "rec_g0.ap.bin"), 16, 30_000, "C", 1.5)
LAYOUT = BinaryLayout(
    ("kwargs", "recording_list", 0), 30_000.3, "<i2", ("AP0", "AP2"), 3, (0, 2), (SEGMENT,), ("kacheryfs", "0.npz")
)
HDF5_SEGMENTS = (
    Hdf5Segment(("rec.h5",), Hdf5Place(("/Data/0",), 30_000, "F", -1, 4096), 1.5),
    Hdf5Segment(("rec.h5",), Hdf5Place(("/Data/a", "/Data/b"), 200)),
)
HDF5_LAYOUT = BinaryLayout(("kwargs", "recording_list", 1), 30_000.3, "<i2", (1, 2), 2, None, HDF5_SEGMENTS)
DESCRIPTION = RecordingDescription(
    "rec",
    "0.105.3",
    Summary(30_000.3, 2, "int16", (30_000,), 1.0, None),
    (LAYOUT, HDF5_LAYOUT),
    ("kacheryfs", "top.npz"),
)


def test_a_description_goes_there_and_back() -> None:
    assert decode_description(encode_description(DESCRIPTION)) == DESCRIPTION


def test_a_description_has_one_form() -> None:
    data = encode_description(DESCRIPTION)
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()


@given(st.floats(1e-3, 1e9), st.lists(st.integers(0, 1 << 50)), st.text(max_size=10))
def test_any_rate_and_length_go_there_and_back(rate_hz: float, n_frames: list[int], probe: str) -> None:
    summary = Summary(rate_hz, 4, "int16", tuple(n_frames), sum(n_frames) / rate_hz, probe)
    description = RecordingDescription("", "0.105.3", summary)
    assert decode_description(encode_description(description)) == description


def _with(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda value: value.update(changes)


def _layout_with(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda value: value["binary"][0].update(changes)


def _segment_with(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda value: value["binary"][0]["segments"][0].update(changes)


def _summary_with(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda value: value["summary"].update(changes)


BAD = {
    "describes no recording": _with(format="kacheryfs-sorting"),
    "version 2": _with(version=2),
    "unknown key 'extra'": _with(extra=1),
    "'label' of the description: not text": _with(label=3),
    "holds a '/'": _with(label="a/b"),
    "'binary' of the description is not a list": _with(binary={}),
    "a layout is not an object": _with(binary=[3]),
    "the name '..' is not a name": _segment_with(file="../secret"),
    "is empty": _segment_with(file="/etc/passwd"),
    "'offset_bytes' or 'n_frames'": _segment_with(offset_bytes=-1),
    "'offset_bytes' of a segment: not an integer": _segment_with(offset_bytes=1.5),
    "'n_frames' of a segment: not an integer": _segment_with(n_frames=True),
    "neither C nor F": _segment_with(order="K"),
    "dtype '|O'": _layout_with(dtype="|O"),
    "out of bounds": _layout_with(n_columns=0),
    "not one channel a column": _layout_with(channel_ids=["a"]),
    "not one of 3": _layout_with(columns=[0, 3]),
    "a sampling frequency of 0.0 Hz": _layout_with(sampling_frequency=0),
    "'at' of a layout is not a list": _layout_with(at="kwargs"),
    "more than 200 keys": _layout_with(at=["kwargs"] * 201),
    "'metadata' of a layout": _layout_with(metadata="a//b"),
    "'duration_s'": _summary_with(probe="p" * 2000),
}


@pytest.mark.parametrize("reason", BAD)
def test_what_a_stranger_made_is_refused_with_its_reason(reason: str) -> None:
    value = json.loads(encode_description(DESCRIPTION))
    BAD[reason](value)
    with pytest.raises(ProofError) as caught:
        decode_description(json.dumps(value).encode())
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    data = encode_description(DESCRIPTION).replace(b"30000.3", number.encode())
    with pytest.raises(ProofError):
        decode_description(data)
