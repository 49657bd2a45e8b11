"""An opened collection: the name under which the mount shows the collection behind a link; pure."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError, LinkError
from .collection import why_not_an_id
from .link import FileLink, parse_link

ENDING = ".json"


@dataclass(frozen=True, slots=True)
class OpenedCollection:
    """A name of a folder in ``collections/``, and the link of what stands in it."""

    name: str
    link: FileLink

    def __post_init__(self) -> None:
        reason = why_not_an_id(self.name)
        if reason is None and self.name.startswith("."):
            reason = "would be hidden"
        if reason:
            raise InputError(f"the name {self.name[:80]!r} {reason}; choose another with --name")


def parse_collection_link(text: str) -> FileLink:
    """Read a collection's link, which is one of a file; LinkError for any other."""
    link = parse_link(text)
    if not isinstance(link, FileLink):
        raise LinkError(f"{link} names a folder; a collection's link is sha1://<40 hex>/<name>.json")
    return link


def name_in(link: FileLink) -> str:
    """Return the name that a link's label gives, "" for none."""
    return link.label.removesuffix(ENDING)
