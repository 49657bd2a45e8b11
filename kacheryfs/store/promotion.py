"""From partial to complete, and back where the disk spoilt a proven file: one rename each, under the binding's lock.

A killed process leaves: before the rename, everything as it was; after it, a presence without data, which ``partial``
removes.
"""

from __future__ import annotations

import hashlib
import os

from ..core.model import Binding, Layout, Sha1
from .backing import Backing
from .folder import StoreFolder
from .index import Index, Row
from .partial import remove_partial
from .places import DATA, PRESENT

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
    os.makedirs(target.parent, exist_ok=True)
    index.enter(Row(binding, backing.layout, is_proven=True))
    os.rename(place / DATA, target)
    remove_partial(place)


def demote(folder: StoreFolder, index: Index, binding: Binding, backing: Backing) -> None:
    """Take a file that the disk spoilt out of the complete ones, keeping what may still be good as partial.

    Its row in the index stays: without a complete file it tells of the partial one.
    """
    if binding.manifest is None:
        os.unlink(folder.places.complete(binding.sha1))
        index.forget(binding)
        return
    place = folder.places.partial(binding)
    os.makedirs(place, exist_ok=True)
    remains = bytes(map(backing.is_present, range(backing.layout.n_blocks)))
    folder.write_object(place / PRESENT, remains)
    os.rename(folder.places.complete(binding.sha1), place / DATA)


def find_complete(folder: StoreFolder, sha1: Sha1, layout: Layout) -> Backing | None:
    """Open the complete file of ``sha1``; None where there is none, or it has another size."""
    try:
        fd = os.open(folder.places.complete(sha1), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if os.fstat(fd).st_size != layout.size_bytes:
        os.close(fd)
        return None
    return Backing.complete(layout, fd)
