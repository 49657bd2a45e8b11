"""The catalog's own files: roots and groups of manifests, and the JSON of shared directories, each under its digest."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..core.model import Blake3, Sha1
from ..core.wire import fan_out
from ..errors import CatalogError


class ObjectFolder:
    """Files named by the digest of their content; what is damaged is as good as absent."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: Sha1 | Blake3) -> Path:
        return self.root / fan_out(digest)

    def find(self, digest: Sha1 | Blake3) -> bytes | None:
        """Return the content, proven; None where it is absent or is not what its name says."""
        try:
            data = self.path(digest).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise CatalogError(f"{self.path(digest)} can't be read: {exc.strerror}") from exc
        return data if type(digest).of(data) == digest else None

    def put(self, digest: Sha1 | Blake3, data: bytes) -> None:
        """Write an object unless it is there and right; a crash leaves either nothing or all of it."""
        if self.find(digest) != data:
            try:
                _write_new(self.path(digest), data)
            except OSError as exc:
                raise CatalogError(f"the catalog can't write {self.path(digest)}: {exc.strerror}") from exc

    def remove(self, digest: Sha1 | Blake3) -> None:
        self.path(digest).unlink(missing_ok=True)


def _write_new(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
