"""How peers are found: one small Protocol, and the list that the user keeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ..core.model import Sha1
from ..errors import ConfigError, InputError
from ..kept import KeptFile
from .address import parse_peer_url

FILE_NAME = "peers"


class Discovery(Protocol):
    """A way to find peers. The local network, a DHT or a relay would each be a module beside this one."""

    async def find_peers(self, sha1: Sha1 | None) -> Sequence[str]:
        """Return URLs of peers to ask, for one file where the way can tell, best first; empty for none.

        Bounded in time by the way itself; failing is finding none.
        """


class PeerList:
    """The static list: a text file of one URL a line, with ``#`` comments, which the user may edit as well.

    Methods block for a file of a few lines. Any number of processes may change it at once.
    """

    def __init__(self, folder: Path) -> None:
        """Keep the list in ``folder``/peers; nothing is made before something is added."""
        self._file = KeptFile(folder / FILE_NAME, "the list of peers")

    @property
    def path(self) -> Path:
        return self._file.path

    async def find_peers(self, sha1: Sha1 | None) -> Sequence[str]:
        return self.urls()

    def urls(self) -> list[str]:
        """Return the listed URLs in order, each once; ConfigError names a line that is none."""
        return list(dict.fromkeys(url for url in map(self._url_of, enumerate(self._lines(), 1)) if url))

    def add(self, url: str) -> bool:
        """Add a peer; False where it is listed already, InputError where it is no URL of one."""
        address = str(parse_peer_url(url))
        with self._file.locked():
            if address in self.urls():
                return False
            self._write([*self._lines(), address])
        return True

    def remove(self, url: str) -> bool:
        """Remove a peer, however its URL is written; False where it isn't listed."""
        address = str(parse_peer_url(url))
        with self._file.locked():
            lines = self._lines()
            kept = [line for number, line in enumerate(lines, 1) if self._url_of((number, line)) != address]
            if len(kept) == len(lines):
                return False
            self._write(kept)
        return True

    def _lines(self) -> list[str]:
        return self._file.read().splitlines()

    def _write(self, lines: list[str]) -> None:
        self._file.write("".join(line + "\n" for line in lines))

    def _url_of(self, numbered: tuple[int, str]) -> str | None:
        number, line = numbered
        text = line.split("#", 1)[0].strip()
        try:
            return str(parse_peer_url(text)) if text else None
        except InputError as exc:
            raise ConfigError(f"{self.path}, line {number}: {exc}") from exc
