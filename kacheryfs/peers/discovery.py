"""How peers are found: one small Protocol, and the list that the user keeps."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ..core.model import Sha1
from ..errors import ConfigError, InputError
from .address import parse_peer_url

FILE_NAME = "peers"
_MAX_FILE_BYTES = 1 << 20


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
        self.path = folder / FILE_NAME

    async def find_peers(self, sha1: Sha1 | None) -> Sequence[str]:
        return self.urls()

    def urls(self) -> list[str]:
        """Return the listed URLs in order, each once; ConfigError names a line that is none."""
        return list(dict.fromkeys(url for url in map(self._url_of, enumerate(self._lines(), 1)) if url))

    def add(self, url: str) -> bool:
        """Add a peer; False where it is listed already, InputError where it is no URL of one."""
        address = str(parse_peer_url(url))
        with self._locked():
            if address in self.urls():
                return False
            self._write([*self._lines(), address])
        return True

    def remove(self, url: str) -> bool:
        """Remove a peer, however its URL is written; False where it isn't listed."""
        address = str(parse_peer_url(url))
        with self._locked():
            lines = self._lines()
            kept = [line for number, line in enumerate(lines, 1) if self._url_of((number, line)) != address]
            if len(kept) == len(lines):
                return False
            self._write(kept)
        return True

    def _lines(self) -> list[str]:
        try:
            with self.path.open("rb") as file:
                data = file.read(_MAX_FILE_BYTES + 1)
            if len(data) > _MAX_FILE_BYTES:
                raise ConfigError(f"{self.path}: too large for a list of peers")
            return data.decode().splitlines()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{self.path}: the list of peers can't be read ({exc})") from exc

    def _url_of(self, numbered: tuple[int, str]) -> str | None:
        number, line = numbered
        text = line.split("#", 1)[0].strip()
        try:
            return str(parse_peer_url(text)) if text else None
        except InputError as exc:
            raise ConfigError(f"{self.path}, line {number}: {exc}") from exc

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from changing the list meanwhile; the lock is on the folder, which stays."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as exc:
            raise self._cant_write(exc) from exc
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _write(self, lines: list[str]) -> None:
        """Replace the file as a whole, so that no reader and no crash sees half of it."""
        text = "".join(line + "\n" for line in lines)
        try:
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, prefix=".peers-", delete=False) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(file.name, self.path)
        except OSError as exc:
            raise self._cant_write(exc) from exc

    def _cant_write(self, exc: OSError) -> ConfigError:
        return ConfigError(f"{self.path}: the list of peers can't be written ({exc.strerror or exc})")
