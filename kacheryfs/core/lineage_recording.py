"""Recordings as the lineage described them: parsed strictly from JSON into values that say where the samples lie.

``{"recording_format": F, "data": D}``, SpikeForest's ``{raw, params, geom, self_reference}``, and the short forms in
which one stood inside another: a link, ``{path}``, ``{recording, filters}``, ``{recording, group}``. Formats and
vectors: labbox-ephys, sortingview and SpikeForest. A format that isn't read here is an InputError that names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import InputError, ProofError
from .lineage_fields import MAX_LINEAGE_DEPTH, Fields, UnitId, as_whole, take_link, take_positions
from .link import FileLink, TreeLink

Link = FileLink | TreeLink
Positions = tuple[tuple[float, ...], ...]

MAX_COLUMNS = 100_000
MAX_FRAMES = 1 << 53
MAX_FILTERS = 16

_DTYPE = re.compile(r"([<>|=]?)([iuf])([1248])\Z")
_DTYPE_NAMES = {
    f"{name}{8 * n_bytes}": f"{name[0]}{n_bytes}" for name in ("int", "uint") for n_bytes in (1, 2, 4, 8)
} | {
    "float16": "f2",
    "float32": "f4",
    "float64": "f8",
    "float": "f8",
    "double": "f8",
    "single": "f4",
    "int": "i8",
    "short": "i2",
}


@dataclass(frozen=True, slots=True)
class LinkedRecording:
    """A recording behind a link: the file of an object, an NWB file, or a folder with ``raw.mda``."""

    link: Link


@dataclass(frozen=True, slots=True)
class BinRecording:
    """bin1 and bin2: frames × ``n_columns`` samples without a header; ``columns`` says where each channel stands."""

    raw: Link
    dtype: str
    n_columns: int
    n_frames: int
    sampling_frequency_hz: float
    channel_ids: tuple[UnitId, ...]
    columns: tuple[int, ...]
    positions: Positions | None


@dataclass(frozen=True, slots=True)
class MdaParams:
    """``params.json`` of an MDA recording; what a sorter did with sign and factor was its own, samples stay as they are."""

    sampling_frequency_hz: float
    scale_factor: float | None = None
    spike_sign: int | None = None


@dataclass(frozen=True, slots=True)
class MdaRecording:
    """An MDA file with its parameters and positions, either of them inline or behind a link."""

    raw: Link
    params: MdaParams | Link
    geom: Positions | Link | None


@dataclass(frozen=True, slots=True)
class NwbRecording:
    """An electrical series of an NWB file; the only one where none is named."""

    path: Link
    electrical_series_name: str | None = None


@dataclass(frozen=True, slots=True)
class PartOfRecording:
    """Channels (by id or by group) and frames ``[start, stop)`` of another recording; None stands for all."""

    recording: LineageRecording
    channel_ids: tuple[UnitId, ...] | None = None
    groups: tuple[UnitId, ...] | None = None
    start_frame: int | None = None
    stop_frame: int | None = None


@dataclass(frozen=True, slots=True)
class BandpassFilter:
    """A band-pass from ``freq_min_hz`` to ``freq_max_hz``; 0 stands for no edge on that side.

    ``freq_wid_hz`` was how wide the upper edge rolled off in the lineage's own filter, a product of error functions
    in the frequency domain.
    """

    freq_min_hz: float = 300.0
    freq_max_hz: float = 6000.0
    freq_wid_hz: float = 1000.0


@dataclass(frozen=True, slots=True)
class FilteredRecording:
    """Another recording behind filters, the first one first."""

    recording: LineageRecording
    filters: tuple[BandpassFilter, ...]


LineageRecording = LinkedRecording | BinRecording | MdaRecording | NwbRecording | PartOfRecording | FilteredRecording


def is_lineage_recording(value: object) -> bool:
    """Tell whether parsed JSON claims to be a recording of the lineage, by its keys."""
    if not isinstance(value, dict):
        return False
    return "recording_format" in value or {"raw", "params", "geom"} <= value.keys()


def parse_lineage_recording(value: object, depth: int = 0) -> LineageRecording:
    """Take the parsed JSON of a recording, or a link as text; ProofError, LinkError or InputError in one line."""
    if depth > MAX_LINEAGE_DEPTH:
        raise ProofError(f"recordings stand inside each other deeper than {MAX_LINEAGE_DEPTH}")
    if isinstance(value, str):
        return LinkedRecording(take_link(value, "a recording"))
    fields = Fields.of(value, "a recording")
    if not fields.has("recording_format"):
        return _parse_short(fields, depth)
    fields.refuse_unknown({"recording_format", "data"})
    name = fields.text("recording_format")
    parser = _FORMATS.get(name)
    if parser is None:
        raise InputError(f"the recording format {name[:60]!r} isn't read here; read are {', '.join(_FORMATS)}")
    data = fields.inner("data")
    return parser(Fields(f"a recording of format {name}", data.values), depth)


def _parse_short(fields: Fields, depth: int) -> LineageRecording:
    """Take the forms without a format: what the keys are says it."""
    if fields.values.keys() >= {"raw", "params", "geom"}:
        return _parse_mda(fields, depth)
    if fields.values.keys() == {"path"}:
        return LinkedRecording(fields.link("path"))
    if fields.values.keys() == {"recording", "filters"}:
        return _parse_filtered(fields, depth)
    if "recording" in fields.values:
        return _parse_part(fields, depth)
    raise ProofError("an object without 'recording_format' is not a recording of the lineage")


def _parse_bin1(data: Fields, _depth: int) -> BinRecording:
    data.refuse_unknown(_BIN_KEYS)
    return _parse_bin(data, "<i2")


def _parse_bin2(data: Fields, _depth: int) -> BinRecording:
    data.refuse_unknown(_BIN_KEYS | {"dtype"})
    return _parse_bin(data, take_dtype(data.text("dtype"), data.what))


def _parse_bin(data: Fields, dtype: str) -> BinRecording:
    n_columns, n_frames = data.count("raw_num_channels"), data.count("num_frames")
    if not 0 < n_columns <= MAX_COLUMNS or n_frames > MAX_FRAMES:
        raise ProofError(f"{data.what} has {n_columns} columns and {n_frames} frames, which no file has")
    ids = data.ids("channel_ids")
    if not ids:
        raise ProofError(f"{data.what} has no channels")
    return BinRecording(
        data.link("raw"),
        dtype,
        n_columns,
        n_frames,
        data.rate("samplerate"),
        ids,
        _columns(data, ids, n_columns),
        _positions_by_id(data, ids),
    )


def _columns(data: Fields, ids: tuple[UnitId, ...], n_columns: int) -> tuple[int, ...]:
    by_id = data.inner("channel_map")
    columns = tuple(as_whole(by_id.get(str(one))) for one in ids)
    if not all(column is not None and 0 <= column < n_columns for column in columns):
        raise ProofError(f"{by_id.what} names a column that is not one of {n_columns}")
    return tuple(column for column in columns if column is not None)


def _positions_by_id(data: Fields, ids: tuple[UnitId, ...]) -> Positions | None:
    if not data.has("channel_positions"):
        return None
    by_id = data.inner("channel_positions")
    return take_positions([by_id.get(str(one)) for one in ids], by_id.what)


def take_dtype(text: str, what: str) -> str:
    """Return numpy's short name, with its byte order, of a type of plain numbers; little-endian where none is given."""
    match = _DTYPE.match(_DTYPE_NAMES.get(text, text))
    if match is None or (match[2], match[3]) == ("f", "1"):
        raise ProofError(f"{what} has the dtype {text[:40]!r}, which is no type of plain numbers")
    order, kind, n_bytes = match.groups()
    return f"|{kind}1" if n_bytes == "1" else f"{'>' if order == '>' else '<'}{kind}{n_bytes}"


