"""The layout of a leaf's files, found out and then proven: its samples are read back and compared."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from spikeinterface.core.binaryrecordingextractor import BinaryRecordingSegment

from ..errors import KacheryError
from .layouts import BinaryLayout, SegmentLayout, TreePath
from .remote_samples import Samples
from .replay_child import sample_spans
from .sharing_hdf5 import Datasets, LocalFile, find_datasets
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

    @property
    def is_read_whole(self) -> bool:
        """SpikeInterface 0.105 reads a file by channel right only as a whole (a map)."""
        return self.order == "F"

    def read_spans(self, spans: Iterable[tuple[int, int]]) -> Iterator[Array]:
        """Yield frames ``[start, stop)`` of the leaf's channels, read as the loader will; KacheryError if it can't."""
        samples = Samples(self.dtype, self.n_columns, self.n_frames, self.offset_bytes, self.order)
        with LocalFile(self.path) as file:
            for start, stop in spans:
                yield samples.read(file, start, stop, self.columns)

    def in_tree(self, file: TreePath, t_start_s: float | None) -> SegmentLayout:
        """Return what kacheryfs.json says of it."""
        return SegmentLayout(file, self.offset_bytes, self.n_frames, self.order, t_start_s)


def find_layout(leaf: Leaf, named: Mapping[str, TreePath]) -> BinaryLayout | None:
    """Return the layout of a leaf whose samples stand in files of the tree; ``named`` has their real paths.

    None where they stand nowhere as they are, or where what is read by the layout isn't what the extractor gives.
    """
    recording = leaf.extractor
    try:
        found: list[_Flat | Datasets] = [*_find_flats(recording), *find_datasets(recording)]
        is_right = len(found) == recording.get_num_segments() > 0 and all(
            _is_right(each, recording, index) for index, each in enumerate(found)
        )
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, OSError, KacheryError):
        return None  # an extractor of another build, or a file of another shape: then it is read through the extractor
    files = [named.get(os.path.realpath(each.path)) for each in found]
    if not is_right or len({(each.dtype, each.n_columns, each.columns) for each in found}) != 1:
        return None
    segments: Any = tuple(
        each.in_tree(file, _t_start(recording.segments[index]))
        for index, (file, each) in enumerate(zip(files, found, strict=True))
        if file is not None
    )
    return _layout(leaf, found[0], segments) if len(segments) == len(found) else None


def _layout(leaf: Leaf, first: _Flat | Datasets, segments: Any) -> BinaryLayout:
    return BinaryLayout(
        leaf.at,
        float(leaf.extractor.sampling_frequency),
        first.dtype.newbyteorder("<").str if first.dtype.byteorder != ">" else first.dtype.str,
        tuple(np.asarray(leaf.extractor.channel_ids).tolist()),
        first.n_columns,
        first.columns,
        segments,
    )


def _t_start(segment: Any) -> float | None:
    t_start_s = segment.get_times_kwargs()["t_start"]
    return None if t_start_s is None else float(t_start_s)


def _is_right(found: _Flat | Datasets, recording: Any, segment_index: int) -> bool:
    n_frames = recording.get_num_samples(segment_index)
    ids = np.asarray(recording.channel_ids)
    if found.n_frames != n_frames or found.dtype.kind not in _KINDS or ids.dtype.kind not in "iuU":
        return False
    spans = sample_spans(n_frames)
    for (start, stop), samples in zip(spans, found.read_spans(spans), strict=True):
        traces = _read(recording, segment_index, start, stop, is_whole=found.is_read_whole)
        if samples.dtype != traces.dtype or samples.shape != traces.shape or samples.tobytes() != traces.tobytes():
            return False
    return True


def _read(recording: Any, segment_index: int, start: int, stop: int, *, is_whole: bool) -> Array:
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
