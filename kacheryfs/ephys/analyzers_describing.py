"""``kacheryfs.json`` of a shared analyzer: values, one canonical form, a strict parse.

``{"format": "kacheryfs-analyzer", "version": 1, "label", "storage": "binary_folder" | "zarr", "settings",
"recording_attributes", "probegroup", "sorting": {…}, "is_sparse", "extensions": [name, …], "recording": link | null,
"left_out": [text, …]}``. ``sorting`` is as in a shared sorting, and its files stand in the same form below
``sorting/``; ``sparsity_mask.npy`` has one row a unit and one column a channel. In a Zarr both stand below
``kacheryfs/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.link import TreeLink, parse_link
from ..errors import LinkError, ProofError
from .fields import Fields, integer, text
from .sortings_describing import SortingDescription, canonical_json, check_version, sorting_of_json, sorting_to_json
from .values import decode_value, encode_value

FORMAT = "kacheryfs-analyzer"
VERSION = 1
BINARY_FOLDER, ZARR = "binary_folder", "zarr"
MAX_CHANNELS = 100_000
MAX_EXTENSIONS = 1000
PEAK_SIGNS = ("both", "neg", "pos")
PEAK_MODES = ("extremum", "at_index", "peak_to_peak")
_ATTRIBUTES = frozenset(
    ["channel_ids", "sampling_frequency", "num_channels", "num_samples", "is_filtered", "properties", "dtype"]
)


@dataclass(frozen=True, slots=True)
class AnalyzerSettings:
    """What holds for all extensions of an analyzer."""

    return_in_uV: bool
    peak_sign: str
    peak_mode: str

    def __post_init__(self) -> None:
        if type(self.return_in_uV) is not bool or self.peak_sign not in PEAK_SIGNS or self.peak_mode not in PEAK_MODES:
            raise ValueError("the settings are not those of an analyzer")


@dataclass(frozen=True, eq=False)
class AnalyzerDescription:
    """All of an analyzer but its arrays; ``attributes`` is SpikeInterface's ``rec_attributes`` without the probe."""

    storage: str
    settings: AnalyzerSettings
    attributes: Mapping[str, Any]
    probegroup: Mapping[str, Any] | None
    sorting: SortingDescription
    is_sparse: bool
    extensions: tuple[str, ...] = ()
    recording: str | None = None
    left_out: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.storage not in (BINARY_FOLDER, ZARR):
            raise ValueError(f"its storage {self.storage[:40]!r} is neither {BINARY_FOLDER} nor {ZARR}")
        _check_attributes(self.attributes, len(self.sorting.segments))
        if len(self.extensions) > MAX_EXTENSIONS or not all(name.isidentifier() for name in self.extensions):
            raise ValueError("'extensions' is no list of extensions' names")
        if self.recording is not None:
            _check_recording(self.recording)

    @property
    def n_channels(self) -> int:
        return len(self.attributes["channel_ids"])

    @property
    def made_folder(self) -> tuple[str, ...]:
        """Where what was made for the share stands; a binary folder has it where stock SpikeInterface looks."""
        return ("kacheryfs",) if self.storage == ZARR else ()


def _check_attributes(attributes: Mapping[str, Any], n_segments: int) -> None:
    if not attributes.keys() <= _ATTRIBUTES or not attributes.keys() >= _ATTRIBUTES - {"properties"}:
        raise ValueError("'recording_attributes' are not those of a recording")
    channel_ids = np.asarray(attributes["channel_ids"])
    if channel_ids.ndim != 1 or channel_ids.dtype.kind not in "iufSU" or not 0 < len(channel_ids) <= MAX_CHANNELS:
        raise ValueError("'channel_ids' is no list of ids")
    if attributes["num_channels"] != len(channel_ids) or len(np.unique(channel_ids)) != len(channel_ids):
        raise ValueError("'num_channels' is not the number of 'channel_ids', or an id is given twice")
    if not isinstance(attributes["sampling_frequency"], (int, float)) or not attributes["sampling_frequency"] > 0:
        raise ValueError("the recording's 'sampling_frequency' is not a positive number")
    _check_frames(attributes["num_samples"], n_segments)
    properties = attributes.get("properties", {})
    if not isinstance(properties, Mapping) or not isinstance(attributes["dtype"], str):
        raise ValueError("'properties' or 'dtype' of the recording is damaged")


def _check_frames(n_frames: object, n_segments: int) -> None:
    if not isinstance(n_frames, list) or len(n_frames) != n_segments:
        raise ValueError("'num_samples' has not one number for each segment")
    if not all(type(n) is int and n >= 0 for n in n_frames):
        raise ValueError("'num_samples' has a number that is none of frames")


def _check_recording(link: str) -> None:
    try:
        parsed = parse_link(link)
    except LinkError as exc:
        raise ValueError(f"'recording' is no link: {exc}") from exc
    if not isinstance(parsed, TreeLink) or not link.startswith("sha1dir://"):
        raise ValueError("'recording' is no link of a shared recording")


def encode_analyzer(description: AnalyzerDescription, label: str) -> bytes:
    """Return the whole ``kacheryfs.json``."""
    settings = description.settings
    return canonical_json(
        {
            "format": FORMAT,
            "version": VERSION,
            "label": label,
            "storage": description.storage,
            "settings": {
                "return_in_uV": settings.return_in_uV,
                "peak_sign": settings.peak_sign,
                "peak_mode": settings.peak_mode,
            },
            "recording_attributes": encode_value(dict(description.attributes)),
            "probegroup": encode_value(description.probegroup),
            "sorting": sorting_to_json(description.sorting),
            "is_sparse": description.is_sparse,
            "extensions": sorted(description.extensions),
            "recording": description.recording,
            "left_out": list(description.left_out),
        }
    )


def decode_analyzer(members: Mapping[str, object]) -> AnalyzerDescription:
    """Take a ``kacheryfs.json`` apart whose format was checked; ProofError says what is wrong with it."""
    try:
        return _decode(Fields.of(members, "the description"))
    except (ValueError, TypeError, OverflowError) as exc:
        raise ProofError(f"kacheryfs.json of an analyzer is refused: {exc}") from exc


def _decode(fields: Fields) -> AnalyzerDescription:
    fields.take("format", text)
    fields.take("label", text)
    check_version(fields.take("version", integer), VERSION)
    probegroup: object = fields.find("probegroup", dict)
    description = AnalyzerDescription(
        fields.take("storage", text),
        _settings(fields.take("settings", dict)),
        decode_value(fields.take("recording_attributes", dict)),
        None if probegroup is None else decode_value(probegroup),
        sorting_of_json(fields.take("sorting", dict)),
        fields.take("is_sparse", _truth),
        tuple(map(text, fields.take("extensions", list))),
        fields.find("recording", text),
        tuple(map(text, fields.take("left_out", list))),
    )
    fields.finish()
    return description


def _settings(value: object) -> AnalyzerSettings:
    fields = Fields.of(value, "the settings")
    settings = AnalyzerSettings(
        fields.take("return_in_uV", _truth), fields.take("peak_sign", text), fields.take("peak_mode", text)
    )
    fields.finish()
    return settings


def _truth(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError("neither true nor false")
    return value
