"""Which datasets of its HDF5 file an extractor reads, and what it makes of their samples.

Each format's reader keeps that in a place of its own (SpikeInterface 0.105, neo 0.14, nixio 1.5). What is found is
proven afterwards, so that a reader of another build costs the layout alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .layouts import Hdf5Place, Hdf5Segment, TreePath

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Datasets:
    """One segment's samples as they stand in an HDF5 file of this machine."""

    path: str
    place: Hdf5Place
    dtype: np.dtype[Any]
    n_columns: int
    columns: tuple[int, ...] | None = None
    is_read_whole = False

    @property
    def n_frames(self) -> int:
        return self.place.n_frames

    def read_spans(self, spans: Iterable[tuple[int, int]]) -> Iterator[Array]:
        """Yield frames ``[start, stop)`` of the leaf's channels, read as the loader will; KacheryError if it can't."""
        from .remote_hdf5 import OpenHdf5
        from .safety_hdf5 import open_hdf5

        name = os.path.basename(self.path)
        with LocalFile(self.path) as local, open_hdf5(self.path, name) as file:
            samples = OpenHdf5(file, local, name).find(self.place, self.dtype, self.n_columns)
            for start, stop in spans:
                yield samples.read(start, stop, self.columns)

    def in_tree(self, file: TreePath, t_start_s: float | None) -> Hdf5Segment:
        """Return what kacheryfs.json says of it."""
        return Hdf5Segment(file, self.place, t_start_s)


class LocalFile:
    """A file of this machine, read by ``pread``; use as a context."""

    def __init__(self, path: str | Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def pread_into(self, offset: int, buffer: memoryview) -> int:
        return os.preadv(self._fd, [buffer], offset)

    def __enter__(self) -> LocalFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def find_datasets(recording: Any) -> Iterator[Datasets]:
    """Yield what each segment reads; nothing where the extractor reads no datasets, or decodes them as only it can.

    LookupError, AttributeError and the like where the reader is of another build.
    """
    find = _FINDERS.get(type(recording).__name__)
    if find is None or getattr(recording, "inverted_gain", False):
        return
    for index in range(recording.get_num_segments()):
        found = find(recording, index)
        if found is not None:
            yield found


def _datasets(
    recording: Any,
    index: int,
    path: object,
    names: Iterable[str],
    n_columns: int,
    order: Literal["C", "F"],
    *,
    sign: Literal[1, -1] = 1,
    added: int = 0,
) -> Datasets:
    paths = tuple(f"/{name.lstrip('/')}" for name in names)
    place = Hdf5Place(paths, int(recording.get_num_samples(index)), order, sign, added)
    return Datasets(os.fsdecode(str(path)), place, np.dtype(recording.dtype), int(n_columns))


def _find_mcs(recording: Any, index: int) -> Datasets:
    """MCS: channels × frames."""
    dataset = recording.segments[index]._stream["ChannelData"]
    return _datasets(recording, index, dataset.file.filename, [dataset.name], dataset.shape[0], "F")


def _find_sinaps(recording: Any, index: int) -> Datasets:
    """SiNAPS: channels × frames, counted from the ADC's lowest value on."""
    segment = recording.segments[index]
    dataset = segment._stream[segment._dataset_name]
    added = -(2 ** (int(segment._num_bits) - 1)) if dataset.dtype == "uint16" else 0
    return _datasets(recording, index, dataset.file.filename, [dataset.name], dataset.shape[0], "F", added=added)


def _find_biocam(recording: Any, index: int) -> Datasets | None:
    """3Brain: frame after frame, of some versions upside down; None for its list of events."""
    reader = recording.neo_reader
    function, file = reader._read_function.__name__, reader._filehandle
    if function == "readHDF5t_brw4_sparse":
        return None
    name = "3BData/Raw" if function != "readHDF5t_brw4" else f"{_first_well(file)}/Raw"
    is_upside_down = function.endswith("_i")
    return _datasets(
        recording,
        index,
        file.filename,
        [name],
        reader._num_channels,
        "C",
        sign=-1 if is_upside_down else 1,
        added=4096 if is_upside_down else 0,
    )


def _first_well(file: Any) -> str:
    return [str(name) for name in file if name.startswith("Well_")][0]  # noqa: RUF015 IndexError, not StopIteration


def _find_buffer(recording: Any, index: int) -> Datasets | None:
    """Read neo's own description of its buffer: Maxwell."""
    reader = recording.neo_reader
    stream = reader.header["signal_streams"][recording.stream_index]
    about = reader.get_analogsignal_buffer_description(recording.block_index, index, str(stream["buffer_id"]))
    if about["type"] != "hdf5" or reader._stream_buffer_slice[stream["id"]] not in (None, slice(None)):
        return None
    axis = about["time_axis"]
    return _datasets(
        recording, index, about["file_path"], [about["hdf5_path"]], about["shape"][1 - axis], "F" if axis else "C"
    )


def _find_nix(recording: Any, index: int) -> Datasets | None:
    """NIX: a dataset each channel; None where its samples are the arguments of a polynomial."""
    reader = recording.neo_reader
    arrays = reader.da_list["blocks"][recording.block_index]["segments"][index]["data"]
    is_ours = reader.header["signal_channels"]["stream_id"] == recording.stream_id
    chosen = [arrays[number] for number in np.flatnonzero(is_ours)]
    if any(array.polynom_coefficients or array.expansion_origin for array in chosen):
        return None
    datasets = [array._h5group.group["data"] for array in chosen]
    names = [dataset.name for dataset in datasets]
    return _datasets(recording, index, datasets[0].file.filename, names, len(names), "C")


def _find_nwb_series(recording: Any, index: int) -> Datasets | None:
    """NWB: frames × channels, or the frames of one; None in a Zarr."""
    from .hdf5_library import h5py

    data = recording.segments[index].timeseries_data
    if not isinstance(data, h5py.Dataset):
        return None
    return _datasets(recording, index, data.file.filename, [data.name], data.shape[1] if data.ndim == 2 else 1, "C")


def _find_mearec(recording: Any, index: int) -> Datasets:
    """MEArec: frames × channels."""
    dataset = recording.neo_reader._recordings
    return _datasets(recording, index, dataset.file.filename, [dataset.name], dataset.shape[1], "C")


_FINDERS = {
    "MCSH5RecordingExtractor": _find_mcs,
    "SinapsResearchPlatformH5RecordingExtractor": _find_sinaps,
    "BiocamRecordingExtractor": _find_biocam,
    "MaxwellRecordingExtractor": _find_buffer,
    "NixRecordingExtractor": _find_nix,
    "NwbTimeSeriesExtractor": _find_nwb_series,
    "MEArecRecordingExtractor": _find_mearec,
}
