"""The partial file of one binding on disk: a folder with the sparse data and the presence.

Callers hold the file's locks, except in a store that can't be written. A killed process can stop between any two
steps, so presence without data is removed before data are made: a stale "present" never stands for a hole. A data file
that was cut is given up for the same reason: lengthened again, it would have holes where others have checked blocks.
And so are data without presence: those who have both open would not see what a new presence says was evicted.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..core.model import Binding, Layout
from .backing import Backing
from .folder import StoreFolder
from .holding import hold_all_bytes, open_in_use
from .places import DATA, PRESENT
from .presence import Presence


def find_partial(folder: StoreFolder, binding: Binding, layout: Layout) -> Backing | None:
    """Open what there is of ``binding``; None where there is nothing."""
    place = folder.places.partial(binding)
    try:
        size_bytes = os.stat(place / DATA).st_size
        if folder.is_writable and (size_bytes != layout.size_bytes or not (place / PRESENT).exists()):
            remove_partial(place)
            return None
        return _open(place, layout, is_writable=folder.is_writable)
    except FileNotFoundError:
        return None


def make_partial(folder: StoreFolder, binding: Binding, layout: Layout) -> Backing:
    """Make the partial file of ``binding``, of which there is nothing yet."""
    place = folder.places.partial(binding)
    place.mkdir(parents=True, exist_ok=True)
    remove_file(place / PRESENT)
    Presence.open(place / PRESENT, layout.n_blocks, is_writable=True).close()
    fd = os.open(place / DATA, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.ftruncate(fd, layout.size_bytes)
    finally:
        os.close(fd)
    return _open(place, layout, is_writable=True)


def remove_partial(place: Path) -> None:
    """Remove a partial file's folder; those who have it open keep what they have."""
    remove_file(place / PRESENT)
    remove_file(place / DATA)
    with contextlib.suppress(OSError):  # somebody else's file in it: left to them
        os.rmdir(place)


def is_removed(folder: StoreFolder, binding: Binding, fd: int) -> bool:
    """Return whether a data file has no name any more: what is put into it nobody else finds, and nobody evicts."""
    status = os.fstat(fd)
    if status.st_nlink:
        return False
    try:
        return not os.path.samestat(os.stat(folder.places.partial(binding) / DATA), status)
    except FileNotFoundError:  # else a file system that counts no links
        return True


def _open(place: Path, layout: Layout, *, is_writable: bool) -> Backing:
    fd = open_in_use(place / DATA, os.O_RDWR if is_writable else os.O_RDONLY)
    try:
        presence = Presence.open(place / PRESENT, layout.n_blocks, is_writable=is_writable)
        if not presence.is_shared:
            presence.close()
            hold_all_bytes(fd)
            presence = Presence.open(place / PRESENT, layout.n_blocks, is_writable=is_writable)
    except BaseException:
        os.close(fd)
        raise
    return Backing(layout, fd, presence.bits, presence=presence, is_writable=is_writable)


def remove_file(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
