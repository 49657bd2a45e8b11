"""What an inode stands for: values, without numbers and without the kernel's view of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from ..core.link import FileLink, TreeLink
from ..core.model import BLOCK_BYTES, Binding, Sha1
from ..core.request import FileRequest, Trust
from ..core.tree import FileEntry, Tree
from ..errors import NotFoundError, ProofError
from .engine import KnownFile, LocatedFile
from .names import FileName, Part, Place

EMPTY_SHA1 = Sha1.of(b"")


@dataclass(frozen=True, slots=True)
class FixedDirectory:
    """One of the mount's own directories."""

    place: Place


@dataclass(frozen=True, slots=True)
class LabelsDirectory:
    """``sha1:/H``."""

    sha1: Sha1


@dataclass(frozen=True, slots=True)
class UnloadedTree:
    """A tree, or what stands at ``path`` in it, known by its digest only; it is asked for when somebody enters it."""

    sha1: Sha1
    label: str
    path: tuple[str, ...] = ()

    def loaded(self, tree: Tree) -> TreeDirectory | FileFolder:
        """Return the directory; where the path leads to a file, a folder with that file."""
        found = tree.find(self.path)
        if isinstance(found, Tree):
            return TreeDirectory(self.sha1, self.label, self.path, found, is_link=False)
        if found is None:
            raise NotFoundError(f"sha1 {self.sha1.short}: {'/'.join(self.path)[:200]} is not in this directory")
        request = FileRequest(found.sha1, found.manifest, found.size_bytes)
        return FileFolder(TreeLink(self.sha1, self.label, self.path), FileName(request, self.path[-1]))


@dataclass(frozen=True, slots=True)
class TreeDirectory:
    """A tree, or a directory inside it."""

    sha1: Sha1
    label: str
    path: tuple[str, ...]
    tree: Tree
    is_link: bool
    """Whether it was reached through ``sha1dir:``, where names may be percent-encoded as in a link."""


@dataclass(frozen=True, slots=True)
class FileFolder:
    """A folder with one file: what an entry of a collection is whose link names a file."""

    link: FileLink | TreeLink
    file: FileName


@dataclass(frozen=True, slots=True)
class ShownCollection:
    """What stands in an opened collection: its JSON, and its entries by part and id."""

    json: File
    parts: Mapping[Part, Mapping[str, UnloadedTree | FileFolder]]


@dataclass(frozen=True, slots=True)
class CollectionDirectory:
    """``collections/NAME``; its JSON is asked for when somebody enters it."""

    link: FileLink
    shown: ShownCollection | None = None


@dataclass(frozen=True, slots=True)
class PartDirectory:
    """``collections/NAME/recordings`` or ``…/sortings``."""

    entries: Mapping[str, UnloadedTree | FileFolder]


@dataclass(frozen=True, slots=True)
class Readme:
    """The text in the root."""


@dataclass(frozen=True, slots=True)
class File:
    """A file by its digest."""

    request: FileRequest
    label: str
    size_bytes: int
    trust: Trust
    binding: Binding | None
    """None where only asking tells what proves it; such a one can be listed, not opened."""

    @property
    def key(self) -> Hashable:
        """What names of one content and one proof have in common."""
        return (self.binding, self.trust) if self.binding else self.request


Directory = FixedDirectory | LabelsDirectory | TreeDirectory | CollectionDirectory | PartDirectory | FileFolder
Node = Directory | UnloadedTree | Readme | File


def file_of_located(request: FileRequest, label: str, located: LocatedFile) -> File:
    return File(request, label, located.size_bytes, located.trust, located.binding)


def empty_file(label: str) -> File:
    """Return the file without bytes, of which everybody has a copy."""
    return File(FileRequest(EMPTY_SHA1, None, 0), label, 0, Trust.PROVEN, Binding(EMPTY_SHA1, None, 0))


def file_of_entry(entry: FileEntry, label: str) -> File:
    """Return the node of a tree's entry, without asking anybody.

    An old tree names no manifest: there the entry of a file of several blocks is what its provider claims.
    """
    if entry.size_bytes == 0 and entry.sha1 == EMPTY_SHA1:
        return empty_file(label)
    request = FileRequest(entry.sha1, entry.manifest, entry.size_bytes)
    if entry.manifest is not None:
        return File(request, label, entry.size_bytes, Trust.LINKED, Binding(entry.sha1, entry.manifest))
    if entry.size_bytes <= BLOCK_BYTES:
        return File(request, label, entry.size_bytes, Trust.LINKED, Binding(entry.sha1, None, entry.size_bytes))
    return File(request, label, entry.size_bytes, Trust.CLAIMED, None)


def file_of_known(known: KnownFile) -> File:
    """Return the node that a listing of ``sha1`` shows; what is only claimed must be asked for before it is opened."""
    request = FileRequest(known.sha1)
    if known.trust is Trust.CLAIMED:
        return File(request, "", known.size_bytes, known.trust, None)
    binding = Binding(known.sha1, known.manifest, None if known.manifest else known.size_bytes)
    return File(request, "", known.size_bytes, known.trust, binding)


def check_size(file: File, located: LocatedFile) -> None:
    """Refuse what was located for an entry of another size."""
    _check_size(file.request.sha1, file.size_bytes, located)


def check_request(request: FileRequest, located: LocatedFile) -> None:
    """Refuse what was located for a request that names another size."""
    if request.size_bytes is not None:
        _check_size(request.sha1, request.size_bytes, located)


def _check_size(sha1: Sha1, size_bytes: int, located: LocatedFile) -> None:
    if located.size_bytes != size_bytes:
        raise ProofError(
            f"sha1 {sha1.short}: its directory says {size_bytes} bytes, what was found has "
            f"{located.size_bytes}; tell whoever made the directory"
        )


def is_proven_alike(file: File, located: LocatedFile) -> bool:
    """Tell whether what was located may be read under this node's inode.

    A claim has an inode of its own for each manifest; what is not claimed must never turn into a claim.
    """
    if file.trust is Trust.CLAIMED:
        return located.trust is Trust.CLAIMED and located.binding == file.binding
    return located.trust is not Trust.CLAIMED
