"""Sortings in HDF5 as sortingview wrote them (h5_v1), and how values are taken out of a stranger's HDF5 file.

h5_v1: ``sampling_frequency`` (one float64), ``unit_ids`` (int32), ``unit_spike_trains/ID`` (int64 frames of that unit).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import KacheryError, ProofError
from .hdf5_library import h5py
from .lineage_arrays import MAX_ARRAY_BYTES, Array
from .lineage_spikes import Spikes, check_frames, whole_numbers
from .safety_hdf5 import open_hdf5

if TYPE_CHECKING:
    from ..app.embedded import RemoteFile


MAX_TEXT_BYTES = 1000
MAX_UNPACKED_RATIO = 2000
"""HDF5's filters pack zeros 1,000 to 1; what claims more holds values that nobody wrote."""
_DAMAGE = (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, ArithmeticError, MemoryError)
"""What h5py makes of a damaged file."""


@contextmanager
def reading_hdf5(file: RemoteFile, what: str) -> Iterator[h5py.File]:
    """Open a file that was looked at (``safety_hdf5``); what h5py makes of damage becomes a ProofError."""
    try:
        with open_hdf5(file.as_file(), what) as opened:
            yield opened
    except KacheryError:
        raise
    except _DAMAGE as exc:
        reason = str(exc).splitlines()[0][:200] if str(exc) else type(exc).__name__
        raise ProofError(f"{what} is damaged: {reason}") from exc


def read_attribute(item: Any, name: str) -> Any:
    """Return a small scalar attribute, text as str; None where there is none, or a larger one."""
    if name not in item.attrs:
        return None
    found = item.attrs.get_id(name)
    if found.shape != () or found.get_storage_size() > MAX_TEXT_BYTES:
        return None
    value = item.attrs[name]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def take_dataset(parent: Any, path: str, what: str) -> Any:
    """Return a dataset; ProofError where there is none."""
    found = parent.get(path)
    if not isinstance(found, h5py.Dataset):
        raise ProofError(f"{what} has no '{path}'")
    return found


def read_numbers(parent: Any, path: str, what: str) -> Array:
    """Return all of a dataset of numbers, in memory."""
    dataset = take_dataset(parent, path, what)
    if dataset.dtype.kind not in "iuf" or dataset.shape is None:
        raise ProofError(f"'{path}' of {what} holds no numbers")
    n_bytes = math.prod(dataset.shape) * dataset.dtype.itemsize
    if n_bytes > MAX_ARRAY_BYTES:
        raise ProofError(f"'{path}' of {what} has more than the {MAX_ARRAY_BYTES} bytes that are read")
    if n_bytes > MAX_UNPACKED_RATIO * dataset.id.get_storage_size():
        raise ProofError(f"'{path}' of {what} claims {n_bytes} bytes, of which hardly any were written")
    return np.asarray(dataset[()])


def is_h5_sorting(file: RemoteFile, what: str) -> bool:
    """Tell h5_v1 from other HDF5 files."""
    with reading_hdf5(file, what) as opened:
        return "unit_ids" in opened


def read_h5_sorting(file: RemoteFile, what: str, fallback_rate: Callable[[str], float]) -> Spikes:
    """Read h5_v1; ``fallback_rate`` is asked where the rate is NaN, as the lineage's older files have it."""
    with reading_hdf5(file, what) as opened:
        rates = read_numbers(opened, "sampling_frequency", what).ravel()
        unit_ids = whole_numbers(read_numbers(opened, "unit_ids", what), f"'unit_ids' of {what}")
        trains = [_read_train(opened, int(unit), what) for unit in unit_ids]
    if len(np.unique(unit_ids)) != len(unit_ids):
        raise ProofError(f"{what} names a unit twice")
    if len(rates) != 1 or not (math.isnan(rates[0]) or 0 < rates[0] < math.inf):
        raise ProofError(f"'sampling_frequency' of {what} is no rate in Hz")
    rate_hz = fallback_rate(what) if math.isnan(rates[0]) else float(rates[0])
    indices = np.repeat(np.arange(len(trains)), [len(train) for train in trains])
    frames = np.concatenate(trains) if trains else np.zeros(0, dtype="int64")
    return Spikes(frames, indices, tuple(int(unit) for unit in unit_ids), rate_hz)


def _read_train(opened: h5py.File, unit: int, what: str) -> Array:
    path = f"unit_spike_trains/{unit}"
    frames = whole_numbers(read_numbers(opened, path, what), f"'{path}' of {what}", rounds=True)
    check_frames(frames, what)
    return frames
