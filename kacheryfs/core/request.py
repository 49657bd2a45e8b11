"""What a reader asks the engine for, and how far the answer can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .model import ManifestDigest, Sha1
from .tree import FileEntry


class Trust(Enum):
    """Where the manifest of a file came from (DESIGN.md, "Links and trust")."""

    LINKED = "linked"
    PROVEN = "proven"
    CLAIMED = "claimed"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class FileRequest:
    """A file as its name tells it: a bare SHA-1, with the manifest of a link, or with the size of a tree's entry."""

    sha1: Sha1
    manifest: ManifestDigest | None = None
    size_bytes: int | None = None


def request_of(entry: FileEntry) -> FileRequest:
    """Return what to ask for a file of a tree."""
    return FileRequest(entry.sha1, entry.manifest, entry.size_bytes)
