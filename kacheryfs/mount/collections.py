"""Opened collections: the links behind the names in ``collections/``, and what stands in them once they are loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import trio

from ..core.collection import Collection
from ..core.collection_json import MAX_COLLECTION_BYTES, decode_collection
from ..core.link import FileLink, TreeLink
from ..core.model import Sha1
from ..core.request import FileRequest
from ..core.tree import FileEntry
from ..errors import KacheryError, ProofError
from .asking import Asker
from .engine import Engine
from .names import COLLECTION_JSON, FileName, Part
from .nodes import CollectionDirectory, FileFolder, ShownCollection, UnloadedTree, file_of_entry


class OpenedCollections:
    """The collections that are shown, by name; one that was loaded is kept for as long as it is open."""

    def __init__(self) -> None:
        self._links: Mapping[str, FileLink] = {}
        self._shown: dict[FileLink, ShownCollection] = {}  # Invariant: only of links that are open

    def replace(self, links: Mapping[str, FileLink]) -> None:
        """Show these instead; what was loaded of those that stay is kept."""
        self._links = dict(sorted(links.items()))
        self._shown = {link: shown for link, shown in self._shown.items() if link in self._links.values()}

    @property
    def links(self) -> Mapping[str, FileLink]:
        """The links by name, in the order of names."""
        return self._links

    def find(self, name: str) -> CollectionDirectory | None:
        link = self._links.get(name)
        return CollectionDirectory(link, self._shown.get(link)) if link else None

    async def load(self, link: FileLink, asker: Asker) -> ShownCollection:
        """Return what stands in a collection, asking for its JSON the first time."""
        if link in self._shown:
            return self._shown[link]
        try:
            collection, size_bytes = await read_collection(asker, link)
        except KacheryError as exc:
            asker.note_failure(link.sha1, exc)
            raise
        shown = show_collection(collection, FileEntry(size_bytes, link.sha1, link.manifest), link.label)
        if link in self._links.values():  # it may have been closed meanwhile
            shown = self._shown.setdefault(link, shown)
        return shown


async def read_collection(engine: Engine, link: FileLink) -> tuple[Collection, int]:
    """Return the collection behind a link and the size of its JSON, which is proven by its SHA-1."""
    located = await engine.locate(FileRequest(link.sha1, link.manifest), allow_claims=True)
    if located.size_bytes > MAX_COLLECTION_BYTES:
        raise ProofError(f"sha1 {link.sha1.short}: {located.size_bytes} bytes are too many for a collection")
    reader = located.open()
    try:
        data = bytes(await reader.read(0, located.size_bytes))
    finally:
        reader.close()
    return await trio.to_thread.run_sync(_decode, data, link.sha1), len(data)


def _decode(data: bytes, sha1: Sha1) -> Collection:
    if Sha1.of(data) != sha1:
        raise ProofError(f"sha1 {sha1.short}: what peers claim it to be has another SHA-1")
    try:
        return decode_collection(data)
    except ProofError as exc:
        raise ProofError(f"sha1 {sha1.short}: {exc}") from exc


def show_collection(collection: Collection, json: FileEntry, label: str) -> ShownCollection:
    """Return what stands in a collection's directory; nothing is asked for."""
    links: dict[Part, Iterable[tuple[str, FileLink | TreeLink]]] = {
        Part.RECORDINGS: ((id_, entry.link) for id_, entry in collection.recordings.items()),
        Part.SORTINGS: ((id_, entry.link) for id_, entry in collection.sortings.items()),
    }
    parts = {part: {id_: _show_entry(link) for id_, link in entries} for part, entries in links.items()}
    return ShownCollection(file_of_entry(json, label or COLLECTION_JSON), parts)


def _show_entry(link: FileLink | TreeLink) -> UnloadedTree | FileFolder:
    if isinstance(link, TreeLink):
        return UnloadedTree(link.sha1, link.label, link.path)
    return FileFolder(link, FileName(FileRequest(link.sha1, link.manifest), link.label or link.sha1.hex))
