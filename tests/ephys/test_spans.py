"""Seconds of a recording as bytes of its files."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.model import ByteRange
from kacheryfs.ephys.layouts import BinaryLayout, Hdf5Place, Hdf5Segment, RecordingDescription, SegmentLayout, Summary
from kacheryfs.ephys.remote_samples import Samples
from kacheryfs.ephys.spans import spans_of_time
from kacheryfs.errors import InputError

RATE_HZ = 100.0


def describe(
    *segments: SegmentLayout | Hdf5Segment, n_columns: int = 4, columns: tuple[int, ...] | None = None
) -> RecordingDescription:
    ids = tuple(range(n_columns if columns is None else len(columns)))
    layout = BinaryLayout((), RATE_HZ, "<i2", ids, n_columns, columns, segments)  # type: ignore[arg-type]
    n_frames = tuple(segment.n_frames for segment in segments)
    summary = Summary(RATE_HZ, len(ids), "<i2", n_frames, sum(n_frames) / RATE_HZ)
    return RecordingDescription("rec", "0.105", summary, (layout,))


def test_a_second_of_frames_is_one_span() -> None:
    description = describe(SegmentLayout(("rec.dat",), 16, 1000))
    assert spans_of_time(description, 1, 2) == {("rec.dat",): [ByteRange(16 + 800, 16 + 1600)]}


def test_a_second_of_channels_is_a_span_a_channel_that_is_used() -> None:
    description = describe(SegmentLayout(("rec.dat",), 0, 1000, "F"), columns=(0, 3))
    assert spans_of_time(description, 1, 2)["rec.dat",] == [ByteRange(200, 400), ByteRange(6200, 6400)]


def test_every_segment_is_counted_from_its_own_beginning() -> None:
    description = describe(SegmentLayout(("a",), 0, 1000), SegmentLayout(("b",), 0, 150), SegmentLayout(("c",), 0, 50))
    spans = spans_of_time(description, 1, None)
    assert spans["a",] == [ByteRange(800, 8000)]
    assert spans["b",] == [ByteRange(800, 1200)]
    assert spans["c",] == []  # it is named: none of it is fetched


def test_what_begins_after_the_end_is_refused_with_the_length() -> None:
    with pytest.raises(InputError, match=r"after the end.*10 s, 1\.5 s"):
        spans_of_time(describe(SegmentLayout(("a",), 0, 1000), SegmentLayout(("b",), 0, 150)), 10, 11)


def test_hdf5_has_no_spans() -> None:
    assert spans_of_time(describe(Hdf5Segment(("mea.h5",), Hdf5Place(("/data",), 1000))), 0, 1) == {}


class Recorded:
    """A file that remembers which bytes were read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.read = np.zeros(len(data), bool)

    def pread_into(self, offset: int, buffer: memoryview) -> int:
        view = buffer.cast("B")
        view[:] = self.data[offset : offset + len(view)]
        self.read[offset : offset + len(view)] = True
        return len(view)


@given(
    order=st.sampled_from(["C", "F"]),
    offset_bytes=st.integers(0, 50),
    start=st.integers(0, 99),
    n=st.integers(1, 100),
    columns=st.none() | st.sets(st.integers(0, 3), min_size=1).map(lambda found: tuple(sorted(found))),
)
def test_the_spans_hold_exactly_what_a_reader_reads(
    order: Literal["C", "F"], offset_bytes: int, start: int, n: int, columns: tuple[int, ...] | None
) -> None:
    description = describe(SegmentLayout(("x",), offset_bytes, 100, order), columns=columns)
    file = Recorded(bytes(offset_bytes + 100 * 8 + 9))
    stop = min(start + n, 100)
    Samples(np.dtype("<i2"), 4, 100, offset_bytes, order).read(file, start, stop, columns)
    wanted = np.zeros(len(file.data), bool)
    for span in spans_of_time(description, start / RATE_HZ, stop / RATE_HZ)["x",]:
        wanted[span.start : span.stop] = True
    assert np.all(wanted >= file.read)
    assert wanted.sum() <= file.read.sum() + 2 * 8 * (1 if order == "C" else 4)  # a frame at each end, by rounding
