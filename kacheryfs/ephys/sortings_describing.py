"""``kacheryfs.json`` of a shared sorting: values, one canonical form, a strict parse.

``{"format": "kacheryfs-sorting", "version": 1, "label", "sampling_frequency", "unit_ids": {"$array": …}, "n_spikes",
"segments": [{"t_start"}, …], "properties": {name: file}, "annotations": {…}}``, and ``"spike_times": true``
where the sorting has times of its own in seconds. ``values`` says how what JSON can't say is written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.names import why_not_a_name
from ..errors import ProofError
from .fields import Fields, integer, number, text
from .npy import Array
from .values import decode_value, encode_value

FORMAT = "kacheryfs-sorting"
VERSION = 1
MAX_UNITS = 1_000_000
MAX_SEGMENTS = 100_000
MAX_SPIKES = 1 << 28
"""6.4 GB of spikes; an hour of 384 channels has some ten million."""
MAX_FRAMES = 1 << 53
MAX_RATE_HZ = 1e12

SPIKE_DTYPE = np.dtype([("sample_index", "<i8"), ("unit_index", "<i8"), ("segment_index", "<i8")])
"""One spike, as SpikeInterface's spike vectors have it."""


@dataclass(frozen=True, slots=True)
class SortingSegment:
    """What is known of one segment: the time of its first frame, where that isn't 0."""

    t_start_s: float | None = None

    def __post_init__(self) -> None:
        if self.t_start_s is not None and not math.isfinite(self.t_start_s):
            raise ValueError("a segment's 't_start' is not finite")


@dataclass(frozen=True, eq=False)
class SortingDescription:
    """All of a sorting but its spikes; ``properties`` has the file of each below ``properties/``."""

    sampling_frequency_hz: float
    unit_ids: Array
    n_spikes: int
    segments: tuple[SortingSegment, ...]
    properties: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, Any] = field(default_factory=dict)
    has_spike_times: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.sampling_frequency_hz <= MAX_RATE_HZ:
            raise ValueError(f"a sampling frequency of {self.sampling_frequency_hz} Hz is out of bounds")
        _check_units(self.unit_ids)
        if not 0 <= self.n_spikes <= MAX_SPIKES:
            raise ValueError(f"{self.n_spikes} spikes are more than the {MAX_SPIKES} that are read")
        if not 0 < len(self.segments) <= MAX_SEGMENTS:
            raise ValueError(f"{len(self.segments)} segments are out of bounds")
        _check_property_files(self.properties)

    @property
    def n_units(self) -> int:
        return len(self.unit_ids)


def _check_units(unit_ids: object) -> None:
    if not isinstance(unit_ids, np.ndarray) or unit_ids.ndim != 1 or len(unit_ids) > MAX_UNITS:
        raise ValueError("'unit_ids' is no list of ids")
    if len(unit_ids) and unit_ids.dtype.kind not in "iuSU":
        raise ValueError("the unit ids are neither integers nor texts")
    if len(np.unique(unit_ids)) != len(unit_ids):
        raise ValueError("a unit id is given twice")


def _check_property_files(properties: Mapping[str, str]) -> None:
    for name in properties.values():
        if why_not_a_name(name) or not name.endswith((".npy", ".json")):
            raise ValueError(f"{name[:80]!r} is no file of a property")
    if len(set(properties.values())) != len(properties):
        raise ValueError("two properties have one file")


def canonical_json(value: object) -> bytes:
    """Return the one form of a value: sorted keys, compact, ASCII escapes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def encode_sorting(description: SortingDescription, label: str) -> bytes:
    """Return the whole ``kacheryfs.json``."""
    return canonical_json({"format": FORMAT, "version": VERSION, "label": label, **sorting_to_json(description)})


def sorting_to_json(description: SortingDescription) -> dict[str, object]:
    """Return the description without format, version and label."""
    value: dict[str, object] = {
        "sampling_frequency": description.sampling_frequency_hz,
        "unit_ids": encode_value(description.unit_ids),
        "n_spikes": description.n_spikes,
        "segments": [{"t_start": segment.t_start_s} for segment in description.segments],
        "properties": dict(description.properties),
        "annotations": encode_value(dict(description.annotations)),
    }
    return value | ({"spike_times": True} if description.has_spike_times else {})


def decode_sorting(members: Mapping[str, object]) -> SortingDescription:
    """Take a ``kacheryfs.json`` apart whose format was checked; ProofError says what is wrong with it."""
    try:
        fields = Fields.of(members, "the description")
        fields.take("format", text)
        fields.take("label", text)
        check_version(fields.take("version", integer), VERSION)
        return sorting_of_json(fields.rest)
    except ValueError as exc:
        raise ProofError(f"kacheryfs.json of a sorting is refused: {exc}") from exc


def check_version(found: int, known: int) -> None:
    """Raise ValueError unless the version is the one that is known here."""
    if found != known:
        raise ValueError(f"it has version {found}, this kacheryfs knows {known}: update it")


def sorting_of_json(value: object) -> SortingDescription:
    """Read ``sorting_to_json``'s object strictly, else ValueError."""
    fields = Fields.of(value, "the sorting")
    properties: Mapping[str, object] = fields.take("properties", dict)
    annotations = decode_value(fields.take("annotations", dict))
    if not isinstance(annotations, dict) or any(not isinstance(key, str) for key in annotations):
        raise ValueError("'annotations' has a name that is no text")
    description = SortingDescription(
        fields.take("sampling_frequency", number),
        decode_value(fields.take("unit_ids", dict)),
        fields.take("n_spikes", integer),
        tuple(map(_segment, fields.take("segments", list))),
        {name: text(file) for name, file in properties.items()},
        annotations,
        fields.find("spike_times", _true) is not None,
    )
    fields.finish()
    return description


def _segment(value: object) -> SortingSegment:
    fields = Fields.of(value, "a segment")
    segment = SortingSegment(fields.find("t_start", number))
    fields.finish()
    return segment


def _true(value: object) -> bool:
    if value is not True:
        raise ValueError("not true")
    return True
