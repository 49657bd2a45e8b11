"""Reads what stands behind a collection's link: one of ours, an old one of the lineage, or the snapshot of a feed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..app.embedded import request_of
from ..core.collection import Collection
from ..core.collection_json import MAX_COLLECTION_BYTES, decode_collection
from ..core.collection_lineage import convert_old_collection
from ..core.lineage_collection import is_old_collection, parse_old_collection
from ..core.lineage_feed import is_feed, replay_feed
from ..core.lineage_fields import MAX_LINEAGE_BYTES, parse_lineage_json
from ..core.link import FileLink, TreeLink
from ..core.model import Sha1
from ..core.request import FileRequest
from ..core.tree import FileEntry
from ..errors import InputError, NotFoundError, ProofError

if TYPE_CHECKING:
    from ..app.embedded import Fetcher

_log = logging.getLogger(__name__)

MAX_WARNINGS = 20


@dataclass(frozen=True, slots=True)
class ReadCollection:
    """A collection; ``objects`` are small files that some of its links name, ``is_old`` says that it was converted."""

    value: Collection
    objects: Mapping[Sha1, bytes] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    is_old: bool = False


def read_collection(fetcher: Fetcher, link: FileLink | TreeLink) -> ReadCollection:
    """Fetch and parse a collection; what isn't carried over of an old one is told in the log.

    ProofError where it is damaged, InputError where the link names something else.
    """
    data = fetcher.read_small(_request_of(fetcher, link), MAX_LINEAGE_BYTES)
    try:
        found = parse_collection(data, name=_name_of(link))
    except ProofError as exc:
        raise ProofError(f"sha1 {link.sha1.short}: {exc}") from exc
    _warn(found.warnings)
    return found


def parse_collection(data: bytes, *, name: str) -> ReadCollection:
    """Parse a collection of any kind; ``name`` is for one that has none of its own."""
    if not data.lstrip()[:1] == b"{":
        raise InputError("this is no collection: its file is no JSON object")
    value = parse_lineage_json(data, what="a collection", max_bytes=MAX_LINEAGE_BYTES)
    if is_feed(value):
        old = replay_feed(value)
    elif is_old_collection(value):
        old = parse_old_collection(value)
    elif len(data) <= MAX_COLLECTION_BYTES:
        return ReadCollection(decode_collection(data))
    else:
        raise ProofError(f"a collection of {len(data)} bytes is over the limit of {MAX_COLLECTION_BYTES}")
    converted = convert_old_collection(old, name)
    return ReadCollection(converted.collection, converted.objects, converted.warnings, is_old=True)


def _request_of(fetcher: Fetcher, link: FileLink | TreeLink) -> FileRequest:
    if isinstance(link, FileLink):
        return FileRequest(link.sha1, link.manifest)
    found = fetcher.get_tree(link.sha1).find(link.path)
    if found is None:
        raise NotFoundError(f"{'/'.join(link.path)}: not in the folder sha1 {link.sha1.short}")
    if not isinstance(found, FileEntry):
        raise InputError(f"{str(link)[:200]} is a folder: a collection's link is sha1://<40 hex>/<name>.json")
    return request_of(found)


def _name_of(link: FileLink | TreeLink) -> str:
    label = link.path[-1] if isinstance(link, TreeLink) and link.path else link.label
    return label.removesuffix(".json") or "collection"


def _warn(warnings: tuple[str, ...]) -> None:
    for warning in warnings[:MAX_WARNINGS]:
        _log.warning("%s", warning)
    if len(warnings) > MAX_WARNINGS:
        _log.warning("%s", f"{len(warnings) - MAX_WARNINGS} more things are not carried over")
