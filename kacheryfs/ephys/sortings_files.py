"""The files of a shared sorting: one safe form for every kind of sorting, the same bytes on every machine.

    spikes.npy                sample, unit and segment of each spike, sorted by segment, sample and unit
    spike_times.npy           the time of each in seconds, where the sorting has times of its own (NWB)
    properties/NAME.npy       one value (or row) a unit; mixed values and missing ones (None) in NAME.json
    numpysorting_info.json, si_folder.json, annotations.json
                              for stock SpikeInterface, which takes the folder for its "numpy_folder"

No time of day, no class of the original, no path: the sorting's provenance stays where it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from ..errors import InputError
from .npy import Array, encode_npy
from .scrubbing import scrub
from .sortings_describing import SPIKE_DTYPE, SortingDescription, SortingSegment, canonical_json
from .values import encode_value

if TYPE_CHECKING:
    from spikeinterface.core import BaseSorting, BaseSortingSegment

SPIKES_FILE = "spikes.npy"
TIMES_FILE = "spike_times.npy"
PROPERTIES_FOLDER = "properties"
MAX_PROPERTY_NAME_CHARS = 200
_STOCK_FOLDER = {
    "class": "spikeinterface.core.sortingfolder.NumpyFolderSorting",
    "module": "spikeinterface",
    "version": "0.105.0",  # of the form, not of what is installed: it must not change the link
    "kwargs": {"folder_path": "."},
    "annotations": {},
    "properties": {},
    "relative_paths": True,
}
_PLACES = {"phy_folder"}
"""Annotations that say nothing but where on this machine the sorting lies."""

Files = dict[tuple[str, ...], bytes]


@dataclass(frozen=True, slots=True)
class SortingFiles:
    """A sorting in its shared form; ``left_out`` tells what has no safe form, and why."""

    description: SortingDescription
    files: Files
    left_out: tuple[str, ...]


def make_sorting_files(sorting: BaseSorting, *, keeps_order: bool = False) -> SortingFiles:
    """Write a sorting down; InputError for spikes that no recording can have.

    ``keeps_order`` leaves spikes of one sample in their order: an analyzer's extensions count on it.
    """
    spikes = _spikes_of(sorting)
    if not keeps_order:
        spikes = spikes[np.lexsort((spikes["unit_index"], spikes["sample_index"], spikes["segment_index"]))]
    files: Files = {(SPIKES_FILE,): encode_npy(spikes)}
    times = _times_of(sorting, spikes)
    if times is not None:
        files[(TIMES_FILE,)] = encode_npy(times)
    left_out: list[str] = []
    properties = _add_properties(sorting._properties, files, left_out)
    annotations = _clean_annotations(sorting._annotations, left_out)
    unit_ids = np.asarray(sorting.unit_ids)
    try:
        description = SortingDescription(
            float(sorting.sampling_frequency),
            unit_ids if len(unit_ids) else np.zeros(0, "<i8"),
            len(spikes),
            _segments_of(sorting),
            properties,
            annotations,
            times is not None,
        )
    except ValueError as exc:
        raise InputError(f"the sorting can't be shared: {exc}") from exc
    _add_stock_files(description, files)
    return SortingFiles(description, files, tuple(left_out))


def _spikes_of(sorting: BaseSorting) -> Array:
    vector = sorting.to_spike_vector()
    spikes = np.zeros(len(vector), SPIKE_DTYPE)
    for name in SPIKE_DTYPE.names or ():
        spikes[name] = vector[name]
    if len(spikes) and spikes["sample_index"].min() < 0:
        raise InputError(
            "the sorting can't be shared: it has spikes before the first frame; "
            "remove them with spikeinterface.curation.remove_excess_spikes"
        )
    return spikes


def _segments_of(sorting: BaseSorting) -> tuple[SortingSegment, ...]:
    starts = [segment._t_start for segment in sorting.segments]
    return tuple(SortingSegment(None if start is None else float(start)) for start in starts)


def _times_of(sorting: BaseSorting, spikes: Array) -> Array | None:
    """Return the time in seconds of each spike, where the format has times of its own; None elsewhere."""
    if not all(hasattr(segment, "get_unit_spike_train_in_seconds") for segment in sorting.segments):
        return None
    trains = [_unit_times(segment, unit_id) for segment in sorting.segments for unit_id in sorting.unit_ids]
    times = np.concatenate([np.zeros(0), *trains])
    if len(times) != len(spikes):
        raise InputError("the sorting can't be shared: it has not one time for each spike")
    in_order = np.empty(len(spikes), "<f8")
    in_order[np.lexsort((spikes["sample_index"], spikes["unit_index"], spikes["segment_index"]))] = times
    return in_order


def _unit_times(segment: BaseSortingSegment, unit_id: Any) -> Array:
    shift = (segment._t_start or 0.0) - (segment._native_t_start or 0.0)
    times = np.asarray(segment.get_unit_spike_train_in_seconds(unit_id, None, None), "<f8")
    return np.sort(times) + shift if shift else np.sort(times)


def _add_properties(properties: Mapping[str, Any], files: Files, left_out: list[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for key in sorted(properties):
        try:
            name, data = _property_file(key, _plain_texts(scrub(np.asarray(properties[key]))))
        except ValueError as exc:
            left_out.append(f"the property {key!r}: {exc}")
            continue
        names[key] = name
        files[(PROPERTIES_FOLDER, name)] = data
    return names


def _plain_texts(values: Array) -> Array:
    """Return an object array that holds nothing but texts (Phy's, by pandas) as one of texts: any tool reads that."""
    if values.dtype.kind != "O" or not all(isinstance(item, str) for item in values.flat):
        return values
    return np.array([str(item) for item in values.flat], dtype=str).reshape(values.shape)


def _property_file(key: str, values: Array) -> tuple[str, bytes]:
    name = quote(key, safe=" ()[]+,=@&'!#$")
    if not 0 < len(name) <= MAX_PROPERTY_NAME_CHARS:
        raise ValueError("its name is empty or too long for a file's name")
    name = "%2E" + name[1:] if name.startswith(".") else name
    if not values.dtype.hasobject:
        return f"{name}.npy", encode_npy(values)
    return f"{name}.json", canonical_json(encode_value(values))


def _clean_annotations(annotations: Mapping[str, Any], left_out: list[str]) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    for key in sorted(annotations.keys() - _PLACES):
        value = _clean_sorting_info(annotations[key]) if key == "__sorting_info__" else annotations[key]
        try:
            encode_value(scrub(value))
        except ValueError as exc:
            left_out.append(f"the annotation {key!r}: {exc}")
            continue
        clean[key] = scrub(value)
    return clean


def _clean_sorting_info(info: Any) -> Any:
    """Keep which sorter ran, with which parameters; not on what, when and how long."""
    if not isinstance(info, Mapping):
        return info
    log = info.get("log")
    kept = (
        {key: log[key] for key in ("sorter_name", "sorter_version") if key in log} if isinstance(log, Mapping) else {}
    )
    return {"recording": None, "params": info.get("params"), "log": kept}


def _add_stock_files(description: SortingDescription, files: Files) -> None:
    """Add what makes the folder a "numpy_folder" of stock SpikeInterface."""
    unit_ids = description.unit_ids.tolist()
    info = {
        "sampling_frequency": description.sampling_frequency_hz,
        "unit_ids": [item.decode("latin-1") if isinstance(item, bytes) else item for item in unit_ids],
        "num_segments": len(description.segments),
    }
    files[("numpysorting_info.json",)] = canonical_json(info)
    files[("si_folder.json",)] = canonical_json(_STOCK_FOLDER)
    annotations = json.dumps(_plain(description.annotations), sort_keys=True, separators=(",", ":"), default=str)
    files[("annotations.json",)] = annotations.encode("ascii")


def _plain(value: Any) -> Any:
    """Return an annotation as stock's JSON would have it: arrays and tuples as lists, names as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
