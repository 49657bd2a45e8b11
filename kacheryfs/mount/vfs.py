"""What the mount shows and promises, without a kernel: nodes by inode, and handles on them.

A method that may wait is a coroutine; the others are one atomic step. After each await the inode is looked up again
before it is changed, since the kernel may have forgotten it meanwhile. Errors are KacheryErrors: their errno is the
answer.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import trio

from ..core.model import Binding, Sha1
from ..core.request import Trust
from ..errors import ClaimError, KacheryError, NotFoundError
from .asking import Asker
from .attributes import Absent, Attributes, absent_in, attributes_of
from .collections import OpenedCollections
from .ending import Ending
from .engine import Engine, FileReader, FindPresent, Known
from .inodes import ROOT, Inodes
from .listing import Listing
from .lookup import Lookup
from .misses import Failure
from .names import Place
from .nodes import (
    EMPTY_SHA1,
    CollectionDirectory,
    Directory,
    File,
    FixedDirectory,
    Node,
    Readme,
    UnloadedTree,
    check_size,
    is_proven_alike,
)
from .openfiles import OpenFiles, read_whole
from .paths import Paths
from .readers import BytesReader
from .readme import README_BYTES
from .refusals import BadHandleRefusal, DirectoryRefusal, NoAttributeRefusal, StaleRefusal
from .xattrs import STATUS, find_status, has_status, values_of

log = logging.getLogger(__name__)

MAX_RETIRED = 1024


@dataclass(frozen=True, slots=True)
class Opened:
    """An open file's handle, and whether the kernel may keep the pages that it has of it."""

    handle: int
    keep_cache: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a listing; ``next_index`` is where the next one begins."""

    name: bytes
    attributes: Attributes
    next_index: int


class Vfs:
    """The file system; ``fuse.py`` brings the kernel's requests to it."""

    def __init__(
        self,
        engine: Engine,
        *,
        known: Known,
        find_present: FindPresent,
        whole_file_limit_bytes: int = 64 * 1024 * 1024,
        negative_ttl_s: float = 2.0,
    ) -> None:
        self._asker = Asker(engine, negative_ttl_s=negative_ttl_s)
        self.collections = OpenedCollections()
        self._lookup = Lookup(self._asker, known, self.collections)
        self._find_present = find_present
        self._whole_file_limit_bytes = whole_file_limit_bytes
        self._negative_ttl_s = negative_ttl_s
        self._inodes = Inodes()
        self._inodes.hold("root", FixedDirectory(Place.ROOT))
        self._paths = Paths(self._inodes, self.collections)
        self._files = OpenFiles()
        self.ending = Ending()
        self._directories: dict[int, tuple[int, Listing[Any]]] = {}
        self._next_directory = 1
        self._retiring, self.retired = trio.open_memory_channel[int](MAX_RETIRED)

    # names and attributes

    async def lookup(self, parent: int, raw: bytes) -> Attributes | Absent:
        """Return what a name stands for; every answer but Absent counts as a lookup until ``forget``."""
        directory = await self._enter(parent)
        try:
            node = await self._lookup.find_child(directory, raw)
        except NotFoundError as exc:
            log.log(exc.log_level, "%r: %s", raw, exc)
            return Absent(self._negative_ttl_s)
        if node is None:
            return absent_in(directory)
        inode = self._inodes.enter(_key_of(parent, raw, node), node)
        self._inodes.count_lookup(inode)
        self._label(inode, node)
        return attributes_of(inode, node)

    @property
    def n_inodes(self) -> int:
        """How many inodes the kernel knows, and so how many are held here."""
        return len(self._inodes)

    @property
    def n_open_files(self) -> int:
        return len(self._files)

    def get_attributes(self, inode: int) -> Attributes:
        return attributes_of(inode, self._get(inode))

    def forget(self, inode: int, n_lookups: int) -> None:
        """Take back lookups; the root stays."""
        if inode != ROOT:
            self._inodes.forget(inode, n_lookups)

    # directories

    async def open_directory(self, inode: int) -> int:
        listing = await self._lookup.list_children(await self._enter(inode))
        handle, self._next_directory = self._next_directory, self._next_directory + 1
        self._directories[handle] = (inode, listing)
        return handle

    def entries(self, handle: int, start: int) -> Iterator[Entry]:
        """Yield the entries from ``start``.

        Each that the kernel took must be told to ``count_listed``, one that it did not take to ``forget``.
        """
        if handle not in self._directories:
            raise BadHandleRefusal(f"directory handle {handle} is not open")
        parent, listing = self._directories[handle]
        for index in range(start, len(listing)):
            name, node = listing[index]
            inode = self._inodes.enter(_key_of(parent, name, node), node)
            yield Entry(name, attributes_of(inode, node), index + 1)

    def count_listed(self, inode: int) -> None:
        self._inodes.count_lookup(inode)

    def close_directory(self, handle: int) -> None:
        self._directories.pop(handle, None)

    # files

    async def open(self, inode: int) -> Opened:
        node = self._get(inode)
        if isinstance(node, Readme):
            return Opened(self._files.add(inode, node, len(README_BYTES), BytesReader(README_BYTES)), True)
        if not isinstance(node, File):
            raise DirectoryRefusal("a directory can't be read like a file")
        reader = await self._open(node)
        is_large_claim = node.trust is Trust.CLAIMED and node.size_bytes > self._whole_file_limit_bytes
        return Opened(self._files.add(inode, node, node.size_bytes, reader), not is_large_claim)

    def read_now(self, handle: int, offset: int, n_bytes: int) -> memoryview | None:
        """Return the bytes where they are at hand, until the caller's next await; None for whatever ``read`` is for."""
        return self._files.read_now(handle, offset, n_bytes)

    async def read(self, handle: int, offset: int, n_bytes: int) -> bytes | memoryview:
        """Return the bytes, fewer only at the end of the file; a buffer may be reused after the caller's next await."""
        opened = self._files.get(handle)
        try:
            with self.ending.watched():
                return await read_whole(opened, offset, n_bytes)
        except KacheryError as exc:
            if isinstance(opened.file, File):
                self._asker.note_failure(opened.file.request.sha1, exc)
            if isinstance(exc, ClaimError):
                self._retire(opened.inode)
            raise

    def close(self, handle: int) -> None:
        self._files.close(handle)

    def close_all(self) -> None:
        """Close what is open when the mount ends."""
        self._files.close_all()
        self._directories.clear()

    # extended attributes

    async def get_xattr(self, inode: int, name: str) -> bytes:
        node = self._get(inode)
        if name == STATUS and isinstance(node, UnloadedTree):
            node = await self._enter(inode)
        if name == STATUS and has_status(node):
            return (await find_status(node, self._find_present)).encode()
        value = values_of(node).get(name)
        if value is None:
            raise NoAttributeRefusal(f"there is no attribute {name}")
        return value.encode()

    def list_xattrs(self, inode: int) -> list[str]:
        node = self._get(inode)
        return [*([STATUS] if has_status(node) else []), *values_of(node)]

    # for the control socket

    def find_digest(self, parts: Sequence[str]) -> Sha1 | None:
        """Return the digest behind a path below the mountpoint, without waiting; None where there is no such name."""
        return self._paths.find_digest(parts)

    def find_files(self, parts: Sequence[str]) -> set[Sha1]:
        """Return what may be waited for at a path or below it, without waiting; nothing for no such name."""
        return self._paths.find_files(parts)

    def find_failure(self, sha1: Sha1) -> Failure | None:
        """Return what last went wrong with a file or a tree."""
        return self._asker.find_failure(sha1)

    def open_labels(self) -> dict[Sha1, str]:
        """Return a name of each open file that was opened by one."""
        return self._files.labels()

    def forget_misses(self) -> None:
        """Let the next lookup ask again: a peer was added."""
        self._asker.forget_misses()

    def retire_binding(self, binding: Binding) -> None:
        """Withdraw a claim that was proven false: its inode is never given again, and the kernel drops its pages."""
        inode = self._inodes.find_by_key((binding, Trust.CLAIMED))
        if inode is not None:
            self._retire(inode)

    # inside

    def _get(self, inode: int) -> Node:
        node = self._inodes.find(inode)
        if node is None:
            raise StaleRefusal(f"inode {inode} was forgotten")
        return node

    def _label(self, inode: int, named: Node) -> None:
        """Note a name by which a file was asked for, if it has none yet: for the link that its attributes show."""
        node = self._inodes.find(inode)
        if isinstance(node, File) and isinstance(named, File) and not node.label:
            self._inodes.update(inode, replace(node, label=named.label))

    async def _enter(self, inode: int) -> Directory:
        """Return a directory, asking for what stands in it where only its digest is known."""
        node = self._get(inode)
        directory = await self._lookup.load(node)
        if directory is not node and self._inodes.find(inode) is not None:
            self._inodes.update(inode, directory)
        return directory

    async def _open(self, file: File) -> FileReader:
        """Open what the file is found to be now; an empty one needs nobody.

        What was located is good only until the next await (the engine closes idle files), so that it isn't kept.
        """
        if file.request.sha1 == EMPTY_SHA1:
            return BytesReader(b"")
        if file.binding is None:
            raise StaleRefusal("what proves this file isn't known yet")
        located = await self._asker.locate(file.request)
        check_size(file, located)
        if not is_proven_alike(file, located):
            raise StaleRefusal("this file is proven otherwise than when it was looked up")
        return located.open()

    def _retire(self, inode: int) -> None:
        self._inodes.retire(inode)
        try:
            self._retiring.send_nowait(inode)
        except trio.WouldBlock:
            log.warning("inode %d: too many claims fail at once, the kernel keeps its pages of this one", inode)


def _key_of(parent: int, name: bytes, node: Node) -> Hashable:
    """Return what makes a node the same one.

    Names of one file share an inode; a directory's belongs to one name, since Linux lets a directory have no other.
    A collection that takes the place of another under its name is another directory.
    """
    if isinstance(node, CollectionDirectory):
        return (parent, name, node.link)
    return node.key if isinstance(node, File) else (parent, name)
