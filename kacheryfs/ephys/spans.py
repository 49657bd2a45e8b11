"""Which bytes of a recording's flat files hold some seconds of it; pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping

from ..core.model import ByteRange
from ..errors import InputError
from .layouts import BinaryLayout, Hdf5Segment, RecordingDescription, SegmentLayout, Summary, TreePath


def spans_of_time(
    description: RecordingDescription, start_s: float, stop_s: float | None
) -> Mapping[TreePath, list[ByteRange]]:
    """Return the bytes of each file that hold ``[start_s, stop_s)``, None for the end, counted within each segment.

    HDF5 files are left out: their samples don't lie flat. InputError where no segment is that long.
    """
    spans: dict[TreePath, list[ByteRange]] = defaultdict(list)
    summary = description.summary
    if not any(n_frames > start_s * summary.sampling_frequency_hz for n_frames in summary.n_frames):
        raise InputError(f"--time begins at {start_s:g} s, after the end: {_words_of(summary)}")
    for layout in description.binary:
        for segment in layout.segments:
            if not isinstance(segment, Hdf5Segment):
                spans[segment.file] += _spans_in(layout, segment, start_s, stop_s)
    return spans


def _spans_in(
    layout: BinaryLayout, segment: SegmentLayout, start_s: float, stop_s: float | None
) -> Iterator[ByteRange]:
    rate_hz, n_frames = layout.sampling_frequency_hz, segment.n_frames
    start = min(math.floor(start_s * rate_hz), n_frames)
    stop = n_frames if stop_s is None else min(math.ceil(stop_s * rate_hz), n_frames)
    if start >= stop:
        return
    if segment.order == "C":
        at = segment.offset_bytes
        yield ByteRange(at + start * layout.frame_bytes, at + stop * layout.frame_bytes)
        return
    sample_bytes = layout.frame_bytes // layout.n_columns
    for column in range(layout.n_columns) if layout.columns is None else layout.columns:
        at = segment.offset_bytes + column * n_frames * sample_bytes
        yield ByteRange(at + start * sample_bytes, at + stop * sample_bytes)


def _words_of(summary: Summary) -> str:
    lengths = [f"{n_frames / summary.sampling_frequency_hz:g} s" for n_frames in summary.n_frames[:10]]
    return f"the recording's segments have {', '.join(lengths)}"
