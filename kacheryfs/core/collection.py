"""Collections: a named set of recordings and sortings by their links, as a value that never changes.

A collection's link is a ``FileLink`` to its canonical JSON (``collection_json``): one file, so that `curl`, `kacheryfs
cat` and a mount show it as it is, and one block as a rule, so that its SHA-1 proves it. Ids are names of folders (the
mount shows them) and unique; nothing in it tells of the machine, the time or the order in which it was made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..errors import InputError
from .link import FileLink, TreeLink
from .names import why_not_a_name

if TYPE_CHECKING:
    from typing_extensions import Self

MAX_ID_BYTES = 200
"""With a digest before it, or an ending behind it, an id is still a file's name."""
MAX_LABEL_CHARS = 1000
MAX_DESCRIPTION_CHARS = 64 * 1024
MAX_TAGS = 100
MAX_COUNT = 1_000_000_000
MAX_DURATION_S = 1e12

UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What can't be shown on one line as it is: controls, line breaks, reversals of direction, halves of a character.

Listed rather than asked of ``unicodedata``, whose answers change with Python's version.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    id: str
    link: FileLink | TreeLink
    label: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    """Sorted, each once."""
    sampling_frequency: float | None = None
    """Hz."""

    def __post_init__(self) -> None:
        _check_id(self.id)
        _check_line(f"the label of {self.id!r}", self.label)
        _check_description(f"the description of {self.id!r}", self.description)
        _check_tags(self.id, self.tags)
        if self.sampling_frequency is not None and not 0 < self.sampling_frequency <= MAX_COUNT:
            raise ValueError(f"the sampling frequency of {self.id!r} is {self.sampling_frequency!r} Hz")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingEntry(_Entry):
    """A recording of a collection: its link, what it is called, and what it holds; None for what isn't known."""

    n_channels: int | None = None
    duration_s: float | None = None
    """Of all segments together."""
    probe: str | None = None

    def __post_init__(self) -> None:
        _Entry.__post_init__(self)
        _check_count(f"the number of channels of {self.id!r}", self.n_channels)
        if self.duration_s is not None and not 0 <= self.duration_s <= MAX_DURATION_S:
            raise ValueError(f"the duration of {self.id!r} is {self.duration_s!r} s")
        if self.probe is not None:
            _check_line(f"the probe of {self.id!r}", self.probe)


@dataclass(frozen=True, slots=True, kw_only=True)
class SortingEntry(_Entry):
    """A sorting of a collection, with the id of the recording that was sorted."""

    recording_id: str
    n_units: int | None = None

    def __post_init__(self) -> None:
        _Entry.__post_init__(self)
        _check_id(self.recording_id)
        _check_count(f"the number of units of {self.id!r}", self.n_units)


