"""Find what a name stands for in a directory, and list what stands there, asking peers only for digests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import trio

from ..errors import NotFoundError
from .asking import Asker
from .collections import OpenedCollections
from .engine import Known
from .listing import (
    Listing,
    find_in_collection,
    find_in_root,
    find_in_tree,
    list_collection,
    list_known,
    list_named,
    list_nothing,
    list_root,
    list_tree,
)
from .names import HIDDEN, FileName, LabelsName, Place, decode_name, find_labelled, find_named
from .nodes import (
    EMPTY_SHA1,
    CollectionDirectory,
    Directory,
    File,
    FileFolder,
    FixedDirectory,
    LabelsDirectory,
    Node,
    PartDirectory,
    Readme,
    TreeDirectory,
    UnloadedTree,
    check_request,
    empty_file,
    file_of_located,
)
from .refusals import NotDirectoryRefusal


class Lookup:
    """Names to nodes, by what this machine knows, what was opened here, and what peers answer."""

    def __init__(self, asker: Asker, known: Known, collections: OpenedCollections) -> None:
        self._asker = asker
        self._known = known
        self._collections = collections

    async def load(self, node: Node) -> Directory:
        """Return the directory that a node is, with what stands in it; NotDirectoryRefusal for a file."""
        if isinstance(node, UnloadedTree):
            return await self._load_tree(node)
        if isinstance(node, CollectionDirectory) and node.shown is None:
            return replace(node, shown=await self._collections.load(node.link, self._asker))
        if isinstance(node, File | Readme):
            raise NotDirectoryRefusal("a file has nothing in it")
        return node

    async def _load_tree(self, node: UnloadedTree) -> Directory:
        tree = await self._asker.get_tree(node.sha1)
        try:
            return node.loaded(tree)
        except NotFoundError as exc:  # its link has a path that the tree lacks
            self._asker.note_failure(node.sha1, exc)
            raise

    async def find_child(self, directory: Directory, raw: bytes) -> Node | None:
        """Return the node, None where the name can stand for nothing; NotFoundError where nobody has it."""
        name = decode_name(raw)
        if isinstance(directory, FixedDirectory):
            return await self._find_fixed(directory.place, name)
        if isinstance(directory, TreeDirectory):
            return await self._settle(find_in_tree(directory, name))
        if isinstance(directory, LabelsDirectory):
            labelled = find_labelled(directory.sha1, name)
            return await self._locate(labelled) if labelled else None
        if isinstance(directory, PartDirectory):
            return directory.entries.get(name)
        if isinstance(directory, FileFolder):
            return await self._locate(directory.file) if name == directory.file.label else None
        return await self._settle(find_in_collection(directory, name))

    async def list_children(self, directory: Directory) -> Listing[Any]:
        if isinstance(directory, FixedDirectory):
            return await self._list_fixed(directory.place)
        if isinstance(directory, TreeDirectory):
            return list_tree(directory)
        if isinstance(directory, LabelsDirectory):
            return list_nothing()
        if isinstance(directory, PartDirectory):
            return list_named(directory.entries)
        if isinstance(directory, FileFolder):
            return list_named({directory.file.label: await self._locate(directory.file)})
        return list_collection(directory)

    async def _find_fixed(self, place: Place, name: str) -> Node | None:
        if place is Place.ROOT:
            return find_in_root(name)
        if place is Place.COLLECTIONS:
            return self._collections.find(name)
        return await self._find_digest(place, name)

    async def _list_fixed(self, place: Place) -> Listing[Any]:
        if place is Place.ROOT:
            return list_root()
        if place is Place.COLLECTIONS:
            return list_named({name: CollectionDirectory(link) for name, link in self._collections.links.items()})
        if place in HIDDEN:
            return list_nothing()
        return list_known(await trio.to_thread.run_sync(self._known), place)

    async def _find_digest(self, place: Place, name: str) -> Node | None:
        named = find_named(place, name)
        if isinstance(named, FileName):
            return await self._locate(named)
        if isinstance(named, LabelsName):
            return LabelsDirectory(named.sha1)
        if named is None:
            return None
        tree = await self._asker.get_tree(named.sha1)
        return TreeDirectory(named.sha1, named.label, (), tree, place is Place.TREE_LINKS)

    async def _locate(self, named: FileName) -> File:
        if named.request.sha1 == EMPTY_SHA1 and not named.request.size_bytes:
            return empty_file(named.label)
        located = await self._asker.locate(named.request)
        check_request(named.request, located)
        return file_of_located(named.request, named.label, located)

    async def _settle(self, node: Node | None) -> Node | None:
        """Ask for what proves an entry of an old tree, since an inode belongs to the file's proof."""
        if not isinstance(node, File) or node.binding is not None:
            return node
        return await self._locate(FileName(node.request, node.label))
