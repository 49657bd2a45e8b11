"""Reads a shared sorting that a stranger may have made: every array is checked before SpikeInterface sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ProofError
from .npy import Array
from .sortings_describing import MAX_FRAMES, MAX_SPIKES, SPIKE_DTYPE, SortingDescription
from .sortings_files import PROPERTIES_FOLDER, SPIKES_FILE, TIMES_FILE
from .values import decode_value

if TYPE_CHECKING:
    from .treefiles import TreeFiles

MAX_SPIKES_BYTES = MAX_SPIKES * SPIKE_DTYPE.itemsize + 1024
MAX_PROPERTY_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class SortingContent:
    """A sorting in memory; ``spikes`` is sorted by segment and sample, ``times_s`` has one time a spike."""

    description: SortingDescription
    spikes: Array
    times_s: Array | None
    properties: dict[str, Array]


def read_sorting_files(files: TreeFiles, description: SortingDescription) -> SortingContent:
    """Fetch the arrays; ProofError says in one line what about them is wrong."""
    spikes = files.read_array((SPIKES_FILE,), MAX_SPIKES_BYTES)
    _check_spikes(spikes, description)
    times_s = files.read_array((TIMES_FILE,), MAX_SPIKES_BYTES) if description.has_spike_times else None
    if times_s is not None and (times_s.dtype != np.dtype("<f8") or times_s.shape != spikes.shape):
        raise ProofError(f"{TIMES_FILE} has not one time for each spike")
    properties = {key: _read_property(files, key, name, description) for key, name in description.properties.items()}
    return SortingContent(description, spikes, times_s, properties)


def _check_spikes(spikes: Array, description: SortingDescription) -> None:
    if spikes.dtype != SPIKE_DTYPE or spikes.shape != (description.n_spikes,):
        raise ProofError(f"{SPIKES_FILE} is no vector of {description.n_spikes} spikes")
    if not len(spikes):
        return
    sample, segment = spikes["sample_index"], spikes["segment_index"]
    _check_range(sample, MAX_FRAMES, "a sample index")
    _check_range(spikes["unit_index"], description.n_units, "a unit index")
    _check_range(segment, len(description.segments), "a segment index")
    steps = np.diff(segment)
    if (steps < 0).any() or ((np.diff(sample) < 0) & (steps == 0)).any():
        raise ProofError(f"{SPIKES_FILE} is not sorted by segment and sample")


def _check_range(values: Array, stop: int, what: str) -> None:
    if values.min() < 0 or values.max() >= stop:
        raise ProofError(f"{SPIKES_FILE} holds {what} out of range: not from 0 to {stop - 1}")


def _read_property(files: TreeFiles, key: str, name: str, description: SortingDescription) -> Array:
    path = (PROPERTIES_FOLDER, name)
    if name.endswith(".npy"):
        values = files.read_array(path, MAX_PROPERTY_BYTES)
    else:
        values = _decode_objects(files.read_json(path), name)
    if values.ndim < 1 or len(values) != description.n_units:
        raise ProofError(f"the property {key[:80]!r} has not one value for each of {description.n_units} units")
    return values


def _decode_objects(value: object, name: str) -> Array:
    try:
        values = decode_value(value)
    except ValueError as exc:
        raise ProofError(f"{PROPERTIES_FOLDER}/{name} is refused: {exc}") from exc
    if not isinstance(values, np.ndarray):
        raise ProofError(f"{PROPERTIES_FOLDER}/{name} holds no array")
    return values
