"""What ``kacheryfs.json`` says of a shared recording, as values: where the samples of each file that it reads stand.

It stands beside ``recording.json``, SpikeInterface's own description, which says how the recording is built. By a
layout the traces of a leaf (an extractor that reads files) can be read without a mount and without the extractor: with
``pread`` where they lie flat, else as datasets of an HDF5 file. A layout is written only after its traces were found
equal to the extractor's.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from ..core.manifest import MAX_FILE_BYTES
from ..core.names import why_not_a_name

DESCRIPTION_FILE = "kacheryfs.json"
RECORDING_FILE = "recording.json"

MAX_COLUMNS = 100_000
MAX_FRAMES = 1 << 53
MAX_RATE_HZ = 1e12
MAX_DEPTH = 64
MAX_KEYS = 200
"""How many keys lead to a leaf at most: each step of a chain takes two or three."""
MAX_DATASET_CHARS = 1024
MAX_ADDED = 1 << 53
"""JSON's integers are exact up to there; SiNAPS adds -2048, Biocam 4096."""

ChannelId = str | int
TreePath = tuple[str, ...]
"""Names from the tree's root to a file in it."""

_DTYPE = re.compile(r"[<>|][iuf][1248]\Z")


@dataclass(frozen=True, slots=True)
class SegmentLayout:
    """One segment's samples in one file; ``order`` "C" is frame after frame, "F" channel after channel.

    ``t_start_s`` is the extractor's own, None where it has none.
    """

    file: TreePath
    offset_bytes: int
    n_frames: int
    order: Literal["C", "F"] = "C"
    t_start_s: float | None = None

    def __post_init__(self) -> None:
        check_path(self.file)
        if not 0 <= self.offset_bytes <= MAX_FILE_BYTES or not 0 <= self.n_frames <= MAX_FRAMES:
            raise ValueError("a segment's 'offset_bytes' or 'n_frames' is out of bounds")
        if self.order not in ("C", "F"):
            raise ValueError("a segment's 'order' is neither C nor F")


@dataclass(frozen=True, slots=True)
class Hdf5Place:
    """Where samples stand in an HDF5 file: all in one dataset, or each column in one of its own.

    A dataset of two dimensions is frames × columns where ``order`` is "C", columns × frames where it is "F"; one of a
    single dimension holds frame after frame. A trace is ``sign`` × the stored sample + ``added``, in the layout's dtype
    and modulo its range.
    """

    datasets: tuple[str, ...]
    n_frames: int
    order: Literal["C", "F"] = "C"
    sign: Literal[1, -1] = 1
    added: int = 0

    def __post_init__(self) -> None:
        if not 0 < len(self.datasets) <= MAX_COLUMNS or not all(map(_is_dataset_path, self.datasets)):
            raise ValueError("'datasets' are no paths in an HDF5 file")
        if not 0 <= self.n_frames <= MAX_FRAMES or not -MAX_ADDED <= self.added <= MAX_ADDED:
            raise ValueError("a segment's 'n_frames' or 'added' is out of bounds")
        if self.order not in ("C", "F") or self.sign not in (1, -1):
            raise ValueError("a segment's 'order' is neither C nor F, or its 'sign' neither 1 nor -1")


@dataclass(frozen=True, slots=True)
class Hdf5Segment:
    """One segment's samples in one HDF5 file; ``t_start_s`` is the extractor's own, None where it has none."""

    file: TreePath
    place: Hdf5Place
    t_start_s: float | None = None

    def __post_init__(self) -> None:
        check_path(self.file)

    @property
    def n_frames(self) -> int:
        return self.place.n_frames


