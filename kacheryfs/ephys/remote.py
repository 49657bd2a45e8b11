"""A recording whose flat binary files are read by ``pread`` from peers: no mount, no mmap, no copy.

The recording is made of plain values, so that SpikeInterface can pickle it, write it as JSON and open it in other
processes (``n_jobs``): each opens the files through the fetcher of its own process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording, BaseRecordingSegment

from ..app.embedded import get_fetcher
from ..errors import InputError, ProofError
from .fields import Fields, integer, number, text
from .layouts import MAX_COLUMNS, MAX_FRAMES, BinaryLayout, SegmentLayout
from .metadata import MAX_METADATA_BYTES, apply_metadata, decode_metadata
from .remote_samples import Samples
from .remote_source import LazyFile, Source

Array = np.ndarray[Any, Any]


class RemoteRecording(BaseRecording):  # type: ignore[misc]
    """A recording of samples behind links, whose metadata stand in a file of their own."""

    def _finish(
        self,
        segments: Sequence[Mapping[str, Any]],
        channel_ids: Sequence[str | int],
        n_columns: int,
        columns: Sequence[int] | None,
        metadata: Mapping[str, Any] | None,
        **more: Any,
    ) -> None:
        """Take the metadata, and note what SpikeInterface builds this recording from in another process."""
        self._take_metadata(metadata)
        self._kwargs = {
            "segments": [dict(segment) for segment in segments],
            "sampling_frequency": float(self.sampling_frequency),
            "dtype": self.dtype.str,
            "channel_ids": list(channel_ids),
            "n_columns": n_columns,
            "columns": None if columns is None else list(columns),
            "metadata": None if metadata is None else dict(metadata),
            **more,
        }

    def _take_metadata(self, metadata: Mapping[str, Any] | None) -> None:
        if metadata is None:
            return
        data = get_fetcher().read_small(Source.parse(metadata).request, MAX_METADATA_BYTES)
        known = decode_metadata(data)
        apply_metadata(known, self)
        if np.array_equal(known.channel_ids, self.channel_ids):
            self._main_ids = known.channel_ids  # the same ids, in the original's dtype
        self._time_info_modified = False  # whoever opens this anew reads the times from the same file

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return SpikeInterface's dict, always with all properties and annotations: no file behind it has them."""
        described: dict[str, Any] = BaseRecording.to_dict(
            self, **{**options, "include_annotations": True, "include_properties": True}
        )
        return described


class RemoteSegment(BaseRecordingSegment):  # type: ignore[misc]
    """One segment of a ``RemoteRecording``: which of the file's columns are its channels."""

    def __init__(
        self,
        n_frames: int,
        n_columns: int,
        columns: Sequence[int] | None,
        sampling_frequency: float,
        t_start: float | None,
    ) -> None:
        BaseRecordingSegment.__init__(self, sampling_frequency=sampling_frequency, t_start=t_start)
        self._n_frames = n_frames
        self._n_columns = n_columns
        self._columns = None if columns is None else tuple(columns)

    def get_num_samples(self) -> int:
        return self._n_frames

    def get_traces(
        self,
        start_frame: int | None = None,
        end_frame: int | None = None,
        channel_indices: Sequence[int] | slice | Array | None = None,
    ) -> Array:
        """Return frames × channels in a new array; a KacheryError names the peers that were asked."""
        start = 0 if start_frame is None else int(start_frame)
        stop = self._n_frames if end_frame is None else int(end_frame)
        return self._read(start, stop, choose_columns(self._columns, self._n_columns, channel_indices))

    def _read(self, start: int, stop: int, columns: Sequence[int] | None) -> Array:
        raise NotImplementedError


