"""From a link to what the engine is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.link import FileLink, TreeLink
from ..core.request import FileRequest, request_of
from ..core.tree import FileEntry, Tree
from ..errors import InputError, NotFoundError

if TYPE_CHECKING:
    from ..mount.engine import Engine


async def resolve(engine: Engine, link: FileLink | TreeLink) -> FileRequest | Tree:
    """Return the file or the folder that ``link`` names; NotFoundError where its tree has no such path."""
    if isinstance(link, FileLink):
        return FileRequest(link.sha1, link.manifest)
    found = (await engine.get_tree(link.sha1)).find(link.path)
    if found is None:
        raise NotFoundError(f"{'/'.join(link.path)}: not in the folder sha1 {link.sha1.short}")
    return request_of(found) if isinstance(found, FileEntry) else found


async def resolve_file(engine: Engine, link: FileLink | TreeLink) -> FileRequest:
    """Return the file that ``link`` names; InputError for a folder."""
    found = await resolve(engine, link)
    if isinstance(found, Tree):
        raise InputError(f"{link} is a folder: `kacheryfs get` fetches it, a path after it names one of its files")
    return found


def name_of(link: FileLink | TreeLink) -> str:
    """Return the name that a copy gets where none was given."""
    if isinstance(link, TreeLink) and link.path:
        return link.path[-1]
    return link.label or link.sha1.hex
