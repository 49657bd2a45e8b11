"""What a name means in each of the mount's fixed directories; pure.

Whatever isn't named here exists for nobody, and no peer is asked for it: ``.git``, ``.hidden``, ``autorun.inf``
and the like, which desktops and shells look for in every directory that they see.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..core.link import split_digest_label, split_manifest
from ..core.model import Sha1
from ..core.request import FileRequest
from ..errors import LinkError

README_NAME = "README"
MAX_LABEL_CHARS = 3 * 255
"""A name of 255 bytes, each percent-encoded."""

_PROBES = frozenset(
    (".git", ".hg", ".svn", ".hidden", ".directory", ".Trash", ".nomedia", "autorun.inf", "desktop.ini")
)
"""Asked for by desktops, shells and editors: below ``sha1:/H``, where any name is a label, these need a manifest."""


class Place(Enum):
    """The fixed directories, by their names."""

    ROOT = ""
    FILES = "sha1"
    TREES = "sha1dir"
    COLLECTIONS = "collections"
    FILE_LINKS = "sha1:"
    TREE_LINKS = "sha1dir:"


class Part(Enum):
    """What a collection has entries of, by the names of its directories."""

    RECORDINGS = "recordings"
    SORTINGS = "sortings"


LISTED = (Place.COLLECTIONS, Place.FILES, Place.TREES)
HIDDEN = (Place.FILE_LINKS, Place.TREE_LINKS)
COLLECTION_JSON = "collection.json"


@dataclass(frozen=True, slots=True)
class FileName:
    """A name of a file by its digest; the label says nothing of the content."""

    request: FileRequest
    label: str = ""


@dataclass(frozen=True, slots=True)
class LabelsName:
    """``sha1:/H``: a directory in which every name is a label of H."""

    sha1: Sha1


@dataclass(frozen=True, slots=True)
class TreeName:
    """A name of a directory by its digest."""

    sha1: Sha1
    label: str = ""


Named = FileName | LabelsName | TreeName


def decode_name(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def encode_name(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def find_named(place: Place, name: str) -> Named | None:
    """Return what ``name`` stands for in a fixed directory of digests, None for nothing."""
    if place is Place.FILES:
        return _find_file(name)
    if place is Place.FILE_LINKS:
        return _find_file_link(name)
    if place in (Place.TREES, Place.TREE_LINKS):
        return _find_tree(name)
    return None


def find_labelled(sha1: Sha1, name: str) -> FileName | None:
    """Return what ``name`` stands for in ``sha1:/H``: the file H under any label."""
    if len(name) > MAX_LABEL_CHARS + len("?manifest=") + 64 or name in _PROBES:
        return None
    try:
        label, manifest = split_manifest(name)
    except LinkError:
        return None
    return FileName(FileRequest(sha1, manifest), label)


def _find_file(name: str) -> FileName | None:
    """Read ``H``, ``H.LABEL`` and, since links are pasted anywhere, both with ``?manifest=M``."""
    plain = split_digest_label(name)
    if "?manifest=" not in name:
        return FileName(FileRequest(plain[0]), plain[1]) if plain else None
    try:
        stem, manifest = split_manifest(name)
    except LinkError:
        return None
    named = split_digest_label(stem)
    return FileName(FileRequest(named[0], manifest), named[1]) if named else None


def _find_file_link(name: str) -> FileName | LabelsName | None:
    """Read a name in ``sha1:``: ``H`` is a directory, ``H?manifest=M`` and kachery-cloud's ``H?LABEL`` are files."""
    if "?manifest=" in name:
        return _find_file(name)
    stem, mark, query = name.partition("?")
    named = split_digest_label(stem)
    if named is None or query.startswith("chunkOf="):
        return None
    return FileName(FileRequest(named[0]), query.removeprefix("label=")) if mark else LabelsName(named[0])


def _find_tree(name: str) -> TreeName | None:
    named = split_digest_label(name)
    return TreeName(named[0], named[1]) if named else None
