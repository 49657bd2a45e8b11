"""A recording whose samples stand in datasets of an HDF5 file behind a link: h5py on a file object, without a mount.

The reader of the format (MCS, SiNAPS, 3Brain, Maxwell, NIX, …) was asked when the recording was shared: which datasets
it reads, and what it makes of their samples (``sharing_hdf5``). Here no reader is needed, and none meets a stranger's
file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording

from ..app.embedded import get_fetcher
from ..core.request import FileRequest
from ..errors import InputError, ProofError
from .describing import place_to_json, take_place
from .fields import Fields, number
from .hdf5_library import h5py
from .layouts import BinaryLayout, Hdf5Place, Hdf5Segment
from .remote import RemoteRecording, RemoteSegment, arguments_of, check_columns
from .remote_datasets import DatasetSamples, Stored
from .remote_samples import File
from .remote_source import Source
from .safety_hdf5 import open_hdf5, reading

Array = np.ndarray[Any, Any]


class RemoteHdf5Recording(RemoteRecording):
    """Datasets of HDF5 files behind links as a SpikeInterface recording; the files are checked and opened at once.

    Parameters
    ----------
    segments : list of dict
        One a segment: ``link`` (``sha1://H?manifest=M``), ``size_bytes`` (None where it isn't known), ``datasets``
        (paths in the file: one, or one a column), ``n_frames``, ``order`` ("C": frames × columns, "F": columns ×
        frames), ``sign`` and ``added`` (a trace is sign × sample + added), ``t_start`` (s, or None).
    sampling_frequency : float
        In Hz.
    dtype : str
        Of the traces, with its byte order: ``"<i2"``.
    channel_ids : list of str or int
    n_columns : int
        Samples of one frame in the file.
    columns : list of int or None
        Which of them the channels are; None for all, in their order.
    metadata : dict or None
        ``link`` and ``size_bytes`` of the file with properties, annotations, probe and time vectors.
    stock : dict or None
        ``class`` and ``kwargs`` (but for ``file_path``) of SpikeInterface's own extractor of the file.
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
        stock: Mapping[str, Any] | None = None,
    ) -> None:
        trace_type = np.dtype(dtype)
        check_columns(channel_ids, n_columns, columns)
        BaseRecording.__init__(self, sampling_frequency, list(channel_ids), trace_type)
        self.extra_requirements.append("h5py")
        files: dict[FileRequest, OpenHdf5] = {}
        for value in segments:
            source, place, t_start_s = _parse(value)
            file = files.get(source.request) or OpenHdf5.open(source)
            files[source.request] = file
            samples = file.find(place, trace_type, n_columns)
            self.add_recording_segment(RemoteHdf5Segment(file, samples, columns, sampling_frequency, t_start_s))
        kept_stock = None if stock is None else dict(stock)
        self._finish(segments, channel_ids, n_columns, columns, metadata, stock=kept_stock)


class RemoteHdf5Segment(RemoteSegment):
    """One segment of a ``RemoteHdf5Recording``; it keeps the file open."""

    def __init__(
        self,
        file: OpenHdf5,
        samples: DatasetSamples,
        columns: Sequence[int] | None,
        sampling_frequency: float,
        t_start: float | None,
    ) -> None:
        super().__init__(samples.n_frames, samples.n_columns, columns, sampling_frequency, t_start)
        self._file = file
        self._samples = samples

    def _read(self, start: int, stop: int, columns: Sequence[int] | None) -> Array:
        return self._samples.read(start, stop, columns)


@dataclass(frozen=True, slots=True)
class OpenHdf5:
    """An HDF5 file, open and found to stay inside of itself; whoever reads it keeps it.

    ``bytes`` is what HDF5 reads, for what can be read without it.
    """

    file: h5py.File
    bytes: File
    what: str

    @classmethod
    def open(cls, source: Source) -> OpenHdf5:
        """Open and check a file; ProofError for one that reaches out of itself, or is none."""
        what = f"the HDF5 file sha1 {source.request.sha1.short}"
        remote = get_fetcher().open_file(source.request)
        return cls(open_hdf5(remote.as_file(), what), remote, what)

    def find(self, place: Hdf5Place, dtype: np.dtype[Any], n_columns: int) -> DatasetSamples:
        """Return the samples at a place; ProofError where the file holds others, InputError where it can't be read."""
        each = n_columns if len(place.datasets) == 1 else 1
        with reading(self.what):
            stored = tuple(Stored.of(self._get(path), self.bytes, each, place.order) for path in place.datasets)
            return DatasetSamples(stored, dtype, n_columns, place.n_frames, place.sign, place.added)

    def _get(self, path: str) -> h5py.Dataset:
        found = self.file.get(path)
        if not isinstance(found, h5py.Dataset):
            raise ProofError(f"{self.what} has no dataset {path[:120]!r}")
        return found


def make_remote_hdf5_recording(
    layout: BinaryLayout, get_source: Callable[[tuple[str, ...]], Source], stock: Mapping[str, Any] | None
) -> RemoteHdf5Recording:
    """Return the recording of a layout of HDF5 files; ``get_source`` finds them. KacheryError as their opening."""
    segments: list[dict[str, object]] = []
    for segment in layout.segments:
        assert isinstance(segment, Hdf5Segment), "remote makes the others"
        source = get_source(segment.file).to_json()
        segments.append({**source, **place_to_json(segment.place), "t_start": segment.t_start_s})
    return RemoteHdf5Recording(segments, **arguments_of(layout, get_source), stock=stock)


def _parse(value: Mapping[str, Any]) -> tuple[Source, Hdf5Place, float | None]:
    try:
        fields = Fields.of(value, "a segment")
        source = Source.parse({key: fields.rest.pop(key) for key in ("link", "size_bytes") if key in fields.rest})
        place, t_start_s = take_place(fields), fields.find("t_start", number)
        fields.finish()
    except ValueError as exc:
        raise InputError(f"a recording's segment is refused: {exc}") from exc
    return source, place, t_start_s
