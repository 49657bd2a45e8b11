"""The recordings and sortings of a collection as a user meets them: what is known of each, and a way to load it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..app.embedded import get_fetcher
from ..core.collection import RecordingEntry, SortingEntry
from ..core.lineage_fields import parse_lineage_json

if TYPE_CHECKING:
    from spikeinterface.core import BaseRecording, BaseSorting


@dataclass(frozen=True, slots=True, repr=False)
class _Item:
    entry: RecordingEntry | SortingEntry

    @property
    def id(self) -> str:
        return self.entry.id

    @property
    def link(self) -> str:
        return str(self.entry.link)

    @property
    def label(self) -> str:
        return self.entry.label

    @property
    def description(self) -> str:
        return self.entry.description

    @property
    def tags(self) -> tuple[str, ...]:
        return self.entry.tags

    @property
    def sampling_frequency(self) -> float | None:
        """Hz; None where it isn't known."""
        return self.entry.sampling_frequency

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, {self.link!r})"


@dataclass(frozen=True, slots=True, repr=False)
class CollectionRecording(_Item):
    """A recording of a collection."""

    entry: RecordingEntry
    _object: bytes | None = None
    """The lineage's object that the link names, where it came along."""

    @property
    def n_channels(self) -> int | None:
        return self.entry.n_channels

    @property
    def duration_s(self) -> float | None:
        """Seconds, of all segments together; None where it isn't known."""
        return self.entry.duration_s

    @property
    def probe(self) -> str | None:
        return self.entry.probe

    def load(self) -> BaseRecording:
        """Return the recording; its traces flow from the peers as they are read (``kfs.load_recording``)."""
        if self._object is not None:
            from .lineage import load_lineage_recording

            return load_lineage_recording(get_fetcher(), parse_lineage_json(self._object, what=self.id))
        from .loading import load_recording

        return load_recording(self.link)


@dataclass(frozen=True, slots=True, repr=False)
class CollectionSorting(_Item):
    """A sorting of a collection, and the id of its recording."""

    entry: SortingEntry
    _object: bytes | None = None
    """The lineage's object that the link names, where it came along."""
    _rate_hz: float | None = None
    """Of its recording, for firings that don't say theirs."""

    @property
    def recording_id(self) -> str:
        return self.entry.recording_id

    @property
    def n_units(self) -> int | None:
        return self.entry.n_units

    def load(self) -> BaseSorting:
        """Return the sorting, in memory (``kfs.load_sorting``)."""
        if self._object is not None:
            from .lineage_sortings import load_lineage_sorting

            value = parse_lineage_json(self._object, what=self.id)
            return load_lineage_sorting(get_fetcher(), value, sampling_frequency=self._rate_hz)
        from .sortings import load_sorting

        return load_sorting(self.link)
