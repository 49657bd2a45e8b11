"""Offer what lies in an existing kachery storage folder, in place.

Three things say where an object is (``reference/kachery-formats.md``): ``sha1/ab/cd/ef/H`` itself, ``H.link`` beside
it, and ``linked_files/sha1/ab/cd/ef/H``, the latter two being JSON that names a file kept elsewhere. None is
believed: each file is read, and its SHA-1 compared.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.link import FileLink
from ..core.model import Sha1
from ..core.wire import fan_out
from ..errors import ChangedError, InputError
from .catalog import Catalog
from .catalog_entry import Content, NewShare, Offered
from .originals import Identity, shown
from .reading import CatalogReader, Meter, Progress
from .scan import to_name
from .sharing import LeftOut, refuse_own_folders

MAX_POINTER_BYTES = 64 * 1024
"""A pointer is a path and four numbers; what is longer is none."""
_NAME = re.compile(rb"([0-9a-f]{40})(\.link)?\Z")


@dataclass(frozen=True, slots=True)
class SharedStorage:
    """What a storage folder offers now, one link an object; with ``dry_run`` what it would, unread and so unproven."""

    path: str
    links: tuple[FileLink, ...]
    total_bytes: int
    read_bytes: int
    left_out: tuple[LeftOut, ...]

    @property
    def n_files(self) -> int:
        return len(self.links)


@dataclass(frozen=True, slots=True)
class _Object:
    """A file that ``name`` in the storage folder says has a SHA-1; ``relative`` below ``root`` is where it lies."""

    name: str
    sha1: Sha1
    root: bytes
    relative: bytes
    identity: Identity
    label: str

    @property
    def path(self) -> bytes:
        return os.path.join(self.root, self.relative)


class _RefusedError(Exception):
    """An object can't be offered; the message is the reason."""


def share_kachery_storage(
    catalog: Catalog,
    folder: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    own_folders: Sequence[Path] = (),
) -> SharedStorage:
    """Offer the objects of a storage folder under their SHA-1, in place of what it offered before.

    What isn't what its name says is left out. InputError: the folder holds no storage.
    """
    root = os.path.realpath(os.fsencode(folder))
    refuse_own_folders(os.fspath(folder), root, (catalog.folder, *own_folders))
    left_out: list[LeftOut] = []
    objects = list(_find_objects(root, os.fspath(folder), left_out))
    known = catalog.hashed_below(root)
    for item in objects:
        if item.root != root:
            known |= catalog.hashed_below(item.path)
    with CatalogReader(catalog, known) as reader:
        contents = {item.path: content for item in objects if (content := reader.find_known(item.path, item.identity))}
        to_read = {item.path: item for item in objects if item.path not in contents}
        read_bytes = sum(item.identity.size_bytes for item in to_read.values())
        if not dry_run:
            contents |= _read_all(to_read.values(), reader, Meter(progress, read_bytes), left_out)
    right = objects if dry_run else list(_compare(objects, contents, reader.refused, left_out))
    if not dry_run:
        _enter(catalog, root, right, contents)
    return _shared(root, right, contents, read_bytes, left_out)


def _find_objects(root: bytes, folder: str, left_out: list[LeftOut]) -> Iterator[_Object]:
    bases = [base for base in (b"sha1", b"linked_files/sha1") if os.path.isdir(os.path.join(root, base))]
    if not bases:
        raise InputError(f"{shown(folder)} is no kachery storage folder: it has no 'sha1' folder in it")
    for base in bases:
        for name in _names_below(root, base, left_out):
            try:
                item = _find_object(root, base, name)
            except _RefusedError as exc:
                left_out.append((to_name(name), str(exc)))
            else:
                if item:
                    yield item


def _names_below(root: bytes, base: bytes, left_out: list[LeftOut]) -> Iterator[bytes]:
    def tell(exc: OSError) -> None:
        left_out.append((to_name(os.path.relpath(exc.filename, root)), f"can't be listed: {exc.strerror}"))

    for above, folders, names in os.walk(os.path.join(root, base), onerror=tell):
        folders.sort()
        yield from (os.path.relpath(os.path.join(above, name), root) for name in sorted(names))


