"""A small file of ours that the user and any number of processes may change: locked, and replaced as a whole."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .errors import ConfigError

MAX_KEPT_BYTES = 1 << 20


class KeptFile:
    """The file at ``path``, which messages call ``what``; methods block, for a file of a few lines.

    Nothing is made before something is written. Whatever goes wrong is a ConfigError.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self.what = what

    def read(self) -> str:
        """Return what the file holds, "" where there is none."""
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_KEPT_BYTES + 1)
            if len(data) > MAX_KEPT_BYTES:
                raise ConfigError(f"{self.path}: too large for {self.what}")
            return data.decode()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{self.path}: {self.what} can't be read ({exc})") from exc

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing the file meanwhile; the lock is on its folder, which stays."""
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

    def write(self, text: str) -> None:
        """Replace the file as a whole, so that no reader and no crash sees half of it; call it ``locked``."""
        with ExitStack() as undo:
            try:
                fd, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}-")
                undo.callback(Path(name).unlink, missing_ok=True)
                with open(fd, "w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(name, self.path)
            except OSError as exc:
                raise self._cant_write(exc) from exc
            undo.pop_all()

    def _cant_write(self, exc: OSError) -> ConfigError:
        return ConfigError(f"{self.path}: {self.what} can't be written ({exc.strerror or exc})")
