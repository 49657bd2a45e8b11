"""The partial file of one binding on disk: a folder with the sparse data and the presence.

Callers hold the lock of the binding, except in a store that can't be written. The order of the steps is what a killed process can leave:
presence without data is removed before data are made, so that a stale "present" never stands for a hole.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..core.model import Binding, Layout
from .backing import Backing
from .folder import StoreFolder
from .places import DATA, PRESENT
from .presence import Presence


def find_partial(folder: StoreFolder, binding: Binding, layout: Layout) -> Backing | None:
    """Open what there is of ``binding``; None where there is nothing."""
    place = folder.places.partial(binding)
    try:
        return _open(place, layout, is_writable=folder.is_writable)
    except FileNotFoundError:
        return None


def make_partial(folder: StoreFolder, binding: Binding, layout: Layout) -> Backing:
    """Open the partial file of ``binding``, made where there is none."""
    place = folder.places.partial(binding)
    if not (place / DATA).exists():
        place.mkdir(parents=True, exist_ok=True)
        _unlink(place / PRESENT)
        os.close(os.open(place / DATA, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666))
    return _open(place, layout, is_writable=True)


def remove_partial(place: Path) -> None:
    """Remove a partial file's folder; those who have it open keep what they have."""
    _unlink(place / PRESENT)
    _unlink(place / DATA)
    with contextlib.suppress(OSError):  # somebody else's file in it: left to them
        os.rmdir(place)


def _open(place: Path, layout: Layout, *, is_writable: bool) -> Backing:
    fd = os.open(place / DATA, (os.O_RDWR if is_writable else os.O_RDONLY) | os.O_CLOEXEC)
    try:
        if is_writable and os.fstat(fd).st_size != layout.size_bytes:
            os.ftruncate(fd, layout.size_bytes)
        presence = Presence.open(place / PRESENT, layout.n_blocks, is_writable=is_writable)
    except BaseException:
        os.close(fd)
        raise
    return Backing(layout, fd, presence.bits, presence=presence, is_writable=is_writable)


def _unlink(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
