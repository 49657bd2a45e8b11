"""``kacheryfs.json`` of a shared recording: written in one form, read strictly, since a stranger may have made it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from ..core.strict_json import parse_strict_json
from ..errors import ProofError
from .fields import Fields, integer, number, text
from .layouts import (
    DESCRIPTION_FILE,
    BinaryLayout,
    Hdf5Place,
    Hdf5Segment,
    RecordingDescription,
    SegmentLayout,
    Summary,
    TreePath,
    check_path,
)

FORMAT = "kacheryfs-recording"
VERSION = 1
MAX_DESCRIPTION_BYTES = 16 * 1024 * 1024


def encode_description(description: RecordingDescription) -> bytes:
    """Return the canonical JSON: sorted keys, compact, ASCII; a fraction in Python's shortest form."""
    value: dict[str, object] = {
        "format": FORMAT,
        "version": VERSION,
        "label": description.label,
        "spikeinterface": description.spikeinterface,
        "summary": _summary_to_json(description.summary),
        "binary": [_layout_to_json(layout) for layout in description.binary],
    }
    if description.metadata is not None:
        value["metadata"] = "/".join(description.metadata)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _summary_to_json(summary: Summary) -> dict[str, object]:
    return {
        "sampling_frequency": summary.sampling_frequency_hz,
        "n_channels": summary.n_channels,
        "dtype": summary.dtype,
        "n_frames": list(summary.n_frames),
        "duration_s": summary.duration_s,
        "probe": summary.probe,
    }


def _layout_to_json(layout: BinaryLayout) -> dict[str, object]:
    value: dict[str, object] = {
        "at": list(layout.at),
        "sampling_frequency": layout.sampling_frequency_hz,
        "dtype": layout.dtype,
        "channel_ids": list(layout.channel_ids),
        "n_columns": layout.n_columns,
        "columns": None if layout.columns is None else list(layout.columns),
        "segments": [_segment_to_json(segment) for segment in layout.segments],
    }
    return value if layout.metadata is None else value | {"metadata": "/".join(layout.metadata)}


def _segment_to_json(segment: SegmentLayout | Hdf5Segment) -> dict[str, object]:
    value: dict[str, object] = {"file": "/".join(segment.file), "t_start": segment.t_start_s}
    if isinstance(segment, Hdf5Segment):
        return value | place_to_json(segment.place)
    return value | {"offset_bytes": segment.offset_bytes, "n_frames": segment.n_frames, "order": segment.order}


def place_to_json(place: Hdf5Place) -> dict[str, object]:
    """Return the fields that ``take_place`` takes."""
    return {
        "datasets": list(place.datasets),
        "n_frames": place.n_frames,
        "order": place.order,
        "sign": place.sign,
        "added": place.added,
    }


def decode_description(data: bytes) -> RecordingDescription:
    """Parse a ``kacheryfs.json`` that a stranger may have made; ProofError says in one line what is wrong with it."""
    what = f"{DESCRIPTION_FILE} of a recording"
    value = parse_strict_json(data, what=what, max_bytes=MAX_DESCRIPTION_BYTES, has_fractions=True)
    try:
        return _description(value)
    except ValueError as exc:
        raise ProofError(f"{what} is refused: {exc}") from exc


def _description(value: object) -> RecordingDescription:
    fields = Fields.of(value, "the description")
    if fields.take("format", text) != FORMAT:
        raise ValueError(f"it describes no recording ('format' is not {FORMAT!r})")
    version = fields.take("version", integer)
    if version != VERSION:
        raise ValueError(f"it has version {version}, this kacheryfs knows {VERSION}: update it")
    description = RecordingDescription(
        fields.take("label", text),
        fields.take("spikeinterface", text),
        _summary(fields.take("summary", dict)),
        tuple(map(_layout, fields.take("binary", list))),
        fields.find("metadata", _path),
    )
    fields.finish()
    return description


def _summary(value: Mapping[str, object]) -> Summary:
    fields = Fields.of(value, "the summary")
    summary = Summary(
        fields.take("sampling_frequency", number),
        fields.take("n_channels", integer),
        fields.take("dtype", text),
        tuple(map(integer, fields.take("n_frames", list))),
        fields.take("duration_s", number),
        fields.find("probe", text),
    )
    fields.finish()
    return summary


def _layout(value: object) -> BinaryLayout:
    fields = Fields.of(value, "a layout")
    columns: list[object] | None = fields.find("columns", list)
    layout = BinaryLayout(
        tuple(map(_text_or_integer, fields.take("at", list))),
        fields.take("sampling_frequency", number),
        fields.take("dtype", text),
        tuple(map(_text_or_integer, fields.take("channel_ids", list))),
        fields.take("n_columns", integer),
        None if columns is None else tuple(map(integer, columns)),
        _segments(fields.take("segments", list)),
        fields.find("metadata", _path),
    )
    fields.finish()
    return layout


def _segments(values: list[object]) -> tuple[SegmentLayout, ...] | tuple[Hdf5Segment, ...]:
    all_fields = [Fields.of(value, "a segment") for value in values]
    if any("datasets" in fields.rest for fields in all_fields):
        return tuple(map(_hdf5_segment, all_fields))
    return tuple(map(_flat_segment, all_fields))


def _flat_segment(fields: Fields) -> SegmentLayout:
    segment = SegmentLayout(
        fields.take("file", _path),
        fields.take("offset_bytes", integer),
        fields.take("n_frames", integer),
        fields.take("order", _order),
        fields.find("t_start", number),
    )
    fields.finish()
    return segment


def _hdf5_segment(fields: Fields) -> Hdf5Segment:
    segment = Hdf5Segment(fields.take("file", _path), take_place(fields), fields.find("t_start", number))
    fields.finish()
    return segment


def take_place(fields: Fields) -> Hdf5Place:
    """Take where samples stand in an HDF5 file out of a segment's fields; ValueError for what can't be."""
    return Hdf5Place(
        tuple(map(text, fields.take("datasets", list))),
        fields.take("n_frames", integer),
        fields.take("order", _order),
        fields.take("sign", _sign),
        fields.take("added", integer),
    )


def _order(value: object) -> Literal["C", "F"]:
    if value == "C":
        return "C"
    if value == "F":
        return "F"
    raise ValueError("neither C nor F")


def _sign(value: object) -> Literal[1, -1]:
    if type(value) is not int or value not in (1, -1):
        raise ValueError("neither 1 nor -1")
    return 1 if value == 1 else -1


def _path(value: object) -> TreePath:
    path = tuple(text(value).split("/"))
    check_path(path)
    return path


def _text_or_integer(value: object) -> str | int:
    return value if isinstance(value, str) else integer(value)
