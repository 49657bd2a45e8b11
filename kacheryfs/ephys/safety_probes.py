"""Probes, properties and times of a stranger's description, checked before they become a recording's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from probeinterface import ProbeGroup

MAX_PROBES = 1000
MAX_PROPERTY_VALUES = 10_000_000

_SCALARS = (str, int, float, bool, type(None))
Array = np.ndarray[Any, Any]


def make_probegroup(value: Mapping[str, Any], n_channels: int) -> ProbeGroup:
    """Return a probe group with one contact a channel; ValueError for what probeinterface can't have written."""
    probes = value.get("probes")
    if not isinstance(probes, list) or not 0 < len(probes) <= MAX_PROBES:
        raise ValueError("the probe group is not a list of probes")
    try:
        group = ProbeGroup.from_dict(dict(value))
        n_contacts = group.get_contact_count()
        group.to_numpy(complete=True)
        group.get_global_contact_positions()
    except Exception as exc:  # probeinterface trusts its input: a wrong one raises anything
        raise ValueError(f"the probe can't be one: {type(exc).__name__}: {str(exc)[:200]}") from exc
    if n_contacts != n_channels:
        raise ValueError(f"the probe has {n_contacts} contacts for {n_channels} channels")
    return group


def make_property(name: str, value: object, n_channels: int) -> Array:
    """Return a property's array, one row a channel; ValueError for another length, or for more than plain values."""
    what = f"the property {name[:80]!r}"
    if not isinstance(value, list) or len(value) != n_channels:
        raise ValueError(f"{what} has not one value for each of {n_channels} channels")
    try:
        array = np.asarray(value)
    except ValueError as exc:
        raise ValueError(f"{what} has rows of different lengths") from exc
    if array.size > MAX_PROPERTY_VALUES:
        raise ValueError(f"{what} has {array.size} values")
    if array.dtype.kind == "O" and not all(isinstance(item, _SCALARS) for item in value):
        raise ValueError(f"{what} holds objects")
    return array


def apply_times(segment: Any, times: Mapping[str, Any]) -> None:
    """Give a segment the times that a description says; ValueError where they can't be its times."""
    rate_hz, t_start, vector = (times.get(key) for key in ("sampling_frequency", "t_start", "time_vector"))
    if rate_hz is not None and not (_is_finite(rate_hz) and rate_hz > 0):
        raise ValueError("a segment's sampling frequency is not a positive number")
    if t_start is not None and not _is_finite(t_start):
        raise ValueError("a segment's start is not a finite number")
    if vector is not None:
        if not isinstance(vector, list) or not all(isinstance(item, (int, float)) for item in vector):
            raise ValueError("a segment's times are not a list of numbers")
        if len(vector) != segment.get_num_samples():
            raise ValueError(f"a segment of {segment.get_num_samples()} frames has {len(vector)} times")
        vector = np.asarray(vector, dtype="float64")
    segment._sampling_frequency, segment._t_start, segment._time_vector = rate_hz, t_start, vector


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
