"""Read shared originals again, whatever their identity says, and stop offering what is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from ..core.link import FileLink, TreeLink
from ..core.model import Sha1
from ..core.tree import FileEntry, Tree, decode_tree
from ..errors import ChangedError, NotFoundError
from .catalog import Catalog
from .hashing import FileHasher
from .originals import Original
from .reading import Meter, Progress, read_original

Verdict = Literal["right", "changed", "missing", "unreadable", "wrong"]
"""``changed``: another identity, so it isn't served until it is shared again; ``wrong``: the same one, other bytes."""


@dataclass(frozen=True, slots=True)
class Recheck:
    """What reading one original again found."""

    path: str
    sha1: Sha1
    size_bytes: int
    verdict: Verdict


def verify_originals(
    catalog: Catalog, link: FileLink | TreeLink | None = None, *, progress: Progress | None = None
) -> Iterator[Recheck]:
    """Read again all that is offered, or what one link stands for, and yield what each original was found to be.

    Blocking. What is wrong is offered no more until it is shared again, which reads it anew; parts of manifests that
    the disk has lost are written again. NotFoundError: nothing of the link is shared here.
    """
    sha1s = set(catalog.digests() if link is None else _digests_of(catalog, link))
    originals = {original.path: original for sha1 in sorted(sha1s) for original in catalog.originals(sha1)}
    stale = [item for item in catalog.stale_originals() if item[1] in sha1s]
    if link is not None and not originals and not stale:
        raise NotFoundError(f"sha1 {link.sha1.short}: not shared here")
    for path, sha1, size_bytes in stale:
        yield Recheck(os.fsdecode(path), sha1, size_bytes, "changed")
    hasher = FileHasher()
    meter = Meter(progress, sum(original.size_bytes for original in originals.values()))
    for path, original in sorted(originals.items()):
        yield Recheck(
            os.fsdecode(path), original.sha1, original.size_bytes, _read_again(catalog, original, hasher, meter)
        )


def _digests_of(catalog: Catalog, link: FileLink | TreeLink) -> Iterator[Sha1]:
    yield link.sha1
    if isinstance(link, TreeLink):
        with closing(catalog.open_original(link.sha1)) as opened:
            entry = decode_tree(os.pread(opened.fd, opened.size_bytes, 0)).find(link.path)
        if isinstance(entry, FileEntry):
            yield entry.sha1
        elif isinstance(entry, Tree):
            yield from (file.sha1 for _, file in entry.walk())


def _read_again(catalog: Catalog, original: Original, hasher: FileHasher, meter: Meter) -> Verdict:
    state = original.state()
    if state != "ok":
        meter.add(original.size_bytes)
        return state
    try:
        new = read_original(hasher, original.root, original.relative, meter.add)
    except ChangedError:
        return "changed"
    except OSError:
        return "unreadable"
    if new.identity != original.identity:
        return "changed"
    if (new.content.sha1, new.content.manifest) != (original.sha1, original.manifest):
        catalog.forget_path(original.path)
        return "wrong"
    if not catalog.has_manifest(original.manifest):
        catalog.remember([new])
    return "right"
