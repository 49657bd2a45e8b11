"""Old collections, as labbox-ephys wrote them: recordings and sortings with what people decided about their units.

``{"recordings": [R…], "sortings": [S…]}``; a feed (``lineage_feed``) comes to the same. What stands in an entry and is
not known here is told in ``warnings``, never dropped in silence; so is a path of the author's own machine, which is no
link.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import LinkError, ProofError
from .lineage_curation import Curation, OldCuration
from .lineage_fields import (
    Fields,
    Warn,
    as_number,
    as_whole,
    canonical_text,
    parse_lineage_json,
    take_positions,
    take_text,
)
from .link import FileLink, TreeLink, parse_link

_PLACE = {"recordingId", "recordingPath", "recordingObject"}
_RECORDING_KEYS = _PLACE | {"recordingLabel", "description", "recordingInfo", "tags"}
_SORTING_KEYS = _PLACE | {"sortingId", "sortingLabel", "sortingPath", "sortingObject", "description", "tags"}
_UNDECIDED = OldCuration()
_DECIDED_KEYS = {"curation", "unitMetricsUri", "externalUnitMetricsUri", "sortingInfo"}


@dataclass(frozen=True, slots=True)
class OldRecordingInfo:
    """What the lineage remembered of a recording; None for what it didn't say."""

    sampling_frequency_hz: float | None = None
    n_frames: int | None = None
    n_channels: int | None = None
    positions: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class OldRecording:
    """A recording of an old collection: ``link`` names the file of its object, ``object_json`` is the object itself."""

    recording_id: str
    label: str = ""
    link: FileLink | TreeLink | None = None
    object_json: str | None = None
    description: str = ""
    tags: tuple[str, ...] = ()
    info: OldRecordingInfo = OldRecordingInfo()


@dataclass(frozen=True, slots=True)
class OldSorting:
    """A sorting of an old collection, and which recording it is of."""

    sorting_id: str
    recording_id: str
    label: str = ""
    link: FileLink | TreeLink | None = None
    object_json: str | None = None
    recording_link: FileLink | TreeLink | None = None
    recording_object_json: str | None = None
    description: str = ""
    tags: tuple[str, ...] = ()
    curation: OldCuration = _UNDECIDED
    metrics_link: FileLink | TreeLink | None = None


@dataclass(frozen=True, slots=True)
class OldCollection:
    """An old collection, in the order of its file; ``warnings`` has a line for each thing that is not carried over."""

    recordings: tuple[OldRecording, ...]
    sortings: tuple[OldSorting, ...]
    warnings: tuple[str, ...] = ()


def is_old_collection(value: object) -> bool:
    """Tell whether parsed JSON is an old collection, by its keys."""
    return isinstance(value, dict) and bool(value) and value.keys() <= {"recordings", "sortings"}


def decode_old_collection(data: bytes) -> OldCollection:
    """Parse the file of an old collection; ProofError or LinkError in one line."""
    return parse_old_collection(parse_lineage_json(data, what="an old collection"))


def parse_old_collection(value: object) -> OldCollection:
    """Take the parsed JSON of an old collection; ids must be given once."""
    fields = Fields.of(value, "an old collection")
    fields.refuse_unknown({"recordings", "sortings"})
    warnings: list[str] = []
    recordings = [parse_old_recording(entry, warnings.append) for entry in _entries(fields, "recordings")]
    sortings = [parse_old_sorting(entry, warnings.append) for entry in _entries(fields, "sortings")]
    _refuse_doubles("recording", [recording.recording_id for recording in recordings])
    _refuse_doubles("sorting", [sorting.sorting_id for sorting in sortings])
    return OldCollection(tuple(recordings), tuple(sortings), tuple(warnings))


def _entries(fields: Fields, key: str) -> list[Fields]:
    return fields.inners(key) if fields.has(key) else []


def _refuse_doubles(kind: str, ids: list[str]) -> None:
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise ProofError(f"an old collection has two {kind}s with the id '{one[:80]}'")
        seen.add(one)


def parse_old_recording(entry: Fields, warn: Warn) -> OldRecording:
    """Take one R of a collection or of ADD_RECORDING."""
    name = _id(entry, "recordingId")
    what = f"recording {name[:80]}"
    entry.warn_of_unknown(_RECORDING_KEYS, what, warn)
    return OldRecording(
        name,
        entry.text("recordingLabel", ""),
        _find_link(entry, "recordingPath", what, warn),
        _find_object(entry, "recordingObject"),
        entry.text("description", ""),
        _tags(entry),
        _info(entry),
    )


def parse_old_sorting(entry: Fields, warn: Warn) -> OldSorting:
    """Take one S of a collection or of ADD_SORTING."""
    name = _id(entry, "sortingId")
    what = f"sorting {name[:80]}"
    entry.warn_of_unknown(_SORTING_KEYS | _DECIDED_KEYS, what, warn)
    metrics_key = "unitMetricsUri" if entry.has("unitMetricsUri") else "externalUnitMetricsUri"
    return OldSorting(
        name,
        _id(entry, "recordingId"),
        entry.text("sortingLabel", ""),
        _find_link(entry, "sortingPath", what, warn),
        _find_object(entry, "sortingObject"),
        _find_link(entry, "recordingPath", what, warn),
        _find_object(entry, "recordingObject"),
        entry.text("description", ""),
        _tags(entry),
        Curation.of(entry.inner("curation"), warn).frozen() if entry.has("curation") else _UNDECIDED,
        _find_link(entry, metrics_key, what, warn),
    )


def _id(entry: Fields, key: str) -> str:
    name = entry.text(key)
    if not name:
        raise ProofError(f"'{key}' of {entry.what} is empty")
    return name


def _find_link(entry: Fields, key: str, what: str, warn: Warn) -> FileLink | TreeLink | None:
    if not entry.has(key):
        return None
    text = entry.text(key)
    try:
        return parse_link(text)
    except LinkError as exc:
        warn(f"{what}: its {key} is left out: {exc}")
        return None


def _find_object(entry: Fields, key: str) -> str | None:
    return canonical_text(entry.inner(key).values) if entry.has(key) else None


def _tags(entry: Fields) -> tuple[str, ...]:
    if not entry.has("tags"):
        return ()
    return tuple(take_text(tag, f"'tags' of {entry.what}") for tag in entry.items("tags"))


def _info(entry: Fields) -> OldRecordingInfo:
    if not entry.has("recordingInfo"):
        return OldRecordingInfo()
    info = entry.inner("recordingInfo")
    rate, n_frames = as_number(info.values.get("sampling_frequency")), as_whole(info.values.get("num_frames"))
    channels, geom = info.values.get("channel_ids"), info.values.get("geom")
    return OldRecordingInfo(
        rate if rate and rate > 0 else None,
        n_frames if n_frames is not None and n_frames >= 0 else None,
        len(channels) if isinstance(channels, list) else None,
        take_positions(geom, f"'geom' of {info.what}") if isinstance(geom, list) else (),
    )
