"""``kfs.Collection``: a set of recordings and sortings behind one link, as a user makes, shares and loads it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import app
from ..app.embedded import get_fetcher
from ..config import load_settings
from ..core import collection as core
from ..core.collection_json import encode_collection
from ..core.link import FileLink, TreeLink
from ..core.model import Sha1
from ..errors import InputError
from ..store.collection_names import CollectionNames
from ..store.making import share_bytes
from .collection_entries import as_input_errors, make_recording_entry, make_sorting_entry
from .collection_items import CollectionRecording, CollectionSorting
from .collection_links import find_link
from .collection_reading import read_collection
from .collection_tables import rows_of, to_html

if TYPE_CHECKING:
    from spikeinterface.core import BaseRecording, BaseSorting
    from typing_extensions import Self

    from ..store.catalog import Catalog


class Collection:
    """A set of recordings and sortings behind one link.

    What was shared never changes: after recordings were added, ``share`` gives the link of a new version, which names
    the one before. Make one by ``Collection.create`` or ``Collection.load``.

    Attributes
    ----------
    name, description : str
        What it is called (the mount shows the name as a folder), and what it is about.
    link : str or None
        Of the version that was loaded or shared last; None before the first.
    previous : str or None
        The link of the version before that one.

    Examples
    --------
    >>> import kacheryfs as kfs
    >>> from spikeinterface.core import generate_ground_truth_recording
    >>> recording, sorting = generate_ground_truth_recording(num_channels=4, durations=[1.0], num_units=3)
    >>> collection = kfs.Collection.create("demo", "one second, made up")
    >>> collection.add_recording(recording, id="a", tags=["made"]).duration_s
    1.0
    >>> collection.add_sorting(sorting, recording_id="a", id="truth").n_units
    3
    >>> link = collection.share()
    >>> kfs.Collection.load(link).recordings["a"].load().get_num_channels()
    4
    """

    def __init__(
        self,
        value: core.Collection,
        *,
        shared: tuple[FileLink | TreeLink, core.Collection | None] | None = None,
        objects: Mapping[Sha1, bytes] | None = None,
    ) -> None:
        """Take ``create`` or ``load`` instead."""
        self._value = value
        self._shared = shared
        self._objects = dict(objects or {})

    @classmethod
    def create(cls, name: str, description: str = "") -> Self:
        """Begin a collection with nothing in it; nobody sees it before ``share``.

        ``name`` is one that a folder can have, else InputError; ``description`` may have several lines.
        """
        with as_input_errors():
            return cls(core.Collection(name, description))

    @classmethod
    def load(cls, link: str) -> Self:
        """Return the collection behind a link, fetched from peers or read from this machine's own share.

        Collections of the lineage and snapshots of its feeds (``feed.json``) are read, too; what of them can't be
        carried over is told by warnings in the log.

        Parameters
        ----------
        link : str
            A collection's link, or the name of one that was made on this machine.

        Returns
        -------
        Collection
            None of its recordings is loaded yet.

        Raises
        ------
        KacheryError
            ``LinkError`` for what is no link; ``InputError`` for a link to something else; ``NotFoundError``,
            ``UnreachableError`` or ``TimedOutError`` where no peer has it; ``ProofError`` for one that is damaged.

        Examples
        --------
        >>> import kacheryfs as kfs
        >>> link = kfs.Collection.create("locust").share()
        >>> kfs.Collection.load(link).name
        'locust'
        """
        parsed = find_link(link)
        found = read_collection(get_fetcher(), parsed)
        return cls(found.value, shared=(parsed, None if found.is_old else found.value), objects=found.objects)

    @property
    def name(self) -> str:
        return self._value.name

    @property
    def description(self) -> str:
        return self._value.description

    @property
    def value(self) -> core.Collection:
        """The collection as a value that never changes."""
        return self._value

    @property
    def link(self) -> str | None:
        return str(self._shared[0]) if self._shared else None

    @property
    def previous(self) -> str | None:
        return str(self._value.previous) if self._value.previous else None

    @property
    def recordings(self) -> Mapping[str, CollectionRecording]:
        """The recordings by id, sorted; ``recordings[id].load()`` loads one."""
        return {
            key: CollectionRecording(entry, self._objects.get(entry.link.sha1))
            for key, entry in self._value.recordings.items()
        }

    @property
    def sortings(self) -> Mapping[str, CollectionSorting]:
        """The sortings by id, sorted; ``sortings[id].load()`` loads one."""
        return {
            key: CollectionSorting(
                entry,
                self._objects.get(entry.link.sha1),
                self._value.recordings[entry.recording_id].sampling_frequency,
            )
            for key, entry in self._value.sortings.items()
        }

    def add_recording(
        self,
        recording: BaseRecording | str,
        *,
        id: str | None = None,
        label: str = "",
        description: str = "",
        tags: Iterable[str] = (),
        replace: bool = False,
    ) -> CollectionRecording:
        """Add a recording, by its link or itself: then it is shared first, as ``kfs.share_recording`` does.

        Parameters
        ----------
        recording : spikeinterface.core.BaseRecording or str
            Sampling rate (Hz), channels, duration (s) and probe are read from it.
        id : str, optional
            The name of its folder in the mount, unique in the collection; the link's name where none is given.
        label, description : str, optional
            What people call it, and what it is about.
        tags : iterable of str, optional
            Words to find it by.
        replace : bool, optional
            Take the place of the recording with this id.

        Returns
        -------
        CollectionRecording
            The new entry; ``share`` makes it part of a version.

        Raises
        ------
        KacheryError
            ``InputError`` for an id that is taken or names no folder, or a link to something else; whatever sharing or
            reading the link raises.
        """
        if not replace:
            self._value.refuse_taken(recording_id=id)  # before anything is hashed
        entry = make_recording_entry(recording, id, (label, description, tags))
        self._value = self._value.with_recording(entry, is_replacing=replace)
        return self.recordings[entry.id]

    def add_sorting(
        self,
        sorting: BaseSorting | str,
        *,
        recording_id: str,
        id: str | None = None,
        label: str = "",
        description: str = "",
        tags: Iterable[str] = (),
        replace: bool = False,
    ) -> CollectionSorting:
        """Add a sorting, by its link or itself: then it is shared first, as ``kfs.share_sorting`` does.

        ``recording_id`` is the id of the recording that was sorted. Everything else is as for ``add_recording``;
        sampling rate (Hz) and the number of units are read from the sorting.
        """
        self._value.require_recording(recording_id)
        if not replace:
            self._value.refuse_taken(sorting_id=id)
        entry = make_sorting_entry(sorting, recording_id, id, (label, description, tags))
        self._value = self._value.with_sorting(entry, is_replacing=replace)
        return self.sortings[entry.id]

    def remove_recording(self, recording_id: str) -> None:
        """Take a recording out; InputError while there are sortings of it."""
        self._value = self._value.without_recording(recording_id)

    def remove_sorting(self, sorting_id: str) -> None:
        """Take a sorting out."""
        self._value = self._value.without_sorting(sorting_id)

    def renamed(self, name: str, description: str | None = None) -> Self:
        """Return a collection with the same content and another name; its first version names this one."""
        with as_input_errors():
            about = self.description if description is None else description
            value = replace(self._value, name=name, description=about)
        return type(self)(value, shared=self._shared, objects=self._objects)

    def share(self, *, keep_name: bool = True) -> str:
        """Offer this version to peers and return its link.

        What was changed since the collection was loaded or shared makes a new version, which names the one before; what
        was not changed gives the same link again. The same content gives the same link on every machine.

        Parameters
        ----------
        keep_name : bool, optional
            Let ``Collection.load(name)`` and `kacheryfs collection` find this version by its name, on this machine.

        Returns
        -------
        str
            The link, ``sha1://H/NAME.json``. ``kacheryfs serve`` lets peers read it.

        Raises
        ------
        KacheryError
            ``CatalogError`` where the catalog can't be written; ``InputError`` for more than readers take (16 MiB).

        Examples
        --------
        >>> import kacheryfs as kfs
        >>> collection = kfs.Collection.create("locust")
        >>> collection.share() == collection.share()
        True
        """
        if self._shared is None or self._shared[1] != self._value:
            self._value = self._value.as_next_of(self._shared[0] if self._shared else None)
        data = encode_collection(self._value)
        settings = load_settings({}, os.environ)
        with app.open_catalog(settings) as catalog:
            self._share_objects(catalog)
            link = share_bytes(catalog, data, f"{self.name}.json")
        if keep_name:
            CollectionNames(settings.data_dir).put(self.name, link)
        self._shared = (link, self._value)
        return str(link)

    def _share_objects(self, catalog: Catalog) -> None:
        """Offer the objects of an old collection as the small files that its entries' links name now."""
        for entry in (*self._value.recordings.values(), *self._value.sortings.values()):
            if entry.link.sha1 in self._objects:
                share_bytes(catalog, self._objects[entry.link.sha1], entry.link.label)

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame`` with a row for each recording and sorting; rates in Hz, durations in s."""
        try:
            import pandas  # type: ignore[import-untyped]
        except ImportError as exc:
            raise InputError("a table needs pandas: pip install pandas") from exc
        return pandas.DataFrame(rows_of(self._value))

    def __repr__(self) -> str:
        counts = f"recordings: {len(self._value.recordings)}, sortings: {len(self._value.sortings)}"
        return f"Collection({self.name!r}, {counts}, {self.link or 'not shared yet'})"

    def _repr_html_(self) -> str:
        return to_html(self._value, self.link)
