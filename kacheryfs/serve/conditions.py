"""Range and the conditional headers of RFC 9110 -> what part of a representation is sent; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..core.model import ByteRange
from ..core.wire import parse_range
from .routes import RequestHead

_ETAGS = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


@dataclass(frozen=True, slots=True)
class Selection:
    """A status and the bytes that go with it (none for 304, 412, 416)."""

    status: int
    span: ByteRange


def select(head: RequestHead, etag: str, size_bytes: int) -> Selection:
    """Decide what of a file of ``size_bytes`` answers this request; in the order of RFC 9110, 13.2.2."""
    if_match, if_none_match = head.find("if-match"), head.find("if-none-match")
    if if_match is not None and not _names(if_match, etag, is_weak=False):
        return Selection(412, ByteRange(0, 0))
    if if_none_match is not None and _names(if_none_match, etag, is_weak=True):
        return Selection(304, ByteRange(0, 0))
    span = None if head.method != "GET" else _asked_range(head, etag, size_bytes)
    if span is None:
        return Selection(200, ByteRange(0, size_bytes))
    return Selection(206, span) if span else Selection(416, span)


def _asked_range(head: RequestHead, etag: str, size_bytes: int) -> ByteRange | None:
    value, if_range = head.find("range"), head.find("if-range")
    if value is None or (if_range is not None and if_range.strip() != etag):
        return None
    return parse_range(value.lower(), size_bytes)


def _names(value: str, etag: str, *, is_weak: bool) -> bool:
    """Tell whether a list of entity tags holds this one; weakly, ``W/`` makes no difference."""
    if value.strip() == "*":
        return True
    tags = _ETAGS.findall(value)
    return etag in tags or (is_weak and f"W/{etag}" in tags)
