"""A collection's canonical JSON: sorted keys, compact, ASCII escapes, nothing that is empty; one value, one digest.

``{"format": "kacheryfs-collection", "name": …, "previous": LINK, "recordings": {ID: {"link": …, …}}, "sortings": {ID:
{"link": …, "recording": ID, …}}, "version": 1}``. Readers take any order and spacing, but no key that they don't know.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from ..errors import InputError, LinkError, ProofError
from .collection import Collection, RecordingEntry, SortingEntry, take_tags
from .link import FileLink, TreeLink, parse_link
from .strict_json import parse_strict_json

FORMAT = "kacheryfs-collection"
VERSION = 1
MAX_COLLECTION_BYTES = 16 * 1024 * 1024
"""Some 50,000 recordings; more belong into collections of their own."""
MAX_JSON_LINK_CHARS = 4096

_KINDS: Mapping[type, str] = {str: "text", int: "a number", float: "a number", dict: "an object", list: "a list"}

_T = TypeVar("_T")
_EntryT = TypeVar("_EntryT", RecordingEntry, SortingEntry)


def encode_collection(collection: Collection) -> bytes:
    """Return the canonical JSON; InputError for more than readers take."""
    data = canonical_json(collection_to_json(collection))
    if len(data) > MAX_COLLECTION_BYTES:
        raise InputError(
            f"the collection {collection.name!r} would have {len(data)} bytes, more than readers take "
            f"({MAX_COLLECTION_BYTES}): make several of it"
        )
    return data


def canonical_json(value: object) -> bytes:
    """Return the one form of a value: sorted keys, compact, ASCII escapes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def collection_to_json(collection: Collection) -> dict[str, object]:
    """Return what the canonical JSON is made of; what is empty or unknown isn't in it."""
    return {
        "format": FORMAT,
        "name": collection.name,
        "recordings": {key: recording_to_json(entry) for key, entry in collection.recordings.items()},
        "sortings": {key: sorting_to_json(entry) for key, entry in collection.sortings.items()},
        "version": VERSION,
        **_filled(description=collection.description, previous=collection.previous and str(collection.previous)),
    }


def recording_to_json(entry: RecordingEntry) -> dict[str, object]:
    """Return a recording without its id, which is its key."""
    return _entry_to_json(entry) | _filled(
        n_channels=entry.n_channels, duration_s=_as_float(entry.duration_s), probe=entry.probe
    )


def sorting_to_json(entry: SortingEntry) -> dict[str, object]:
    """Return a sorting without its id, which is its key."""
    return _entry_to_json(entry) | _filled(recording=entry.recording_id, n_units=entry.n_units)


def _entry_to_json(entry: RecordingEntry | SortingEntry) -> dict[str, object]:
    return _filled(
        link=str(entry.link),
        label=entry.label,
        description=entry.description,
        tags=list(entry.tags),
        sampling_frequency=_as_float(entry.sampling_frequency),
    )


def _as_float(value: float | None) -> float | None:
    """15000 and 15000.0 are equal, but not their JSON."""
    return None if value is None else float(value) + 0.0  # -0.0 becomes 0.0


def _filled(**members: object) -> dict[str, object]:
    return {name: value for name, value in members.items() if value not in (None, "", [])}


def decode_collection(data: bytes) -> Collection:
    """Parse a collection that a stranger may have made; ProofError says what is wrong with it.

    That ``data`` has the SHA-1 of its link is for the caller to prove.
    """
    what = "a collection"
    value = parse_strict_json(data, what=what, max_bytes=MAX_COLLECTION_BYTES, has_fractions=True)
    try:
        return _decode(value)
    except (ValueError, LinkError) as exc:
        raise ProofError(f"{what} is refused: {exc}") from exc


def _decode(value: object) -> Collection:
    members = _take_object("the JSON", value)
    if members.get("format") != FORMAT:
        raise ValueError(f"its 'format' is not {FORMAT!r}")
    if type(members.get("version")) is not int or members["version"] != VERSION:
        raise ValueError(
            f"its version is {str(members.get('version'))[:20]}, not {VERSION}: a newer kacheryfs may read it"
        )
    taken = _Members("the collection", members, {"format", "version"})
    previous = taken.take("previous", str)
    collection = Collection(
        name=taken.need("name", str),
        description=taken.take("description", str) or "",
        recordings=_decode_entries("recordings", taken.need("recordings", dict), _decode_recording),
        sortings=_decode_entries("sortings", taken.need("sortings", dict), _decode_sorting),
        previous=None if previous is None else _decode_link(previous),
    )
    taken.refuse_others()
    return collection


def _decode_entries(
    what: str, value: Mapping[str, object], decode: Callable[[str, _Members], _EntryT]
) -> dict[str, _EntryT]:
    return {key: _decode_entry(key, entry, decode) for key, entry in value.items()}


def _decode_entry(key: str, value: object, decode: Callable[[str, _Members], _EntryT]) -> _EntryT:
    taken = _Members(f"{key[:80]!r}", _take_object(repr(key[:80]), value))
    entry = decode(key, taken)
    taken.refuse_others()
    return entry


def _decode_recording(key: str, taken: _Members) -> RecordingEntry:
    return RecordingEntry(
        **_decode_common(key, taken),
        n_channels=taken.take("n_channels", int),
        duration_s=taken.take_float("duration_s"),
        probe=taken.take("probe", str),
    )


def _decode_sorting(key: str, taken: _Members) -> SortingEntry:
    return SortingEntry(
        **_decode_common(key, taken), recording_id=taken.need("recording", str), n_units=taken.take("n_units", int)
    )


def _decode_common(key: str, taken: _Members) -> dict[str, Any]:
    return {
        "id": key,
        "link": _decode_link(taken.need("link", str)),
        "label": taken.take("label", str) or "",
        "description": taken.take("description", str) or "",
        "tags": _decode_tags(key, taken.take("tags", list) or []),
        "sampling_frequency": taken.take_float("sampling_frequency"),
    }


def _decode_tags(key: str, tags: list[object]) -> tuple[str, ...]:
    texts = [tag for tag in tags if isinstance(tag, str)]
    if len(texts) != len(tags):
        raise ValueError(f"a tag of {key[:80]!r} is not text")
    return take_tags(texts)


def _decode_link(text: str) -> FileLink | TreeLink:
    if len(text) > MAX_JSON_LINK_CHARS:
        raise ValueError(f"a link has more than {MAX_JSON_LINK_CHARS} characters")
    return parse_link(text)


class _Members:
    """Takes the members of an object one by one, each with its type, and refuses what is left."""

    def __init__(self, what: str, members: Mapping[str, object], known: Iterable[str] = ()) -> None:
        self._what = what
        self._members = members
        self._known = set(known)

    def take(self, name: str, kind: type[_T]) -> _T | None:
        """Return a member, None where it isn't there; ValueError for another type (a bool is no number)."""
        self._known.add(name)
        value = self._members.get(name)
        if name not in self._members:
            return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{name!r} of {self._what} is not {_KINDS[kind]}")
        return value

    def need(self, name: str, kind: type[_T]) -> _T:
        value = self.take(name, kind)
        if value is None:
            raise ValueError(f"{self._what} has no {name!r}")
        return value

    def take_float(self, name: str) -> float | None:
        if isinstance(self._members.get(name), float):
            return self.take(name, float)
        whole = self.take(name, int)
        return None if whole is None else float(whole)

    def refuse_others(self) -> None:
        others = self._members.keys() - self._known
        if others:
            raise ValueError(f"{self._what} has the unknown key {min(others)[:40]!r}")


def _take_object(what: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not an object")
    return value