@dataclass(frozen=True, slots=True)
class Collection:
    """Recordings and sortings by id, each sorted; every sorting's recording is there.

    ``previous`` is the link of the version before, None for a first one. ValueError for what a collection can't be;
    the methods that give new values raise InputError.
    """

    name: str
    description: str = ""
    recordings: Mapping[str, RecordingEntry] = field(default_factory=dict)
    sortings: Mapping[str, SortingEntry] = field(default_factory=dict)
    previous: FileLink | TreeLink | None = None

    def __post_init__(self) -> None:
        _check_id(self.name)
        _check_description("the description of the collection", self.description)
        entries: list[tuple[str, _Entry]] = [*self.recordings.items(), *self.sortings.items()]
        for key, entry in entries:
            if key != entry.id:
                raise ValueError(f"{entry.id!r} stands under the id {key!r}")
        for sorting in self.sortings.values():
            if sorting.recording_id not in self.recordings:
                raise ValueError(
                    f"the sorting {sorting.id!r} is of {sorting.recording_id!r}, which is no recording here"
                )
        # A plain dict like a tree's: whoever is given one doesn't change it.
        object.__setattr__(self, "recordings", dict(sorted(self.recordings.items())))
        object.__setattr__(self, "sortings", dict(sorted(self.sortings.items())))

    def with_recording(self, entry: RecordingEntry, *, is_replacing: bool = False) -> Self:
        """Return the collection with one more recording, or in place of the one with its id."""
        if not is_replacing:
            self.refuse_taken(recording_id=entry.id)
        return replace(self, recordings={**self.recordings, entry.id: entry})

    def with_sorting(self, entry: SortingEntry, *, is_replacing: bool = False) -> Self:
        """Return the collection with one more sorting, or in place of the one with its id."""
        if not is_replacing:
            self.refuse_taken(sorting_id=entry.id)
        self.require_recording(entry.recording_id)
        return replace(self, sortings={**self.sortings, entry.id: entry})

    def without_recording(self, recording_id: str) -> Self:
        """Return the collection without a recording; InputError while it has sortings of it."""
        self.require_recording(recording_id)
        left = [sorting.id for sorting in self.sortings.values() if sorting.recording_id == recording_id]
        if left:
            raise InputError(f"{recording_id!r} has sortings ({', '.join(left[:5])}): remove them first")
        return replace(self, recordings={key: entry for key, entry in self.recordings.items() if key != recording_id})

    def without_sorting(self, sorting_id: str) -> Self:
        """Return the collection without a sorting."""
        _check_is_text(sorting_id)
        if sorting_id not in self.sortings:
            raise InputError(f"{self.name} has no sorting {sorting_id!r}")
        return replace(self, sortings={key: entry for key, entry in self.sortings.items() if key != sorting_id})

    def refuse_taken(self, *, recording_id: str | None = None, sorting_id: str | None = None) -> None:
        """Raise InputError for an id that something has already."""
        for found in (recording_id, sorting_id):
            if found is not None:
                _check_is_text(found)
        if recording_id in self.recordings:
            raise InputError(f"{self.name} has a recording {recording_id!r} already: choose another id, or replace it")
        if sorting_id in self.sortings:
            raise InputError(f"{self.name} has a sorting {sorting_id!r} already: choose another id, or replace it")

    def require_recording(self, recording_id: str) -> None:
        """Raise InputError for an id that no recording has."""
        _check_is_text(recording_id)
        if recording_id not in self.recordings:
            raise InputError(f"{self.name} has no recording {recording_id[:80]!r}")

    def as_next_of(self, link: FileLink | TreeLink | None) -> Self:
        """Return the collection as the version that follows the one at ``link``."""
        return replace(self, previous=link)


def why_not_an_id(text: str) -> str | None:
    """Return why ``text`` can't be an id or a collection's name, None where it can: it names a folder of the mount."""
    reason = why_not_a_name(text) if isinstance(text, str) else "is not text"
    if reason:
        return reason
    if UNSHOWABLE.search(text):
        return "holds a control character or half of one"
    if len(text.encode()) > MAX_ID_BYTES:
        return f"has more than {MAX_ID_BYTES} bytes"
    return "begins or ends with a space" if text != text.strip() else None


def take_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags as an entry holds them: sorted, each once."""
    return tuple(sorted(set(tags)))


def _check_id(text: str) -> None:
    reason = why_not_an_id(text)
    if reason:
        raise ValueError(f"the id or name {str(text)[:80]!r} {reason}")


def _check_is_text(found: object) -> None:
    if not isinstance(found, str):
        raise InputError(f"an id is text, not {str(found)[:80]!r}")


def _check_line(what: str, text: str) -> None:
    if not isinstance(text, str):
        raise ValueError(f"{what} is not text")
    if len(text) > MAX_LABEL_CHARS:
        raise ValueError(f"{what} has more than {MAX_LABEL_CHARS} characters")
    if UNSHOWABLE.search(text):
        raise ValueError(f"{what} holds a line break, a control character or half of one")


def _check_description(what: str, text: str) -> None:
    if not isinstance(text, str):
        raise ValueError(f"{what} is not text")
    if len(text) > MAX_DESCRIPTION_CHARS:
        raise ValueError(f"{what} has more than {MAX_DESCRIPTION_CHARS} characters")
    if UNSHOWABLE.search(text.replace("\n", "").replace("\t", "")):
        raise ValueError(f"{what} holds a control character or half of one")


def _check_tags(entry_id: str, tags: tuple[str, ...]) -> None:
    if tags != take_tags(tags):
        raise ValueError(f"the tags of {entry_id!r} are not sorted, or one is given twice")
    if len(tags) > MAX_TAGS or "" in tags:
        raise ValueError(f"{entry_id!r} has an empty tag, or more than {MAX_TAGS}")
    for tag in tags:
        _check_line(f"a tag of {entry_id!r}", tag)


def _check_count(what: str, n: int | None) -> None:
    if n is not None and (type(n) is not int or not 0 <= n <= MAX_COUNT):
        raise ValueError(f"{what} is {n!r}")
