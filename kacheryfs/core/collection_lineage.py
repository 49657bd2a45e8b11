"""From an old collection to one of ours: ids become names of folders, embedded objects become files of their own.

An entry's object that stands in the old file itself is given a link by its content (``objects``); whoever shares the
new collection shares these small files, too. What a collection can't hold is told in ``warnings``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import ProofError
from .collection import (
    MAX_DESCRIPTION_CHARS,
    MAX_LABEL_CHARS,
    MAX_TAGS,
    UNSHOWABLE,
    Collection,
    RecordingEntry,
    SortingEntry,
    take_tags,
    why_not_an_id,
)
from .lineage_collection import OldCollection, OldRecording, OldSorting
from .link import FileLink, TreeLink
from .model import Sha1

_NOT_IN_AN_ID = re.compile(f"[/]|{UNSHOWABLE.pattern}")
MAX_ID_CHARS = 60
"""Of an id that had to be changed: 240 bytes at most, so that a number fits behind it."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A collection, the objects that some of its links name, and a line for each thing that is not carried over."""

    collection: Collection
    objects: Mapping[Sha1, bytes]
    warnings: tuple[str, ...]


def convert_old_collection(old: OldCollection, name: str) -> Converted:
    """Make a collection called ``name`` of an old one; ProofError where that can't be."""
    conversion = _Conversion(warnings=list(old.warnings))
    try:
        for recording in old.recordings:
            conversion.add_recording(recording)
        for sorting in old.sortings:
            conversion.add_sorting(sorting)
        collection = Collection(as_id(name), "", conversion.recordings, conversion.sortings)
    except ValueError as exc:
        raise ProofError(f"an old collection is refused: {exc}") from exc
    return Converted(collection, conversion.objects, tuple(conversion.warnings))


def as_id(text: str) -> str:
    """Return ``text`` where it can be an id, else something like it."""
    if why_not_an_id(text) is None:
        return text
    shown = _NOT_IN_AN_ID.sub("_", text)[:MAX_ID_CHARS].strip()
    return shown if why_not_an_id(shown) is None else f"_{shown}"


@dataclass(slots=True)
class _Ids:
    """Gives each id once; a number tells ids apart that have become alike."""

    taken: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)

    def take(self, text: str) -> str:
        found = base = as_id(text)
        while found in self.taken:
            self.counts[base] = self.counts.get(base, 1) + 1
            found = f"{base[:MAX_ID_CHARS]}-{self.counts[base]}"
        self.taken.add(found)
        return found


@dataclass(slots=True)
class _Conversion:
    warnings: list[str]
    recordings: dict[str, RecordingEntry] = field(default_factory=dict)
    sortings: dict[str, SortingEntry] = field(default_factory=dict)
    objects: dict[Sha1, bytes] = field(default_factory=dict)
    new_ids: dict[str, str] = field(default_factory=dict)
    """Of recordings, by the old ones."""
    recording_ids: _Ids = field(default_factory=_Ids)
    sorting_ids: _Ids = field(default_factory=_Ids)

    def add_recording(self, old: OldRecording) -> None:
        link = self._link(old.recording_id, old.object_json, old.link)
        if link is None:
            self.warnings.append(f"recording {old.recording_id[:80]!r} is left out: it has no link and no object")
            return
        info = old.info
        new_id = self.new_ids[old.recording_id] = self.recording_ids.take(old.recording_id)
        known = None not in (info.n_frames, info.sampling_frequency_hz)
        self.recordings[new_id] = RecordingEntry(
            id=new_id,
            link=link,
            label=_line(old.label),
            description=_text(old.description),
            tags=_tags(old.tags),
            sampling_frequency=info.sampling_frequency_hz,
            n_channels=info.n_channels,
            duration_s=(info.n_frames or 0) / (info.sampling_frequency_hz or 1) if known else None,
        )

    def add_sorting(self, old: OldSorting) -> None:
        if old.recording_id not in self.new_ids and (old.recording_link or old.recording_object_json):
            self.add_recording(
                OldRecording(old.recording_id, "", old.recording_link, old.recording_object_json)
            )  # deleted from the list, but the sorting says itself what it is of
        link = self._link(old.sorting_id, old.object_json, old.link)
        if link is None or old.recording_id not in self.new_ids:
            lack = "it has no link and no object" if link is None else "its recording is unknown"
            self.warnings.append(f"sorting {old.sorting_id[:80]!r} is left out: {lack}")
            return
        self._warn_of_decisions(old)
        new_id = self.sorting_ids.take(old.sorting_id)
        self.sortings[new_id] = SortingEntry(
            id=new_id,
            link=link,
            label=_line(old.label),
            description=_text(old.description),
            tags=_tags(old.tags),
            recording_id=self.new_ids[old.recording_id],
        )

    def _warn_of_decisions(self, old: OldSorting) -> None:
        parts = {
            "labels of units": old.curation.labels,
            "merged units": old.curation.merge_groups,
            "metrics": old.metrics_link,
        }
        lost = [what for what, value in parts.items() if value]
        if lost:
            self.warnings.append(f"sorting {old.sorting_id[:80]!r}: not carried over: {', '.join(lost)}")

    def _link(
        self, old_id: str, object_json: str | None, link: FileLink | TreeLink | None
    ) -> FileLink | TreeLink | None:
        """Return the link of an entry; an object that came along is there even if nobody has the link's file."""
        if object_json is None:
            return link
        data = object_json.encode("ascii")
        sha1 = Sha1.of(data)
        self.objects[sha1] = data
        return FileLink(sha1, as_id(f"{old_id[:MAX_ID_CHARS]}.json"))


def _line(text: str) -> str:
    return UNSHOWABLE.sub(" ", text)[:MAX_LABEL_CHARS]


def _text(text: str) -> str:
    return "\n".join(UNSHOWABLE.sub(" ", line) for line in text.split("\n"))[:MAX_DESCRIPTION_CHARS]


def _tags(tags: Iterable[str]) -> tuple[str, ...]:
    return take_tags([line for line in map(_line, tags) if line])[:MAX_TAGS]
