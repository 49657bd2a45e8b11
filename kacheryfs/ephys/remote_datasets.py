"""Samples in the datasets of an HDF5 file, chunked and compressed as they may be: what is asked for, and little else.

A chunk is unpacked as a whole, so the channels that share chunks are read together, and each chunk once. HDF5 lets one
thread in at a time, also while it waits for a peer; a dataset that lies flat in its file is read without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from ..errors import InputError, ProofError
from .hdf5_library import h5py
from .remote_samples import File, Samples, run_at_once
from .safety_hdf5 import reading

PIECE_BYTES = 32 * 1024 * 1024
"""Of samples that are unpacked at once."""
MAX_CHUNK_BYTES = 512 * 1024 * 1024
"""Of one chunk, unpacked: to read one sample takes as much memory. Real ones have 10 KB to 10 MB."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """One dataset with ``n_columns``: frames × columns where ``order`` is "C", columns × frames where it is "F".

    Of a single dimension it holds frame after frame. ``flat`` says where the samples lie one after the other in
    ``file``; None where HDF5 has to be asked for them.
    """

    dataset: h5py.Dataset
    file: File
    n_columns: int
    order: Literal["C", "F"]
    flat: Samples | None = None

    @classmethod
    def of(cls, dataset: h5py.Dataset, file: File, n_columns: int, order: Literal["C", "F"]) -> Stored:
        """Take a dataset of ``file``; ProofError where it has other columns, or can't be unpacked in bounds."""
        stored = cls(dataset, file, n_columns, order)
        _check_packing(stored)
        return replace(stored, flat=stored._find_flat())

    @property
    def name(self) -> str:
        return f"the dataset {str(self.dataset.name)[:120]!r}"

    @property
    def n_frames(self) -> int:
        """How many frames it has; ProofError where it has another number of columns."""
        shape: tuple[int, ...] = self.dataset.shape or ()
        if len(shape) == 1:
            return shape[0] // self.n_columns
        frames, columns = (0, 0) if len(shape) != 2 else shape if self.order == "C" else shape[::-1]
        if columns != self.n_columns:
            raise ProofError(f"{self.name} has the shape {str(shape)[:60]}, not one of {self.n_columns} columns")
        return frames

    def read(self, start: int, stop: int, columns: Sequence[int]) -> Array:
        """Return frames ``[start, stop)`` × ``columns`` as they are stored."""
        if self.flat is None:
            return self._unpack(start, stop, columns)
        return self.flat.read(self.file, start, stop, None if columns == range(self.n_columns) else columns)

    def _find_flat(self) -> Samples | None:
        found = self.dataset.id
        offset_bytes = found.get_offset()
        if offset_bytes is None or found.get_storage_size() != self.dataset.size * self.dataset.dtype.itemsize:
            return None
        order = self.order if self.dataset.ndim == 2 else "C"
        return Samples(self.dataset.dtype, self.n_columns, self.n_frames, offset_bytes, order)

    def _unpack(self, start: int, stop: int, columns: Sequence[int]) -> Array:
        out = np.empty((stop - start, len(columns)), self.dataset.dtype, order=self.order)
        n_frames, n_columns = self._find_chunk()
        for places in _find_neighbours(columns, n_columns):
            first, last = columns[places[0]], columns[places[-1]] + 1
            picked = [columns[place] - first for place in places]
            frame_bytes = max(last - first, n_columns) * out.itemsize
            for one, other in _find_pieces(start, stop, n_frames, frame_bytes):
                out[one - start : other - start, _span(places)] = self._load(one, other, first, last)[:, _span(picked)]
        return out

    def _find_chunk(self) -> tuple[int, int]:
        """Return how many frames and columns are unpacked at the cost of one."""
        shape = self.dataset.chunks
        if shape is None:
            return 1, self.n_columns
        if len(shape) == 1:
            return max(1, shape[0] // self.n_columns), self.n_columns
        return (shape[0], shape[1]) if self.order == "C" else (shape[1], shape[0])

    def _load(self, start: int, stop: int, first: int, last: int) -> Array:
        """Return frames ``[start, stop)`` × columns ``[first, last)``."""
        with reading(self.name):
            if self.dataset.ndim == 1:
                every: Array = self.dataset[start * self.n_columns : stop * self.n_columns]
                return every.reshape(stop - start, self.n_columns)[:, first:last]
            found: Array = (
                self.dataset[start:stop, first:last] if self.order == "C" else self.dataset[first:last, start:stop].T
            )
            return found


@dataclass(frozen=True, slots=True)
class DatasetSamples:
    """The samples of one segment, as ``Hdf5Place`` says: ``n_columns`` in one dataset, or in one each.

    ProofError for datasets that don't hold that; InputError where a filter that they are packed with is missing here.
    """

    stored: tuple[Stored, ...]
    dtype: np.dtype[Any]
    n_columns: int
    n_frames: int
    sign: Literal[1, -1] = 1
    added: int = 0

    def __post_init__(self) -> None:
        if sum(stored.n_columns for stored in self.stored) != self.n_columns:
            raise ProofError(f"{len(self.stored)} datasets don't hold {self.n_columns} columns")
        for stored in self.stored:
            self._check_type(stored)
            if stored.n_frames < self.n_frames:
                raise ProofError(
                    f"{stored.name} has {stored.n_frames} frames, but its description tells of {self.n_frames}"
                )

    def _check_type(self, stored: Stored) -> None:
        found, is_changed = stored.dataset.dtype, (self.sign, self.added) != (1, 0)
        is_right = found.kind in "iu" if self.dtype.kind in "iu" else found == self.dtype and not is_changed
        if not is_right:
            raise ProofError(f"{stored.name} holds {str(found)[:60]}, of which no {self.dtype} is made")

    def read(self, start: int, stop: int, columns: Sequence[int] | None) -> Array:
        """Return frames ``[start, stop)`` of ``columns`` (None: all), frames × channels, in a new array."""
        start = min(max(start, 0), self.n_frames)
        stop = min(max(stop, start), self.n_frames)
        wanted = range(self.n_columns) if columns is None else columns
        if len(self.stored) == 1:
            return self._converted(self.stored[0].read(start, stop, wanted))
        out = np.empty((len(wanted), stop - start), self.dtype)
        run_at_once(
            partial(self._fill, row, self.stored[column], start) for row, column in zip(out, wanted, strict=True)
        )
        return out.T

    def _fill(self, row: Array, stored: Stored, start: int) -> None:
        row[:] = self._converted(stored.read(start, start + len(row), range(1))[:, 0])

    def _converted(self, stored: Array) -> Array:
        """Return traces; whole numbers wrap around at the ends of their range, as they do in the readers."""
        traces = stored.astype(self.dtype, copy=False)
        if self.sign == -1:
            traces = np.negative(traces)
        return traces + np.int64(self.added).astype(self.dtype) if self.added else traces


def _find_neighbours(columns: Sequence[int], width: int) -> Iterator[list[int]]:
    """Yield places of columns that are read together: in the same chunk, ``width`` columns wide, or the next one."""
    found: list[int] = []
    for place in sorted(range(len(columns)), key=lambda place: columns[place]):
        if found and columns[place] // width > columns[found[-1]] // width + 1:
            yield found
            found = []
        found.append(place)
    if found:
        yield found


def _find_pieces(start: int, stop: int, chunk_frames: int, frame_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield spans of about ``PIECE_BYTES`` that end where chunks do, so that none is unpacked for two of them."""
    step = max(1, PIECE_BYTES // frame_bytes // chunk_frames) * chunk_frames
    while start < stop:
        last = min(stop, (start // step + 1) * step)
        yield start, last
        start = last


def _span(numbers: list[int]) -> slice | list[int]:
    """Return numbers that follow each other as a slice: numpy copies that much faster."""
    first, last = numbers[0], numbers[-1] + 1
    return slice(first, last) if numbers == list(range(first, last)) else numbers


def _check_packing(stored: Stored) -> None:
    chunk_bytes = math.prod(stored.dataset.chunks or (0,)) * stored.dataset.dtype.itemsize
    if chunk_bytes > MAX_CHUNK_BYTES:
        raise ProofError(f"{stored.name} is refused: its chunks have {chunk_bytes / 1e6:,.0f} MB each")
    packing = stored.dataset.id.get_create_plist()
    for index in range(packing.get_nfilters()):
        number, _, _, about = packing.get_filter(index)
        if not h5py.h5z.filter_avail(number):
            raise InputError(
                f"{stored.name} is packed with HDF5 filter {number} ({about[:40]!r}), which is not installed here: set "
                "HDF5_PLUGIN_PATH to the folder of its plugin (pip install hdf5plugin has many; Maxwell has its own)"
            )
