"""What stands for a file of a recording in its tree: the original, or what a mount of kacheryfs says of it.

SpikeInterface writes into its own folders where their recording came from, with paths of this machine. Such a file
stands in the tree cleaned, as a made one; the original stays as it is.
"""

from __future__ import annotations

import json
import os
from typing import Any

from ..core.link import FileLink, parse_link
from ..core.tree import FileEntry
from ..errors import InputError, LinkError
from ..store.composing import InPlace, Part
from ..store.originals import Identity, shown
from ..store.scan import kachery_devices
from .scrubbing import scrub

_LINK = "user.kacheryfs.link"
_WRITTEN_BY_SPIKEINTERFACE = {".zattrs", ".zmetadata", "zarr.json", "binary.json", "si_folder.json", "annotations.json"}
_MAX_BYTES = 64 * 1024 * 1024


def look_at(path: str) -> Part:
    """Return a file as a part of a tree: by digest where it lies in a mount, so that nothing is fetched or offered."""
    try:
        status = os.stat(path)
    except OSError as exc:
        raise InputError(f"{shown(path)} can't be shared: {exc.strerror}") from exc
    if status.st_dev in kachery_devices():
        return _entry_of(path, status.st_size)
    return _find_cleaned(path, status.st_size) or InPlace(path, Identity.of(status))


def _find_cleaned(path: str, size_bytes: int) -> bytes | None:
    """Return what a file of SpikeInterface says without paths of this machine; None where it names none."""
    if os.path.basename(path) not in _WRITTEN_BY_SPIKEINTERFACE or size_bytes > _MAX_BYTES:
        return None
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return None  # not SpikeInterface's after all: its reader will tell
    cleaned = _clean(value)
    return None if cleaned == value else json.dumps(cleaned, indent=1).encode()


def _clean(value: Any) -> Any:
    """Cut absolute paths down to their last name; a provenance that leads out of its folder goes."""
    if isinstance(value, dict):
        return {key: None if key == "provenance" and _leads_out(each) else _clean(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    return scrub(value)


def _leads_out(provenance: Any) -> bool:
    text = json.dumps(provenance)
    return '"../' in text or scrub(provenance) != provenance


def _entry_of(path: str, size_bytes: int) -> FileEntry:
    try:
        link = parse_link(os.getxattr(path, _LINK).decode())
    except (OSError, UnicodeDecodeError, LinkError) as exc:
        raise InputError(f"{shown(path)} is in a mount of kacheryfs that doesn't tell its link") from exc
    if not isinstance(link, FileLink):
        raise InputError(f"{shown(path)} is in a mount of kacheryfs, and no file there")
    return FileEntry(size_bytes, link.sha1, link.manifest)
