"""Share a tree that is put together: originals in place under chosen names, beside small files made for it.

A recording's tree is such a one: the files that it reads, wherever they lie, and a description of how to open them. The
share has no path of its own. The catalog keeps what was made, under its digest, and drops it with the last share that
holds it. One tree is one share: composing it again, from the same contents under the same names, gives the same link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.link import TreeLink
from ..core.model import Sha1
from ..core.tree import FileEntry, Tree, encode_tree
from ..errors import ChangedError, InputError
from .catalog import Catalog
from .catalog_entry import Content, NewShare, Offered
from .hashing import hash_bytes
from .originals import Identity, shown
from .reading import CatalogReader, Meter, Progress
from .scan import is_readable, kachery_devices
from .sharing import Shared, refuse_own_folders

Names = tuple[str, ...]
"""Where a file stands in the tree, from the root on."""


@dataclass(frozen=True, slots=True)
class InPlace:
    """An original: a path of this machine; with an identity it must still be the file that somebody looked at."""

    path: str
    identity: Identity | None = None


Part = InPlace | bytes | FileEntry
"""What stands under a name: an original, a made file's content, or an entry of another tree, which isn't offered."""


@dataclass(frozen=True, slots=True)
class _Original:
    path: bytes
    identity: Identity

    @property
    def split(self) -> tuple[bytes, bytes]:
        root, name = os.path.split(self.path)
        return root, name


def compose(
    catalog: Catalog,
    files: Mapping[Names, Part],
    label: str,
    *,
    progress: Progress | None = None,
    own_folders: Sequence[Path] = (),
) -> Shared:
    """Offer ``files`` as one tree; unchanged originals are not read again.

    ``own_folders`` (the store, say) are where no original may lie. InputError: a path can't be shared, or the names
    don't make a tree. ChangedError: an original is still being written, or isn't the file that its identity says.
    """
    originals = {names: _look_at(part, own_folders) for names, part in files.items() if isinstance(part, InPlace)}
    contents, read_bytes = _read(catalog, {item.path: item for item in originals.values()}, progress)
    entries = {names: _entry(part) for names, part in files.items() if not isinstance(part, InPlace)}
    entries |= {names: _entry_of(contents[item.path]) for names, item in originals.items()}
    tree_json = encode_tree(build_tree(entries))
    link = TreeLink(Sha1.of(tree_json), label)
    offers = [Offered(path, len(os.path.split(path)[0]), contents[path].sha1) for path in sorted(contents)]
    total_bytes = sum(entry.size_bytes for entry in entries.values())
    made = [part for part in files.values() if isinstance(part, bytes)]
    path = catalog.composed_path(link.sha1)
    catalog.enter(NewShare(path, str(link), len(entries), total_bytes, offers, tree_json, made))
    return Shared(os.fsdecode(path), link, len(entries), total_bytes, read_bytes)


def _look_at(part: InPlace, own_folders: Sequence[Path]) -> _Original:
    try:
        real = os.path.realpath(os.fsencode(part.path), strict=True)
        status = os.stat(real)
    except (OSError, ValueError) as exc:
        raise InputError(f"{shown(part.path)} can't be shared: {getattr(exc, 'strerror', None) or exc}") from exc
    refuse_own_folders(part.path, real, own_folders)
    if status.st_dev in kachery_devices():
        raise InputError(
            f"{shown(part.path)} is in a mount of kacheryfs: pass on the link that it stands under instead"
        )
    if not stat.S_ISREG(status.st_mode) or not is_readable(real):
        raise InputError(f"{shown(part.path)} can't be shared: it is not a file that can be read")
    identity = Identity.of(status)
    if part.identity not in (None, identity):
        raise _changed(real)
    return _Original(real, identity)


def _changed(path: bytes) -> ChangedError:
    return ChangedError(f"{shown(os.fsdecode(path))} was changed while it was shared: share it when it is complete")


def _read(
    catalog: Catalog, originals: Mapping[bytes, _Original], progress: Progress | None
) -> tuple[dict[bytes, Content], int]:
    """Return what each original holds, and how much had to be read to know it."""
    known = {path: hashed for original in originals for path, hashed in catalog.hashed_below(original).items()}
    with CatalogReader(catalog, known) as reader:
        found = {path: reader.find_known(path, item.identity) for path, item in originals.items()}
        read_bytes = sum(originals[path].identity.size_bytes for path, content in found.items() if content is None)
        meter = Meter(progress, read_bytes)
        contents = {path: content or _read_one(reader, originals[path], meter) for path, content in found.items()}
        reader.flush()
    for path in reader.refused:
        raise InputError(f"{shown(os.fsdecode(path))} can't be shared: another content has its SHA-1 (a collision)")
    return contents, read_bytes


def _read_one(reader: CatalogReader, original: _Original, meter: Meter) -> Content:
    try:
        content = reader.read(*original.split, meter.add)
    except OSError as exc:
        raise InputError(f"{shown(os.fsdecode(original.path))} can't be read: {exc.strerror or exc}") from exc
    if content.size_bytes != original.identity.size_bytes:
        raise _changed(original.path)
    return content


def _entry(part: bytes | FileEntry) -> FileEntry:
    if isinstance(part, FileEntry):
        return part
    hashed = hash_bytes(part)
    return FileEntry(hashed.size_bytes, hashed.sha1, hashed.manifest)


def _entry_of(content: Content) -> FileEntry:
    return FileEntry(content.size_bytes, content.sha1, content.manifest)


def build_tree(entries: Mapping[Names, FileEntry]) -> Tree:
    """Put files into the folders that their names say; InputError where that makes no tree."""
    files = {names[0]: entry for names, entry in entries.items() if len(names) == 1}
    folders: dict[str, dict[Names, FileEntry]] = {}
    for names, entry in entries.items():
        if len(names) > 1:
            folders.setdefault(names[0], {})[names[1:]] = entry
    try:
        return Tree({name: build_tree(below) for name, below in folders.items()}, files)
    except ValueError as exc:
        raise InputError(f"these files don't make a folder: {exc}") from exc
