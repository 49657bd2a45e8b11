"""What stands for a file of a recording in its tree: the original, or what a mount of kacheryfs says of it."""

from __future__ import annotations

import os

from ..core.link import FileLink, parse_link
from ..core.tree import FileEntry
from ..errors import InputError, LinkError
from ..store.composing import InPlace, Part
from ..store.originals import Identity, shown
from ..store.scan import kachery_devices

_LINK = "user.kacheryfs.link"


def look_at(path: str) -> Part:
    """Return a file as a part of a tree: by digest where it lies in a mount, so that nothing is fetched or offered."""
    try:
        status = os.stat(path)
    except OSError as exc:
        raise InputError(f"{shown(path)} can't be shared: {exc.strerror}") from exc
    if status.st_dev in kachery_devices():
        return _entry_of(path, status.st_size)
    return InPlace(path, Identity.of(status))


def _entry_of(path: str, size_bytes: int) -> FileEntry:
    try:
        link = parse_link(os.getxattr(path, _LINK).decode())
    except (OSError, UnicodeDecodeError, LinkError) as exc:
        raise InputError(f"{shown(path)} is in a mount of kacheryfs that doesn't tell its link") from exc
    if not isinstance(link, FileLink):
        raise InputError(f"{shown(path)} is in a mount of kacheryfs, and no file there")
    return FileEntry(size_bytes, link.sha1, link.manifest)
