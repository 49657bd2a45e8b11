"""The catalog's own files, each under its SHA-1: the JSON of shared directories, and files made for a share."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..core.model import Sha1
from ..core.wire import fan_out
from ..errors import CatalogError


class TreeFolder:
    """A folder of the catalog's own files; what is damaged is as good as absent."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, sha1: Sha1) -> Path:
        return self.root / fan_out(sha1)

    def holds(self, path: bytes) -> bool:
        """Tell whether a path is one of these files'."""
        return path.startswith(os.fsencode(self.root) + b"/")

    def find(self, sha1: Sha1) -> bytes | None:
        """Return the content, proven; None where it is absent or is not what its name says."""
        try:
            data = self.path(sha1).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise CatalogError(f"{self.path(sha1)} can't be read: {exc.strerror}") from exc
        return data if Sha1.of(data) == sha1 else None

    def put(self, sha1: Sha1, data: bytes) -> None:
        """Write an object unless it is there and right; a crash leaves either nothing or all of it."""
        if self.find(sha1) != data:
            try:
                self.root.mkdir(mode=0o700, exist_ok=True)  # a digest is the right to read, and the names are digests
                _write_new(self.path(sha1), data)
            except OSError as exc:
                raise CatalogError(f"the catalog can't write {self.path(sha1)}: {exc.strerror}") from exc

    def remove(self, sha1: Sha1) -> None:
        self.path(sha1).unlink(missing_ok=True)


def _write_new(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
