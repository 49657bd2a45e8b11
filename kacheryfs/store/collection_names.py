"""The collections that are made on this machine: a small file with the link of each one's newest version by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..core.collection import why_not_an_id
from ..core.link import FileLink, TreeLink, parse_link
from ..core.strict_json import parse_strict_json
from ..errors import ConfigError, InputError, LinkError, ProofError
from ..kept import MAX_KEPT_BYTES, KeptFile

FILE_NAME = "collection-names.json"
VERSION = 1


class CollectionNames:
    """Names of this machine for collections; any number of processes may change them at once.

    Methods block for a file of a few lines. ConfigError: it can't be read or written.
    """

    def __init__(self, folder: Path) -> None:
        """Keep the names in ``folder``/collection-names.json; nothing is made before something is named."""
        self._file = KeptFile(folder / FILE_NAME, "the list of collections")

    @property
    def path(self) -> Path:
        return self._file.path

    def all(self) -> dict[str, FileLink | TreeLink]:
        """Return the link of each collection by its name, sorted."""
        text = self._file.read()
        try:
            return dict(sorted(_decode(text).items())) if text else {}
        except (ProofError, LinkError, ValueError) as exc:
            raise ConfigError(f"{self.path}: the list of collections can't be read ({exc}): mend or remove it") from exc

    def find(self, name: str) -> FileLink | TreeLink | None:
        """Return the link of the newest version, None for a name that nothing has."""
        return self.all().get(name)

    def put(self, name: str, link: FileLink | TreeLink) -> None:
        """Let ``name`` stand for ``link`` from now on, whatever it stood for."""
        _check_name(name)
        with self._file.locked():
            self._write({**self.all(), name: link})

    def advance(self, name: str, old: FileLink | TreeLink | None, link: FileLink | TreeLink) -> None:
        """Let ``name``, which stands for ``old`` or for nothing, stand for ``link`` from now on.

        InputError where it stands for something else by now: another process was quicker.
        """
        _check_name(name)
        with self._file.locked():
            names = self.all()
            if (current := names.get(name)) not in (None, old, link):
                raise InputError(f"{name} is another collection here by now: {current}")
            self._write({**names, name: link})

    def remove(self, name: str) -> bool:
        """Forget a name; False where nothing had it. What it stood for stays shared."""
        with self._file.locked():
            names = self.all()
            if name not in names:
                return False
            self._write({key: link for key, link in names.items() if key != name})
        return True

    def _write(self, names: Mapping[str, FileLink | TreeLink]) -> None:
        links = {name: str(link) for name, link in names.items()}
        text = json.dumps({"version": VERSION, "collections": links}, indent=1, sort_keys=True) + "\n"
        if len(text) > MAX_KEPT_BYTES:
            raise InputError(f"too many collections have a name on this machine: take some out of {self.path}")
        self._file.write(text)


def _check_name(name: str) -> None:
    reason = why_not_an_id(name)
    if reason:
        raise InputError(f"a collection can't be called {name[:80]!r}: the name {reason}")


def _decode(text: str) -> dict[str, FileLink | TreeLink]:
    value = parse_strict_json(text.encode(), what="the file", max_bytes=MAX_KEPT_BYTES)
    links = value.get("collections") if isinstance(value, dict) and value.get("version") == VERSION else None
    if not isinstance(links, dict) or not all(isinstance(link, str) for link in links.values()):
        raise ValueError(f"it is not of version {VERSION}")
    return {name: parse_link(link) for name, link in links.items()}
