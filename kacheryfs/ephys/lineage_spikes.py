"""Spikes of the lineage's sortings as plain arrays: checked, merged, and made into a sorting at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from spikeinterface.core import NumpySorting
from spikeinterface.core.base import minimum_spike_dtype

from ..core.lineage_fields import UnitId
from ..errors import ProofError

MAX_FRAME = 1 << 53

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Spikes:
    """All spikes of a sorting: ``frames`` (int64) and the index of each one's unit in ``unit_ids``."""

    frames: Array
    unit_indices: Array
    unit_ids: tuple[UnitId, ...]
    sampling_frequency_hz: float

    def merged(self, groups: Sequence[Sequence[UnitId]]) -> Spikes:
        """Merge each group into its smallest unit; ProofError for a unit that isn't there."""
        index_of = {unit: index for index, unit in enumerate(self.unit_ids)}
        into = np.arange(len(self.unit_ids))
        for group in groups:
            missing = [unit for unit in group if unit not in index_of]
            if missing:
                raise ProofError(f"a merge group names the unit {str(missing[0])[:40]!r}, which the sorting hasn't got")
            into[[index_of[unit] for unit in group]] = index_of[group[0]]
        kept = np.unique(into)
        places = np.searchsorted(kept, into)
        return Spikes(
            self.frames,
            places[self.unit_indices],
            tuple(self.unit_ids[index] for index in kept),
            self.sampling_frequency_hz,
        )

    def to_sorting(self) -> NumpySorting:
        """Return them as a sorting in memory, ordered by frame, then by unit."""
        spikes = np.zeros(len(self.frames), dtype=minimum_spike_dtype)
        order = np.lexsort((self.unit_indices, self.frames))
        spikes["sample_index"] = self.frames[order]
        spikes["unit_index"] = self.unit_indices[order]
        return NumpySorting(spikes, self.sampling_frequency_hz, list(self.unit_ids))


def spikes_of(
    times: Array, labels: Array, sampling_frequency_hz: float, what: str, unit_ids: Sequence[UnitId] | None = None
) -> Spikes:
    """Check frames and labels of all spikes, each in one array of numbers; units come in the order of their ids.

    ``unit_ids`` names units that may have no spike; labels beyond them are kept.
    """
    frames = whole_numbers(times, f"the times of {what}", rounds=True)
    units = whole_numbers(labels, f"the labels of {what}")
    if len(frames) != len(units):
        raise ProofError(f"{what} has {len(frames)} times for {len(units)} labels")
    check_frames(frames, what)
    found, places = np.unique(units, return_inverse=True)
    ids: list[UnitId] = [int(unit) for unit in found]
    if unit_ids is not None:
        named = [*unit_ids, *(unit for unit in ids if unit not in set(unit_ids))]
        index_of = {unit: index for index, unit in enumerate(named)}
        places = np.array([index_of[unit] for unit in ids], dtype="int64")[places]
        ids = named
    return Spikes(frames, places, tuple(ids), sampling_frequency_hz)


def whole_numbers(values: Array, what: str, *, rounds: bool = False) -> Array:
    """Return numbers as int64 in one dimension; those of floats must be whole, unless they may be rounded."""
    flat = values.ravel()
    if flat.dtype.kind == "f":
        if not np.isfinite(flat).all() or (abs(flat) >= MAX_FRAME).any():
            raise ProofError(f"{what} are not all numbers that can be counted with")
        rounded = np.rint(flat)
        if not rounds and (rounded != flat).any():
            raise ProofError(f"{what} are not all whole numbers")
        return rounded.astype("int64")
    if flat.dtype.kind not in "iu":
        raise ProofError(f"{what} are {flat.dtype}, not numbers")
    if len(flat) and int(flat.max()) >= MAX_FRAME:
        raise ProofError(f"{what} are not all numbers that can be counted with")
    return flat.astype("int64")


def check_frames(frames: Array, what: str) -> None:
    """Refuse spikes before the recording."""
    if len(frames) and frames.min() < 0:
        raise ProofError(f"{what} has a spike at frame {frames.min()}, before the recording")