def _parse_mda(data: Fields, _depth: int) -> MdaRecording:
    data.refuse_unknown({"raw", "params", "geom", "self_reference"})
    params = data.get("params")
    geom = data.get("geom") if data.has("geom") else None
    return MdaRecording(
        data.link("raw"),
        data.link("params") if isinstance(params, str) else parse_mda_params(params, f"'params' of {data.what}"),
        data.link("geom") if isinstance(geom, str) else data.positions("geom") if geom is not None else None,
    )


def parse_mda_params(value: object, what: str = "params.json") -> MdaParams:
    """Take ``{samplerate, scale_factor?, spike_sign?}``; what else generators left in it is no matter."""
    fields = Fields.of(value, what)
    sign = as_whole(fields.get("spike_sign")) if fields.has("spike_sign") else None
    scale = fields.number("scale_factor") if fields.has("scale_factor") else None
    return MdaParams(fields.rate("samplerate"), scale, sign)


def _parse_nwb(data: Fields, _depth: int) -> NwbRecording:
    data.refuse_unknown({"path", "electrical_series_name"})
    name = data.text("electrical_series_name") if data.has("electrical_series_name") else None
    return NwbRecording(data.link("path"), name)


def _parse_part(data: Fields, depth: int) -> PartOfRecording:
    data.refuse_unknown({"recording", "channel_ids", "group", "groups", "start_frame", "end_frame"})
    groups = data.ids("groups") if data.has("groups") else None
    if data.has("group"):
        groups = Fields(data.what, {"group": [data.get("group")]}).ids("group")
    return PartOfRecording(
        parse_lineage_recording(data.get("recording"), depth + 1),
        data.ids("channel_ids") if data.has("channel_ids") else None,
        groups,
        *_frames(data),
    )


def _frames(data: Fields) -> tuple[int | None, int | None]:
    start = data.count("start_frame") if data.has("start_frame") else None
    stop = data.count("end_frame") if data.has("end_frame") else None
    if stop is not None and (start or 0) > stop:
        raise ProofError(f"{data.what} ends before it begins: frames [{start}, {stop})")
    return start, stop


def _parse_filtered(data: Fields, depth: int) -> FilteredRecording:
    data.refuse_unknown({"recording", "filters"})
    filters = data.inners("filters")
    if len(filters) > MAX_FILTERS:
        raise ProofError(f"{data.what} has more than {MAX_FILTERS} filters")
    return FilteredRecording(
        parse_lineage_recording(data.get("recording"), depth + 1), tuple(_parse_filter(one) for one in filters)
    )


def _parse_filter(fields: Fields) -> BandpassFilter:
    name = fields.text("type")
    if name != "bandpass_filter":
        raise InputError(f"the filter {name[:60]!r} isn't read here; read is bandpass_filter")
    fields.refuse_unknown({"type", "freq_min", "freq_max", "freq_wid"})
    low, high = fields.number("freq_min", 300.0), fields.number("freq_max", 6000.0)
    if low < 0 or high < 0 or (high and low >= high):
        raise ProofError(f"{fields.what} lets nothing pass: {low:g} to {high:g} Hz")
    return BandpassFilter(low, high, fields.number("freq_wid", 1000.0))


_BIN_KEYS = {
    "raw",
    "raw_num_channels",
    "num_frames",
    "samplerate",
    "channel_ids",
    "channel_map",
    "channel_positions",
}
_FORMATS: dict[str, Callable[[Fields, int], LineageRecording]] = {
    "bin1": _parse_bin1,
    "bin2": _parse_bin2,
    "mda": _parse_mda,
    "nwb": _parse_nwb,
    "subrecording": _parse_part,
    "filtered": _parse_filtered,
}
