"""Where things lie below the store's folder, and what the names there mean."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.model import Binding, Blake3, Sha1, parse_manifest_digest
from ..core.wire import fan_out

DATA = "data"
PRESENT = "present"


@dataclass(frozen=True, slots=True)
class Places:
    """The paths of one store."""

    root: Path

    @property
    def version(self) -> Path:
        return self.root / "VERSION"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def usage(self) -> Path:
        return self.root / "usage"

    @property
    def index(self) -> Path:
        return self.root / "index.sqlite"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def pins(self) -> Path:
        return self.root / "pins"

    @property
    def completes(self) -> Path:
        return self.root / "sha1"

    @property
    def partials(self) -> Path:
        return self.root / "partial"

    def complete(self, sha1: Sha1) -> Path:
        """Return the place of a whole, proven file: the lineage's layout."""
        return self.completes / fan_out(sha1)

    @property
    def manifest_parts(self) -> Path:
        return self.root / "manifest"

    def manifest_part(self, digest: Blake3) -> Path:
        return self.manifest_parts / fan_out(digest)

    def partial(self, binding: Binding) -> Path:
        """Return the folder of a file that isn't proven yet; only bindings with a manifest have one."""
        return self.partials / binding.sha1.hex[:2] / partial_name(binding)


def partial_name(binding: Binding) -> str:
    assert binding.manifest is not None, "a file of one block is written whole"
    return f"{binding.sha1.hex}-{binding.manifest.hex}"


def parse_partial_name(name: str) -> Binding | None:
    """Return the binding that a folder below ``partial/`` belongs to, None for anything else there."""
    sha1, _, manifest = name.partition("-")
    try:
        return Binding(Sha1.from_hex(sha1), parse_manifest_digest(manifest))
    except ValueError:
        return None


GONE = (FileNotFoundError, NotADirectoryError)
"""What says that something isn't there; any other failure doesn't tell."""


def list_files(folder: Path, n_levels: int, *, is_all_needed: bool = False) -> Iterator[Path]:
    """Yield what lies below so many levels of folders; what goes meanwhile is left out, as ``glob`` can't.

    So is what can't be listed now, or where all is needed OSError is raised.
    """
    with contextlib.suppress(*(GONE if is_all_needed else (OSError,))), os.scandir(folder) as found:
        for entry in found:
            path = Path(entry.path)
            if n_levels == 0:
                yield path
            else:
                yield from list_files(path, n_levels - 1, is_all_needed=is_all_needed)