@dataclass(frozen=True, slots=True)
class BinaryLayout:
    """The samples of one leaf: all segments in flat files, or all in HDF5 files.

    ``at`` leads from ``recording.json``'s top object to the leaf's; empty where the recording is the leaf itself. A
    frame has ``n_columns`` samples of ``dtype`` (numpy's ``<i2``, …); ``columns`` says which of them the channels are,
    in the order of ``channel_ids``; None for all. ``metadata`` is the file with what else the leaf knows of itself.
    """

    at: tuple[str | int, ...]
    sampling_frequency_hz: float
    dtype: str
    channel_ids: tuple[ChannelId, ...]
    n_columns: int
    columns: tuple[int, ...] | None
    segments: tuple[SegmentLayout, ...] | tuple[Hdf5Segment, ...]
    metadata: TreePath | None = None

    def __post_init__(self) -> None:
        _check_rate(self.sampling_frequency_hz)
        _check_columns(self)
        if len({type(segment) for segment in self.segments}) > 1:
            raise ValueError("a layout has flat segments and HDF5 ones")
        if len(self.at) > MAX_KEYS:
            raise ValueError(f"a layout stands below more than {MAX_KEYS} keys")
        if not _DTYPE.match(self.dtype):
            raise ValueError(f"the dtype {self.dtype[:20]!r} is not one of flat samples")
        if self.metadata is not None:
            check_path(self.metadata)

    @property
    def frame_bytes(self) -> int:
        """The bytes from one frame to the next where order is "C"."""
        return self.n_columns * int(self.dtype[2:])

    @property
    def is_hdf5(self) -> bool:
        return any(isinstance(segment, Hdf5Segment) for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a list of recordings shows; ``n_frames`` has one number a segment."""

    sampling_frequency_hz: float
    n_channels: int
    dtype: str
    n_frames: tuple[int, ...]
    duration_s: float
    probe: str | None = None

    def __post_init__(self) -> None:
        _check_rate(self.sampling_frequency_hz)
        if not 0 <= self.n_channels <= MAX_COLUMNS or not all(0 <= n <= MAX_FRAMES for n in self.n_frames):
            raise ValueError("the summary's 'n_channels' or 'n_frames' is out of bounds")
        if not math.isfinite(self.duration_s) or len(self.dtype) > 20 or len(self.probe or "") > 1000:
            raise ValueError("the summary's 'duration_s', 'dtype' or 'probe' is out of bounds")


@dataclass(frozen=True, slots=True)
class RecordingDescription:
    """All of ``kacheryfs.json``; ``spikeinterface`` is the version that wrote ``recording.json``.

    ``metadata`` is the file with what the recording itself, at the top of its chain, knows; None where there is none.
    """

    label: str
    spikeinterface: str
    summary: Summary
    binary: tuple[BinaryLayout, ...] = ()
    metadata: TreePath | None = None

    def __post_init__(self) -> None:
        reason = self.label and why_not_a_name(self.label)
        if reason:
            raise ValueError(f"the label {self.label[:80]!r} {reason}")
        if len(self.spikeinterface) > 100:
            raise ValueError("'spikeinterface' is no version")
        if self.metadata is not None:
            check_path(self.metadata)


def check_path(path: TreePath) -> None:
    """Raise ValueError unless each name can stand in a tree."""
    reasons = [f"the name {name[:80]!r} {reason}" for name in path if (reason := why_not_a_name(name))]
    if reasons or not 0 < len(path) <= MAX_DEPTH:
        raise ValueError(reasons[0] if reasons else "a path is empty or too deep")


def _is_dataset_path(path: str) -> bool:
    return path.startswith("/") and len(path) <= MAX_DATASET_CHARS and "\0" not in path


def _check_rate(rate_hz: float) -> None:
    if not 0 < rate_hz <= MAX_RATE_HZ:
        raise ValueError(f"a sampling frequency of {rate_hz} Hz is out of bounds")


def _check_columns(layout: BinaryLayout) -> None:
    n_columns, columns = layout.n_columns, layout.columns
    if not 0 < n_columns <= MAX_COLUMNS:
        raise ValueError(f"{n_columns} columns are out of bounds")
    if len(layout.channel_ids) != (n_columns if columns is None else len(columns)):
        raise ValueError("a layout has not one channel a column")
    if columns is not None and not all(0 <= column < n_columns for column in columns):
        raise ValueError(f"a column is not one of {n_columns}")
