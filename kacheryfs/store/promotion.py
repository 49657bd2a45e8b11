"""From partial to complete, and back where the disk spoilt a proven file or parts of it are evicted.

One rename each, under the file's locks; the presence stays where it is, so that who has the file open goes on to see
what is evicted. What lies under ``sha1/`` is whole: it is renamed back before anything is taken from it.

A killed process leaves: before the rename, everything as it was; after a promotion, a proven file; after a demotion,
a partial one with all blocks present, of which the spoilt are found when they are used.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ..core.model import Binding, Layout, Sha1
from .backing import Backing
from .folder import StoreFolder, rename_into
from .holding import hold_all_bytes, hold_in_use, open_in_use, take_alone
from .index import Index, Row
from .partial import remove_partial
from .places import DATA, PRESENT
from .presence import Presence

_READ_BYTES = 1 << 20


def sha1_of_file(fd: int, size_bytes: int) -> Sha1 | None:
    """Return the SHA-1 of a file of this size; None where it can't be read to its end."""
    digest, buffer, done = hashlib.sha1(), memoryview(bytearray(min(_READ_BYTES, max(size_bytes, 1)))), 0
    while done < size_bytes:
        try:
            n_bytes = os.preadv(fd, [buffer[: size_bytes - done]], done)
        except OSError:  # a bad disk: the caller looks which blocks it took
            return None
        if n_bytes == 0:
            return None
        digest.update(buffer[:n_bytes])
        done += n_bytes
    return Sha1(digest.digest())


def is_at(folder: StoreFolder, sha1: Sha1, fd: int) -> bool:
    """Return whether the complete file of ``sha1`` is the one that is open as ``fd``."""
    try:
        return os.path.samestat(os.stat(folder.places.complete(sha1)), os.fstat(fd))
    except OSError:
        return False


def promote(folder: StoreFolder, index: Index, binding: Binding, backing: Backing) -> None:
    """Move a file whose SHA-1 was just found right to its place; OSError leaves it partial."""
    place, target = folder.places.partial(binding), folder.places.complete(binding.sha1)
    if not os.path.samestat(os.stat(place / DATA), os.fstat(backing.fd)):
        raise FileNotFoundError(f"{place / DATA} was replaced")
    index.enter(Row(binding, backing.layout, is_proven=True))
    rename_into(place / DATA, target)
    if backing.presence is None or not backing.presence.is_at(place / PRESENT):
        remove_partial(place)  # lost, or another one: nobody must take it for this file's


def demote(folder: StoreFolder, index: Index, binding: Binding, backing: Backing) -> None:
    """Take a file that the disk spoilt out of the complete ones, keeping what may still be good as partial.

    Its row in the index stays: without a complete file it tells of the partial one. Nothing is kept where others may
    have it open with a presence that was lost since: they would not look at a new one.
    """
    if binding.manifest is None or not _is_evicted_openly(folder.places.partial(binding), backing):
        os.unlink(folder.places.complete(binding.sha1))
        if binding.manifest is not None:
            remove_partial(folder.places.partial(binding))
        index.forget(binding)
        return
    spoilt = [block for block in range(backing.layout.n_blocks) if not backing.is_present(block)]
    presence = make_full_presence(folder, binding, backing.layout)
    try:
        os.rename(folder.places.complete(binding.sha1), folder.places.partial(binding) / DATA)
        for block in spoilt:
            presence.clear(block)
    finally:
        presence.close()


def _is_evicted_openly(place: Path, backing: Backing) -> bool:
    """Return whether all who may have a complete file open hold it against eviction, or look at the presence here."""
    if backing.presence is None:
        return (place / PRESENT).exists()
    return backing.presence.is_at(place / PRESENT)


def make_full_presence(folder: StoreFolder, binding: Binding, layout: Layout) -> Presence:
    """Open the presence of a complete file, made where there is none; OSError."""
    place = folder.places.partial(binding)
    os.makedirs(place, exist_ok=True)
    presence = Presence.open(place / PRESENT, layout.n_blocks, is_writable=True)
    try:
        presence.fill()
    except BaseException:
        presence.close()
        raise
    return presence


def find_complete(folder: StoreFolder, sha1: Sha1, layout: Layout) -> Backing | None:
    """Open the complete file of ``sha1`` in a way that nothing of it is evicted meanwhile.

    None where there is none, or it has another size.
    """
    try:
        fd = open_whole(folder, sha1)
    except FileNotFoundError:
        return None
    return Backing.complete(layout, fd) if _has_size(fd, layout) else None


def open_whole(folder: StoreFolder, sha1: Sha1) -> int:
    """Return a descriptor of the complete file, of which nothing is evicted while it is open; OSError."""
    while True:
        fd = open_in_use(folder.places.complete(sha1), os.O_RDONLY)
        try:
            hold_all_bytes(fd)
        except BaseException:
            os.close(fd)
            raise
        if is_at(folder, sha1, fd):  # else it was moved back, and maybe punched, before the lock was ours
            return fd
        os.close(fd)


def find_own_complete(folder: StoreFolder, binding: Binding, layout: Layout) -> Backing | None:
    """Open the complete file that was proven with this very manifest, with its presence: parts of it may be evicted.

    The caller holds the file's locks. A presence is made only while nobody else has the file open: they would not
    look at it.
    """
    try:
        fd = open_in_use(folder.places.complete(binding.sha1), os.O_RDWR)
    except FileNotFoundError:
        return None
    if not _has_size(fd, layout):
        return None
    try:
        if not (folder.places.partial(binding) / PRESENT).exists() and not take_alone(fd):
            hold_all_bytes(fd)
            return Backing.complete(layout, fd)
        presence = make_full_presence(folder, binding, layout)
        hold_in_use(fd)
        return Backing.complete(layout, fd, presence)
    except BaseException:
        os.close(fd)
        raise


def _has_size(fd: int, layout: Layout) -> bool:
    """Return whether an open file has the size that it should; it is closed where it hasn't."""
    is_right = os.fstat(fd).st_size == layout.size_bytes
    if not is_right:
        os.close(fd)
    return is_right
