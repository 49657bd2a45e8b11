"""Samples of a flat binary file, read by ``pread``: the frames and channels that are asked for, and little else.

Where frame stands after frame ("C") the bytes of all columns lie between those of a few, so that they come along; where
channel stands after channel ("F") each one is read by itself, several at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np

from ..errors import ProofError

CHUNK_BYTES = 32 * 1024 * 1024
"""Of one read. A second of 384 channels (23 MB) is one: two would look like a sequence, and 16 MiB be read ahead."""
N_AT_ONCE = 16
"""Channels of an F file under way together: each waits for a round trip of its own."""

Array = np.ndarray[Any, Any]


class File(Protocol):
    """What is read by ``pread``, by any number of threads."""

    def pread_into(self, offset: int, buffer: memoryview) -> int: ...


@dataclass(frozen=True, slots=True)
class Samples:
    """Where the samples of one segment stand in a file: ``n_frames`` × ``n_columns`` from ``offset_bytes`` on."""

    dtype: np.dtype[Any]
    n_columns: int
    n_frames: int
    offset_bytes: int = 0
    order: Literal["C", "F"] = "C"

    @property
    def end_bytes(self) -> int:
        """Where the last sample ends."""
        return self.offset_bytes + self.n_frames * self.n_columns * self.dtype.itemsize

    def read(self, file: File, start: int, stop: int, columns: Sequence[int] | None) -> Array:
        """Return frames ``[start, stop)`` of ``columns`` (None: all), frames × channels, in a new array."""
        start = min(max(start, 0), self.n_frames)
        stop = min(max(stop, start), self.n_frames)
        if self.order == "F":
            return self._read_channels(file, start, stop, range(self.n_columns) if columns is None else columns)
        if columns is None:
            frames = np.empty((stop - start, self.n_columns), self.dtype)
            self._fill(file, self._frame_at(start), frames)
            return frames
        return self._read_columns(file, start, stop, columns)

    def _read_columns(self, file: File, start: int, stop: int, columns: Sequence[int]) -> Array:
        out = np.empty((stop - start, len(columns)), self.dtype)
        n_at_once = max(1, CHUNK_BYTES // (self.n_columns * self.dtype.itemsize))
        for first in range(start, stop, n_at_once):
            last = min(first + n_at_once, stop)
            frames = np.empty((last - first, self.n_columns), self.dtype)
            self._fill(file, self._frame_at(first), frames)
            out[first - start : last - start] = frames[:, columns]
        return out

    def _read_channels(self, file: File, start: int, stop: int, columns: Sequence[int]) -> Array:
        out = np.empty((len(columns), stop - start), self.dtype)
        if len(columns) < 2:
            for row, column in zip(out, columns, strict=True):
                self._fill(file, self._sample_at(column, start), row)
            return out.T
        run_at_once(
            partial(self._fill, file, self._sample_at(column, start), row)
            for row, column in zip(out, columns, strict=True)
        )
        return out.T

    def _frame_at(self, frame: int) -> int:
        return self.offset_bytes + frame * self.n_columns * self.dtype.itemsize

    def _sample_at(self, column: int, frame: int) -> int:
        return self.offset_bytes + (column * self.n_frames + frame) * self.dtype.itemsize

    def _fill(self, file: File, offset: int, array: Array) -> None:
        if not array.size:
            return
        with memoryview(array.data).cast("B") as view:
            for first in range(0, len(view), CHUNK_BYTES):
                piece = view[first : first + CHUNK_BYTES]
                if file.pread_into(offset + first, piece) != len(piece):
                    raise ProofError("a file of the recording is shorter than its description says")


def run_at_once(reads: Iterable[Callable[[], object]]) -> None:
    """Do some reads, ``N_AT_ONCE`` of them under way together; the first that fails ends it."""
    is_over = threading.Event()

    def run(read: Callable[[], object]) -> None:
        if not is_over.is_set():
            read()

    pool = ThreadPoolExecutor(N_AT_ONCE, "kacheryfs channel")
    try:
        for _ in pool.map(run, reads):
            pass
    finally:
        is_over.set()
        pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C, or the first error, waits for no other channel
