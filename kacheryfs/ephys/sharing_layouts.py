"""The layout of a leaf's flat binary files, found out and then proven: its samples are read back and compared."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from spikeinterface.core.binaryrecordingextractor import BinaryRecordingSegment

from .layouts import BinaryLayout, SegmentLayout, TreePath
from .replay_child import sample_spans
from .sharing_json import Leaf

Array = np.ndarray[Any, Any]
_KINDS = "iuf"


@dataclass(frozen=True, slots=True)
class _Flat:
    """One segment's samples as they lie in a file of this machine; a column is a sample's place in its frame."""

    path: str
    dtype: np.dtype[Any]
    offset_bytes: int
    n_frames: int
    n_columns: int
    order: Literal["C", "F"]
    columns: tuple[int, ...] | None

    def read(self, start: int, stop: int) -> Array:
        """Return frames ``[start, stop)`` of the leaf's channels."""
        with open(self.path, "rb") as file:
            if self.order == "C":
                frame_bytes = self.n_columns * self.dtype.itemsize
                data = os.pread(file.fileno(), (stop - start) * frame_bytes, self.offset_bytes + start * frame_bytes)
                samples = np.frombuffer(data, self.dtype).reshape(stop - start, self.n_columns)
            else:
                samples = np.stack(list(self._read_columns(file.fileno(), start, stop)), axis=1)
        return samples if self.columns is None else samples[:, self.columns]

    def _read_columns(self, fd: int, start: int, stop: int) -> Iterator[Array]:
        for column in range(self.n_columns):
            first = self.offset_bytes + (column * self.n_frames + start) * self.dtype.itemsize
            yield np.frombuffer(os.pread(fd, (stop - start) * self.dtype.itemsize, first), self.dtype)


def find_layout(leaf: Leaf, named: Mapping[str, TreePath]) -> BinaryLayout | None:
    """Return the layout of a leaf whose samples lie flat in files of the tree; ``named`` has their real paths.

    None where they don't, or where what is read by the layout isn't what the extractor gives.
    """
    recording = leaf.extractor
    try:
        flats = list(_find_flats(recording))
        is_right = len(flats) == recording.get_num_segments() > 0 and all(
            _is_right(flat, recording, index) for index, flat in enumerate(flats)
        )
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, OSError):
        return None  # an extractor of another build, or a file of another shape: then it is read through the extractor
    files = [named.get(os.path.realpath(flat.path)) for flat in flats]
    if not is_right or len({(flat.dtype, flat.n_columns, flat.columns) for flat in flats}) != 1:
        return None
    segments = [
        SegmentLayout(file, flat.offset_bytes, flat.n_frames, flat.order, _t_start(recording.segments[index]))
        for index, (file, flat) in enumerate(zip(files, flats, strict=True))
        if file is not None
    ]
    if len(segments) != len(flats):
        return None
    first = flats[0]
    return BinaryLayout(
        leaf.at,
        float(recording.sampling_frequency),
        first.dtype.newbyteorder("<").str if first.dtype.byteorder != ">" else first.dtype.str,
        tuple(np.asarray(recording.channel_ids).tolist()),
        first.n_columns,
        first.columns,
        tuple(segments),
    )


def _t_start(segment: Any) -> float | None:
    t_start_s = segment.get_times_kwargs()["t_start"]
    return None if t_start_s is None else float(t_start_s)


def _is_right(flat: _Flat, recording: Any, segment_index: int) -> bool:
    n_frames = recording.get_num_samples(segment_index)
    ids = np.asarray(recording.channel_ids)
    if flat.n_frames != n_frames or flat.dtype.kind not in _KINDS or ids.dtype.kind not in "iuU":
        return False
    for start, stop in sample_spans(n_frames):
        traces = _read(recording, segment_index, start, stop, is_whole=flat.order == "F")
        samples = flat.read(start, stop)
        if samples.dtype != traces.dtype or samples.shape != traces.shape or samples.tobytes() != traces.tobytes():
            return False
    return True


def _read(recording: Any, segment_index: int, start: int, stop: int, *, is_whole: bool) -> Array:
    """Return what the extractor gives; SpikeInterface 0.105 reads a file by channel right only as a whole (a map)."""
    if is_whole:
        traces: Array = recording.get_traces(segment_index=segment_index)[start:stop]
        return traces
    return np.asarray(recording.get_traces(segment_index=segment_index, start_frame=start, end_frame=stop))


def _find_flats(recording: Any) -> Iterator[_Flat]:
    if all(isinstance(segment, BinaryRecordingSegment) for segment in recording.segments):
        return map(_from_segment, recording.segments)
    if hasattr(recording, "neo_reader"):
        return _from_neo(recording)
    if hasattr(recording, "_diskreadmda"):
        return _from_mda(recording)
    return iter(())


def _from_segment(segment: Any) -> _Flat:
    """Read what SpikeInterface's own segments of flat files say: of binary files, binary folders, WhiteMatter, …"""
    order: Literal["C", "F"] = "C" if segment.time_axis == 0 else "F"
    n_frames, n_columns = int(segment.get_num_samples()), int(segment.num_channels)
    return _Flat(str(segment.file_path), segment.dtype, int(segment.file_offset), n_frames, n_columns, order, None)


def _from_neo(recording: Any) -> Iterator[_Flat]:
    """Read neo's own descriptions of its buffers (neo >= 0.14); a reader without them has no layout."""
    reader = recording.neo_reader
    if not reader.has_buffer_description_api() or getattr(recording, "inverted_gain", False):
        return
    stream = reader.header["signal_streams"][recording.stream_index]
    part = reader._stream_buffer_slice[stream["id"]]
    for index in range(recording.get_num_segments()):
        about = reader.get_analogsignal_buffer_description(recording.block_index, index, str(stream["buffer_id"]))
        if about["type"] == "raw" and about.get("time_axis", 0) == 0:
            n_frames, n_columns = map(int, about["shape"])
            columns = None if part is None else tuple(np.arange(n_columns)[part].tolist())
            dtype, offset_bytes = np.dtype(about["dtype"]), int(about["file_offset"])
            yield _Flat(str(about["file_path"]), dtype, offset_bytes, n_frames, n_columns, "C", columns)


def _from_mda(recording: Any) -> Iterator[_Flat]:
    mda = recording._diskreadmda
    header = mda._header
    yield _Flat(
        str(recording._timeseries_path),
        np.dtype(header.dt),
        int(header.header_size),
        int(mda.N2()),
        int(mda.N1()),
        "C",
        None,
    )
