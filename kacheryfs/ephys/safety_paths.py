"""Paths in a stranger's recording: each must be one of the tree's own files or folders."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..core.tree import Tree
from .safety_kinds import MAX_TEXT_CHARS, Place, either, list_of

_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class InTree:
    """A path of a description that was found in the tree; empty for the tree's own folder."""

    names: tuple[str, ...]
    is_folder: bool


def file(value: object, place: Place) -> object:
    """A file of the tree, or null."""
    return None if value is None else _find(value, place, is_folder=False)


def folder(value: object, place: Place) -> object:
    """A folder of the tree, or null."""
    return None if value is None else _find(value, place, is_folder=True)


files = either(list_of(file), file)
file_or_folder = either(file, folder)


def split_path(value: object) -> tuple[str, ...]:
    """Take a path of a description apart; ValueError for all that can lead out of the tree."""
    if not isinstance(value, str) or len(value) > 64 * MAX_TEXT_CHARS:
        raise ValueError("is not a path")
    if "://" in value or "::" in value or value.startswith(("s3:", "gs:", "gcs:", "http:", "https:", "file:")):
        raise ValueError("is a remote address; only files that were shared along are read")
    if value.startswith(("/", "~")) or "\\" in value or _DRIVE.match(value):
        raise ValueError("is an absolute path; only files that were shared along are read")
    if "\0" in value:
        raise ValueError("is a path with a NUL in it")
    names = tuple(name for name in value.split("/") if name not in ("", "."))
    if ".." in names:
        raise ValueError("is a path with '..', which can lead out of the shared folder")
    if names and names[-1].lower().endswith((".pkl", ".pickle")):
        raise ValueError("is a pickle, and loading one runs code")
    return names


def _find(value: object, place: Place, *, is_folder: bool) -> InTree:
    names = split_path(value)
    found = place.tree.find(names)
    if found is None:
        raise ValueError(f"names {'/'.join(names)[:80]!r}, which is not in the shared folder")
    if isinstance(found, Tree) != is_folder:
        raise ValueError(f"names {'/'.join(names)[:80]!r}, which is not a {'folder' if is_folder else 'file'}")
    return InTree(names, is_folder)
