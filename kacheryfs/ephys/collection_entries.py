"""Makes the entries of a collection: from a link, or from an object that is shared first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..app.embedded import get_fetcher
from ..core.collection import RecordingEntry, SortingEntry, take_tags
from ..core.collection_lineage import as_id
from ..core.link import FileLink, TreeLink, parse_link
from ..errors import InputError
from .collection_summaries import summarize_recording, summarize_sorting

Words = tuple[str, str, Iterable[str]]
"""An entry's label, description and tags."""


def make_recording_entry(recording: object, entry_id: str | None, words: Words) -> RecordingEntry:
    """Return the entry of a recording or of a recording's link; whatever sharing or reading it raises."""
    if isinstance(recording, str):
        link = parse_link(recording)
    else:
        from .sharing import share_recording

        link = parse_link(share_recording(recording, label=entry_id))
    common = _common(link, entry_id, words)
    summary = summarize_recording(get_fetcher(), link)
    with as_input_errors():
        return RecordingEntry(
            **common,
            sampling_frequency=summary.sampling_frequency,
            n_channels=summary.n_channels,
            duration_s=summary.duration_s,
            probe=summary.probe,
        )


def make_sorting_entry(sorting: object, recording_id: str, entry_id: str | None, words: Words) -> SortingEntry:
    """Return the entry of a sorting or of a sorting's link; whatever sharing or reading it raises."""
    if isinstance(sorting, str):
        link = parse_link(sorting)
    else:
        from .sortings import share_sorting

        link = parse_link(share_sorting(sorting, label=entry_id))
    common = _common(link, entry_id, words)
    summary = summarize_sorting(get_fetcher(), link)
    with as_input_errors():
        return SortingEntry(
            **common,
            sampling_frequency=summary.sampling_frequency,
            recording_id=recording_id,
            n_units=summary.n_units,
        )


def _common(link: FileLink | TreeLink, entry_id: str | None, words: Words) -> dict[str, Any]:
    label, description, tags = words
    found = _id_of(link) if entry_id is None else entry_id
    return {"id": found, "link": link, "label": label, "description": description, "tags": take_tags(_list(tags))}


def _list(tags: object) -> list[str]:
    found = list(tags) if isinstance(tags, Iterable) and not isinstance(tags, str) else None
    if found is None or not all(isinstance(tag, str) for tag in found):
        raise InputError(f"the tags are a list of words, not {str(tags)[:80]!r}")
    return found


def _id_of(link: FileLink | TreeLink) -> str:
    name = link.path[-1] if isinstance(link, TreeLink) and link.path else link.label
    if not name:
        raise InputError(f"{link} carries no name: give the entry an id")
    return as_id(name)


@contextmanager
def as_input_errors() -> Iterator[None]:
    """Turn what a collection can't hold, as its value says it, into an error of the caller's input."""
    try:
        yield
    except ValueError as exc:
        raise InputError(str(exc)) from exc