class RemoteBinaryRecording(RemoteRecording):
    """Flat binary files behind links as a SpikeInterface recording.

    Parameters
    ----------
    segments : list of dict
        One a segment: ``link`` (``sha1://H?manifest=M``), ``size_bytes`` (None where it isn't known), ``offset_bytes``,
        ``n_frames``, ``order`` ("C": frame after frame, "F": channel after channel) and ``t_start`` (s, or None).
    sampling_frequency : float
        In Hz.
    dtype : str
        Of the samples, with its byte order: ``"<i2"``.
    channel_ids : list of str or int
    n_columns : int
        Samples of one frame in the file.
    columns : list of int or None
        Which of them the channels are; None for all, in their order.
    metadata : dict or None
        ``link`` and ``size_bytes`` of the file with properties, annotations, probe and time vectors.
    """

    def __init__(
        self,
        segments: Sequence[Mapping[str, Any]],
        sampling_frequency: float,
        dtype: str,
        channel_ids: Sequence[str | int],
        n_columns: int,
        columns: Sequence[int] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        check_columns(channel_ids, n_columns, columns)
        BaseRecording.__init__(self, sampling_frequency, list(channel_ids), np.dtype(dtype))
        for segment in segments:
            self.add_recording_segment(_make_segment(segment, self, n_columns, columns))
        self._finish(segments, channel_ids, n_columns, columns, metadata)


class RemoteBinarySegment(RemoteSegment):
    """One segment of a ``RemoteBinaryRecording``; its file is opened at the first read."""

    def __init__(
        self,
        file: LazyFile,
        samples: Samples,
        columns: Sequence[int] | None,
        sampling_frequency: float,
        t_start: float | None,
    ) -> None:
        super().__init__(samples.n_frames, samples.n_columns, columns, sampling_frequency, t_start)
        self._file = file
        self._samples = samples

    def _read(self, start: int, stop: int, columns: Sequence[int] | None) -> Array:
        return self._samples.read(self._file.file, start, stop, columns)


def choose_columns(
    columns: tuple[int, ...] | None, n_columns: int, channel_indices: Sequence[int] | slice | Array | None
) -> Sequence[int] | None:
    """Return the columns of the file that the chosen channels stand in; None for all in order."""
    if channel_indices is None:
        return columns
    if isinstance(channel_indices, slice):
        if columns is None and range(n_columns)[channel_indices] == range(n_columns):
            return None
        return (columns or range(n_columns))[channel_indices]
    indices = np.asarray(channel_indices)
    if indices.dtype == bool:
        indices = np.flatnonzero(indices)
    return [int(column) for column in np.asarray(columns or range(n_columns))[indices.astype(np.intp)]]


def make_remote_recording(
    layout: BinaryLayout, get_source: Callable[[tuple[str, ...]], Source]
) -> RemoteBinaryRecording:
    """Return the recording of a layout of flat files; ``get_source`` finds them.

    ProofError where a file is too short for what the layout says.
    """
    segments: list[dict[str, object]] = []
    for segment in layout.segments:
        assert isinstance(segment, SegmentLayout), "remote_hdf5 makes the others"
        segments.append(
            {
                **get_source(segment.file).to_json(),
                "offset_bytes": segment.offset_bytes,
                "n_frames": segment.n_frames,
                "order": segment.order,
                "t_start": segment.t_start_s,
            }
        )
    return RemoteBinaryRecording(segments, **arguments_of(layout, get_source))


def arguments_of(layout: BinaryLayout, get_source: Callable[[tuple[str, ...]], Source]) -> dict[str, Any]:
    """Return what a layout says to a remote recording besides its segments."""
    return {
        "sampling_frequency": layout.sampling_frequency_hz,
        "dtype": layout.dtype,
        "channel_ids": layout.channel_ids,
        "n_columns": layout.n_columns,
        "columns": layout.columns,
        "metadata": None if layout.metadata is None else get_source(layout.metadata).to_json(),
    }


def check_columns(channel_ids: Sequence[str | int], n_columns: int, columns: Sequence[int] | None) -> None:
    """Raise InputError unless there is one channel a column."""
    if not 0 < n_columns <= MAX_COLUMNS or len(channel_ids) != (n_columns if columns is None else len(columns)):
        raise InputError(f"{len(channel_ids)} channels don't fit {n_columns} columns")
    if columns is not None and not all(0 <= column < n_columns for column in columns):
        raise InputError(f"a channel's column is not one of {n_columns}")


def _make_segment(
    value: Mapping[str, Any], recording: RemoteBinaryRecording, n_columns: int, columns: Sequence[int] | None
) -> RemoteBinarySegment:
    try:
        fields = Fields.of(value, "a segment")
        source = Source.parse({key: fields.rest.pop(key) for key in ("link", "size_bytes") if key in fields.rest})
        offset_bytes, n_frames = fields.take("offset_bytes", integer), fields.take("n_frames", integer)
        order, t_start = fields.take("order", text), fields.find("t_start", number)
        fields.finish()
    except ValueError as exc:
        raise InputError(f"a recording's segment is refused: {exc}") from exc
    if not 0 <= n_frames <= MAX_FRAMES or offset_bytes < 0 or order not in ("C", "F"):
        raise InputError("a recording's segment has a number of frames, an offset or an order that can't be")
    samples = Samples(recording.dtype, n_columns, n_frames, offset_bytes, "F" if order == "F" else "C")
    file = LazyFile(source, lambda request: get_fetcher().open_file(request))
    if file.size_bytes < samples.end_bytes:
        raise ProofError(
            f"sha1 {source.request.sha1.short}: the file has {file.size_bytes} bytes, but its description tells of "
            f"{samples.end_bytes}"
        )
    return RemoteBinarySegment(file, samples, columns, recording.sampling_frequency, t_start)