def _find_object(root: bytes, base: bytes, name: bytes) -> _Object | None:
    """Locate the file that one name of the storage stands for; None for a name of another kind (a temporary file)."""
    match = _NAME.match(os.path.basename(name))
    if not match:
        return None
    sha1 = Sha1.from_hex(match.group(1).decode())
    if os.path.dirname(name) != os.path.dirname(os.path.join(base, fan_out(sha1).encode())):
        raise _RefusedError("not in the folder that its name belongs in")
    path = os.path.join(root, name)
    if match.group(2) or base != b"sha1":
        return _follow(root, path, to_name(name), sha1)
    return _locate(root, path, to_name(name), sha1, "")


def _locate(root: bytes, path: bytes, name: str, sha1: Sha1, label: str) -> _Object:
    try:
        real = os.path.realpath(path, strict=True)
        status = os.stat(real)
    except OSError as exc:
        raise _RefusedError(f"{shown(os.fsdecode(path))}: {exc.strerror}") from exc
    if not stat.S_ISREG(status.st_mode):
        raise _RefusedError(f"{shown(os.fsdecode(path))} is not a regular file")
    if real.startswith(root + b"/"):
        return _Object(name, sha1, root, real[len(root) + 1 :], Identity.of(status), label)
    return _Object(name, sha1, *os.path.split(real), Identity.of(status), label)


def _follow(root: bytes, path: bytes, name: str, sha1: Sha1) -> _Object:
    """Locate the file that a pointer names; refused where its size isn't the one that the pointer was made for."""
    pointer = _read_pointer(path)
    target, status = _target_of(pointer), pointer.get("stat", pointer)
    found = _locate(root, target, name, sha1, to_name(os.path.basename(target)))
    size_bytes = status.get("size") if isinstance(status, dict) else None
    if size_bytes is not None and size_bytes != found.identity.size_bytes:
        has = f"it had {size_bytes} bytes and has {found.identity.size_bytes}"
        raise _RefusedError(f"{shown(os.fsdecode(target))} was changed: {has}")
    return found


def _target_of(pointer: Mapping[str, object]) -> bytes:
    target = pointer.get("path")
    if not isinstance(target, str) or not target.startswith("/") or "\0" in target:
        raise _RefusedError("names no absolute path")
    try:
        return target.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as exc:
        raise _RefusedError("names a path that is no text") from exc


def _read_pointer(path: bytes) -> dict[str, object]:
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read(MAX_POINTER_BYTES))
    except (OSError, ValueError, RecursionError) as exc:
        raise _RefusedError("can't be read, or is not JSON") from exc
    if not isinstance(value, dict):
        raise _RefusedError("is not a JSON object")
    return value


def _read_all(
    objects: Iterable[_Object], reader: CatalogReader, meter: Meter, left_out: list[LeftOut]
) -> dict[bytes, Content]:
    contents: dict[bytes, Content] = {}
    for item in objects:
        try:
            contents[item.path] = reader.read(item.root, item.relative, meter.add)
        except OSError as exc:
            left_out.append((item.name, f"can't be read: {exc.strerror or exc}"))
        except ChangedError:
            left_out.append((item.name, "still being written"))
    return contents


def _compare(
    objects: Iterable[_Object], contents: Mapping[bytes, Content], refused: set[bytes], left_out: list[LeftOut]
) -> Iterator[_Object]:
    for item in objects:
        content = contents.get(item.path)
        if content is not None and content.sha1 != item.sha1:
            left_out.append((item.name, f"its content has another SHA-1: {content.sha1}"))
        elif item.path in refused:
            left_out.append((item.name, "another content with this SHA-1 is known: a collision"))
        elif content is not None:
            yield item


def _enter(catalog: Catalog, root: bytes, right: Sequence[_Object], contents: Mapping[bytes, Content]) -> None:
    offers = {item.path: Offered(item.path, len(item.root), item.sha1) for item in right}
    sizes = {item.sha1: contents[item.path].size_bytes for item in right}
    catalog.enter(NewShare(root, "", len(sizes), sum(sizes.values()), list(offers.values())))


def _shared(
    root: bytes, right: Sequence[_Object], contents: Mapping[bytes, Content], read_bytes: int, left_out: list[LeftOut]
) -> SharedStorage:
    labels = {item.sha1: item.label for item in sorted(right, key=lambda item: item.label)}
    manifests = {content.sha1: content.manifest for content in contents.values()}
    links = tuple(FileLink(sha1, label, manifests.get(sha1)) for sha1, label in sorted(labels.items()))
    sizes = {item.sha1: item.identity.size_bytes for item in right}
    return SharedStorage(os.fsdecode(root), links, sum(sizes.values()), read_bytes, tuple(sorted(left_out)))
