"""The list of opened collections, which the user keeps: names and links, in a small JSON file."""

from __future__ import annotations

import json
from pathlib import Path

from ..core.link import FileLink
from ..core.opened import OpenedCollection, parse_collection_link
from ..core.strict_json import parse_strict_json
from ..errors import ConfigError, InputError, ProofError
from ..kept import MAX_KEPT_BYTES, KeptFile

FILE_NAME = "collections.json"
FORMAT = "kacheryfs-opened"
VERSION = 1


class CollectionList:
    """``{"collections": {NAME: LINK}, "format": …, "version": 1}``; the user may edit it as well.

    Methods block for a file of a few lines. Any number of processes may change it at once.
    """

    def __init__(self, folder: Path) -> None:
        """Keep the list in ``folder``/collections.json; nothing is made before something is opened."""
        self._file = KeptFile(folder / FILE_NAME, "the list of opened collections")

    @property
    def path(self) -> Path:
        return self._file.path

    def links(self) -> dict[str, FileLink]:
        """Return the links by name, in the order of names; ConfigError says what is wrong with the file."""
        text = self._file.read()
        try:
            return _parse(text) if text.strip() else {}
        except (InputError, ProofError, ValueError) as exc:
            raise ConfigError(f"{self.path}: {exc}; mend or remove it") from exc

    def open(self, opened: OpenedCollection, *, replacing: FileLink | None = None) -> bool:
        """Keep a collection, in place of ``replacing``; False where it was kept already.

        InputError where its name stands for another link than these two.
        """
        with self._file.locked():
            links = self.links()
            found = links.get(opened.name)
            if found == opened.link:
                return False
            if found is not None and found != replacing:
                raise InputError(why_taken(opened.name, found))
            self._write(links | {opened.name: opened.link})
        return True

    def close(self, name: str) -> FileLink:
        """Take a collection out of the list; returns its link, InputError where no such one is open."""
        with self._file.locked():
            links = self.links()
            link = links.pop(name, None)
            if link is None:
                raise InputError(_why_not_open(name, list(links)))
            self._write(links)
        return link

    def _write(self, links: dict[str, FileLink]) -> None:
        names = {name: str(link) for name, link in links.items()}
        text = json.dumps({"format": FORMAT, "version": VERSION, "collections": names}, indent=2, sort_keys=True) + "\n"
        if len(text) > MAX_KEPT_BYTES:
            raise InputError("too many collections are open: kacheryfs collection close NAME")
        self._file.write(text)


def why_taken(name: str, link: FileLink) -> str:
    """Say that a name stands for something else, and what to do."""
    return (
        f"{name} is open already ({link}), and this is no new version of it: choose --name OTHER, or first "
        f"kacheryfs collection close {name}"
    )


def _why_not_open(name: str, names: list[str]) -> str:
    known = f"open: {', '.join(names[:10])}{' …' if len(names) > 10 else ''}" if names else "none is"
    return f"no collection is open under the name {name[:80]!r} ({known})"


def _parse(text: str) -> dict[str, FileLink]:
    value = parse_strict_json(text.encode(), what="the list of opened collections", max_bytes=MAX_KEPT_BYTES)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError("this is no list of opened collections")
    if value.get("version") != VERSION:
        raise ValueError("written by another version of kacheryfs")
    names = value.get("collections")
    if not isinstance(names, dict) or not all(isinstance(link, str) for link in names.values()):
        raise ValueError("'collections' is not an object of links by name")
    opened = [OpenedCollection(name, parse_collection_link(link)) for name, link in names.items()]
    return {one.name: one.link for one in sorted(opened, key=lambda one: one.name)}
