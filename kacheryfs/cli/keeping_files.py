"""Which files links stand for: one, all of a folder, and what a collection or a recording's JSON names in its turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..core.lineage_fields import MAX_LINEAGE_BYTES, parse_lineage_json
from ..core.link import FileLink, TreeLink, parse_link
from ..core.model import Sha1
from ..core.request import FileRequest, request_of
from ..core.tree import Tree
from ..errors import InputError, KacheryError, LinkError, ProofError
from .finding import name_of, resolve
from .informing import find_target
from .terminal import say

if TYPE_CHECKING:
    from ..config import Settings
    from ..mount.engine import Engine

Link = FileLink | TreeLink

MAX_LINKS = 100_000
"""Twice the recordings that the largest collection can hold."""
MAX_TOLD = 20
"""Of a thousand files that can't be had."""
_SCHEMES = ("sha1:", "sha1dir:", "kachery:")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file; a folder's own JSON is one, and proven whole by its SHA-1 before use, whoever claims its size."""

    request: FileRequest
    name: str
    is_folder: bool = False

    def fail(self, error: KacheryError) -> Failure:
        """Return that it can't be had."""
        return Failure(self.name, str(FileLink(self.request.sha1, "", self.request.manifest)), error)


@dataclass(frozen=True, slots=True)
class Failure:
    """What can't be had, and why."""

    name: str
    link: str
    error: KacheryError

    def as_json(self) -> dict[str, str]:
        return {"name": self.name, "link": self.link, "reason": str(self.error)}


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that a link stands for."""

    link: Link
    name: str
    tree: Tree


@dataclass(frozen=True, slots=True)
class Listing:
    """The files behind some links, each once, and those links behind which nothing was found."""

    wanted: dict[FileRequest, Wanted] = field(default_factory=dict)
    folders: list[Folder] = field(default_factory=list)
    named: set[FileRequest] = field(default_factory=set)
    """Files that a link names by themselves."""
    failures: list[Failure] = field(default_factory=list)

    @property
    def known_bytes(self) -> int:
        """The sizes that are known before a file is looked up."""
        return sum(request.size_bytes or 0 for request in self.wanted)

    @property
    def sha1s(self) -> set[Sha1]:
        """All that is kept of these files, manifests that are files themselves among it."""
        manifests = {request.manifest for request in self.wanted if isinstance(request.manifest, Sha1)}
        return {request.sha1 for request in self.wanted} | manifests

    def add(self, wanted: Wanted) -> None:
        self.wanted.setdefault(wanted.request, wanted)


@dataclass(frozen=True, slots=True)
class Targets:
    """What a user named, and the peers of the mounts that it was named in."""

    links: list[Link]
    peers: list[str]


def find_targets(texts: Sequence[str], settings: Settings, peers: Sequence[str] = ()) -> Targets:
    """Return the links of links and paths, and whom to ask beside the kept peers; InputError."""
    named = [find_target(text, settings) for text in texts]
    links = list(dict.fromkeys(one.link for one in named))
    return Targets(links, [*peers, *dict.fromkeys(url for one in named for url in one.peers)])


async def list_files(engine: Engine, links: Iterable[Link]) -> Listing:
    """Follow links to all that they name; what can't be followed is among the failures."""
    listing, waiting = Listing(), deque(links)
    seen = set(waiting)
    while waiting:
        link = waiting.popleft()
        try:
            new = [found for found in await _list_one(engine, link, listing) if found not in seen]
        except KacheryError as exc:
            listing.failures.append(Failure(name_of(link), str(link), exc))
            continue
        seen.update(new)
        waiting.extend(dict.fromkeys(new))
        if len(seen) > MAX_LINKS:
            raise InputError(f"more than {MAX_LINKS:,} links in all: name the collection's recordings one by one")
    return listing


async def _list_one(engine: Engine, link: Link, listing: Listing) -> list[Link]:
    """Enter what one link stands for; returns the links that are written in it."""
    found, name = await resolve(engine, link), name_of(link)
    if isinstance(link, TreeLink):
        listing.add(Wanted(FileRequest(link.sha1), name_of(TreeLink(link.sha1, link.label)), is_folder=True))
    if isinstance(found, Tree):
        listing.folders.append(Folder(link, name, found))
        for names, entry in found.walk():
            listing.add(Wanted(request_of(entry), "/".join((name, *names))))
        return []
    listing.add(Wanted(found, name))
    listing.named.add(found)
    return await _read_links(engine, found) if name.endswith(".json") else []


async def _read_links(engine: Engine, request: FileRequest) -> list[Link]:
    """Return the links in a JSON file: a collection's entries, the raw data of an old recording."""
    if (await engine.locate(request)).size_bytes > MAX_LINEAGE_BYTES:
        return []
    try:
        value = parse_lineage_json(await read_all(engine, request), what="a collection")
    except ProofError:  # a file like any other, whatever its name
        return []
    return list(_links_in(value))


async def read_all(engine: Engine, request: FileRequest) -> bytes:
    """Return the whole of a small file."""
    located = await engine.locate(request)
    reader = located.open()
    try:
        return bytes(await reader.read(0, located.size_bytes))
    finally:
        reader.close()


def tell_failures(failures: Sequence[Failure]) -> None:
    for failure in failures[:MAX_TOLD]:
        say(f"not complete: {failure.name}: {failure.error}")
    if len(failures) > MAX_TOLD:
        say(f"not complete: {len(failures) - MAX_TOLD:,} more; --json names them all")


def worst_exit_code(failures: Sequence[Failure]) -> int:
    """Wrong bytes weigh more than a peer that is down, and that more than what nobody has."""
    return max((failure.error.exit_code for failure in failures), default=0)


def _links_in(value: object) -> Iterator[Link]:
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            # The version of a collection before this one is another collection.
            waiting += [member for key, member in found.items() if key != "previous"]
        elif isinstance(found, list):
            waiting += found
        elif isinstance(found, str) and found.startswith(_SCHEMES):
            try:
                yield parse_link(found)
            except LinkError:
                continue  # words that begin like a link
