"""Find what a name stands for in a directory, asking peers only for digests."""

from __future__ import annotations

from .asking import Asker
from .listing import find_in_root, find_in_tree
from .names import FileName, LabelsName, Place, decode_name, find_labelled, find_named
from .nodes import (
    EMPTY_SHA1,
    File,
    FixedDirectory,
    LabelsDirectory,
    Node,
    TreeDirectory,
    check_size,
    empty_file,
    file_of_located,
)

Directory = FixedDirectory | LabelsDirectory | TreeDirectory


async def find_child(directory: Directory, raw: bytes, asker: Asker) -> Node | None:
    """Return the node, None where the name can stand for nothing; NotFoundError where nobody has it."""
    name = decode_name(raw)
    if isinstance(directory, TreeDirectory):
        return await _settle(find_in_tree(directory, name), asker)
    if isinstance(directory, LabelsDirectory):
        labelled = find_labelled(directory.sha1, name)
        return await _locate(labelled, asker) if labelled else None
    if directory.place is Place.ROOT:
        return find_in_root(name)
    return await _find_digest(directory.place, name, asker)


async def _find_digest(place: Place, name: str, asker: Asker) -> Node | None:
    named = find_named(place, name)
    if isinstance(named, FileName):
        return await _locate(named, asker)
    if isinstance(named, LabelsName):
        return LabelsDirectory(named.sha1)
    if named is None:
        return None
    tree = await asker.get_tree(named.sha1)
    return TreeDirectory(named.sha1, named.label, (), tree, place is Place.TREE_LINKS)


async def _locate(named: FileName, asker: Asker) -> File:
    if named.request.sha1 == EMPTY_SHA1:
        return empty_file(named.label)
    return file_of_located(named.request, named.label, await asker.locate(named.request))


async def _settle(node: Node | None, asker: Asker) -> Node | None:
    """Ask for what proves an entry of an old tree, since an inode belongs to the file's proof."""
    if not isinstance(node, File) or node.binding is not None:
        return node
    located = await asker.locate(node.request)
    check_size(node, located)
    return file_of_located(node.request, node.label, located)
