"""From a description that was found harmless to the recording: the classes come from the table, never from the JSON."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording

from ..errors import InputError, KacheryError, ProofError
from .safety import Node
from .safety_classes import ClassRow
from .safety_kinds import MotionValues, Periods
from .safety_probes import apply_times, make_probegroup, make_property

_PERIOD_DTYPE = [("segment_index", "int64"), ("start_sample_index", "int64"), ("end_sample_index", "int64")]
"""SpikeInterface's ``base_period_dtype``."""


def build(node: Node, load_leaf: Callable[[Node], BaseRecording]) -> BaseRecording:
    """Return the recording of a checked description; ``load_leaf`` makes those that read files.

    Every error is a KacheryError: ProofError where SpikeInterface can't make what was described.
    """
    if node.row.leaf is not None:
        return load_leaf(node)
    recording = construct(node.row, {key: _argument(value, load_leaf) for key, value in node.kwargs.items()}, node)
    describe(recording, node)
    return recording


def _argument(value: Any, load_leaf: Callable[[Node], BaseRecording]) -> Any:
    if isinstance(value, Node):
        return build(value, load_leaf)
    if isinstance(value, list):
        return [_argument(item, load_leaf) for item in value]
    if isinstance(value, dict):
        return {key: _argument(item, load_leaf) for key, item in value.items()}
    if isinstance(value, Periods):
        return np.array(list(value.rows), dtype=_PERIOD_DTYPE)
    return _make_motion(value) if isinstance(value, MotionValues) else value


def _make_motion(value: MotionValues) -> Any:
    from spikeinterface.core.motion import Motion

    fields: dict[str, Any] = dict(value.fields)
    for name in ("displacement", "temporal_bins_s"):
        fields[name] = [np.asarray(item, dtype="float64") for item in fields[name]]
    fields["spatial_bins_um"] = np.asarray(fields["spatial_bins_um"], dtype="float64")
    return Motion.from_dict(fields)


def construct(row: ClassRow, kwargs: Mapping[str, Any], node: Node) -> BaseRecording:
    """Call a class of the table, in the way that SpikeInterface itself would."""
    recording_class = import_class(row)
    try:
        adapted = dict(kwargs)
        if hasattr(recording_class, "_handle_kwargs_backward_compatibility"):
            whole = {"class": row.path, "version": node.version, "kwargs": adapted}
            adapted = recording_class._handle_kwargs_backward_compatibility(adapted, whole)
        return recording_class(**{**_with_precision(row, adapted), **row.forced})
    except KacheryError:
        raise
    except ImportError as exc:
        raise InputError(f"{row.name} needs a package that is not installed here: {_one_line(exc)}") from exc
    except Exception as exc:  # SpikeInterface raises anything for arguments that don't fit
        raise _why_not_built(row, exc) from exc


def _with_precision(row: ClassRow, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Give a whitening matrix the float32 that it was computed in, where JSON's numbers are just those.

    SpikeInterface itself would multiply in float64: traces would differ from the original's in their last digits.
    """
    for key in ("W", "M"):
        if row.name == "WhitenRecording" and kwargs.get(key) is not None:
            exact = np.asarray(kwargs[key], dtype="float64")
            if np.array_equal(exact.astype("float32"), exact):
                kwargs = {**kwargs, key: exact.astype("float32")}
    return kwargs


def import_class(row: ClassRow) -> Any:
    """Return the class of a row: the very one of that name, and a recording; InputError where there is none."""
    try:
        found: Any = getattr(importlib.import_module(row.module), row.name, None)
    except ImportError as exc:
        raise InputError(f"{row.name} can't be imported here: {_one_line(exc)}") from exc
    is_recording = isinstance(found, type) and issubclass(found, BaseRecording)
    if not is_recording or (found.__module__, found.__name__) != (row.module, row.name):
        raise InputError(f"this SpikeInterface has no {row.path}: it is of another version")
    return found


def describe(recording: BaseRecording, node: Node) -> None:
    """Give a recording the annotations, properties, probe and times of its description."""
    try:
        recording._annotations.update(node.annotations)
        n_channels = recording.get_num_channels()
        for name, value in node.properties.items():
            if value is not None:
                recording.set_property(name, make_property(name, value, n_channels))
        if node.probegroup is not None:
            recording._probegroup = make_probegroup(node.probegroup, n_channels)
        _apply_all_times(recording, node)
        recording._handle_extractor_backward_compatibility()
    except KacheryError:
        raise
    except Exception as exc:  # as above
        raise _why_not_built(node.row, exc) from exc


def _apply_all_times(recording: BaseRecording, node: Node) -> None:
    if node.times is None:
        return
    if len(node.times) != recording.get_num_segments():
        raise ValueError(f"it tells times of {len(node.times)} segments, and has {recording.get_num_segments()}")
    for segment, times in zip(recording.segments, node.times, strict=True):
        apply_times(segment, times)
    recording._time_info_modified = True


def _why_not_built(row: ClassRow, exc: Exception) -> ProofError:
    return ProofError(f"{row.name} can't be built from its description: {_one_line(exc)}")


def _one_line(exc: Exception) -> str:
    lines = str(exc).split("\n")
    return f"{type(exc).__name__}: {lines[0][:300]}" if lines[0] else type(exc).__name__
