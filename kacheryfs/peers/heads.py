"""What a request's head says and what an answer's head means: pure decisions, no I/O.

PeerError out of here names no peer yet: ``seam.Seam`` adds the URL.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NoReturn

import h11

from .. import __version__
from ..core.model import ByteRange
from ..core.secret import Secret
from ..core.wire import format_range, format_wait, parse_content_range
from ..errors import PeerLacksError, PeerLiedError, PeerRefusedError
from .address import PeerAddress

_MAX_TEXT = 80
_BUSY = (429, 502, 503, 504)


class PeerBusyError(PeerRefusedError):
    """The peer, or what stands before it, can't answer just now; that tells nothing about what it has."""


class PeerForbidsError(PeerRefusedError):
    """The peer answers others, or who says its secret: it is one of ours all the same."""


def printable(text: str | bytes) -> str:
    """Cut what a stranger sent to 80 characters that can stand in a message and on a terminal."""
    if isinstance(text, bytes):
        text = text[: 4 * _MAX_TEXT].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in text[:_MAX_TEXT])


@dataclass(frozen=True, slots=True)
class Request:
    """One question: a path below the peer's prefix."""

    path: str
    method: str = "GET"
    span: ByteRange | None = None
    wait_s: float = 0.0
    """How long the peer may wait before it answers, for blocks that are on their way to it."""

    def encode(self, address: PeerAddress, secret: Secret | None = None) -> h11.Request:
        headers = [
            ("Host", address.authority),
            ("User-Agent", f"kacheryfs/{__version__}"),
            ("Accept", "*/*"),
            ("Accept-Encoding", "identity"),
        ]
        if self.span:
            headers.append(("Range", format_range(self.span)))
        if secret is not None:
            headers.append(("Authorization", secret.header))
        if self.wait_s:
            headers.append(("Prefer", format_wait(self.wait_s)))
        return h11.Request(method=self.method, target=address.prefix + self.path, headers=headers)


@dataclass(frozen=True, slots=True)
class Head:
    """An answer's head, its framing understood."""

    status: int
    content_length: int | None
    """Of the body, or of what a HEAD asks about."""
    is_chunked: bool
    content_range: str | None
    content_encoding: str
    may_follow: bool
    """Another request may be sent on this connection."""

    @classmethod
    def of(cls, response: h11.Response) -> Head:
        """Read a head; PeerLiedError where it contradicts itself."""
        lengths, chunked = _all(response, b"content-length"), _all(response, b"transfer-encoding")
        ranges = _all(response, b"content-range")
        if lengths and chunked:
            raise PeerLiedError("the answer has both Content-Length and Transfer-Encoding")
        if len(ranges) > 1:
            raise PeerLiedError("the answer has more than one Content-Range")
        return cls(
            status=response.status_code,
            content_length=int(lengths[0]) if lengths else None,
            is_chunked=bool(chunked),
            content_range=ranges[0].decode("latin-1") if ranges else None,
            content_encoding=printable(b", ".join(_all(response, b"content-encoding"))),
            may_follow=response.http_version == b"1.1" and not _says_close(response),
        )

    @property
    def is_framed(self) -> bool:
        """The body's end can be told from a connection that broke."""
        return self.is_chunked or self.content_length is not None


def _all(response: h11.Response, name: bytes) -> list[bytes]:
    return [value for key, value in response.headers if key == name]


def _says_close(response: h11.Response) -> bool:
    return b"close" in b",".join(_all(response, b"connection")).lower()


def refuse(head: Head, body: bytes, what: str, *, has_secret: bool) -> NoReturn:
    """Raise what a status other than success means for ``what`` was asked, with a secret or without one."""
    said = _error_text(body)
    if head.status == 404:
        raise PeerLacksError(f"it does not have {what}{said}")
    if head.status == 410:
        raise PeerLacksError(f"its {what} was changed since it was shared{said}")
    if head.status == 401 and has_secret:  # the peer itself tells all strangers the same
        raise PeerForbidsError(f"it answers 401 to the secret that is kept for it{said}")
    if head.status == 401 or (head.status == 403 and said):
        raise PeerForbidsError(f"it answers {head.status}{said}")
    if head.status == 403:  # so a bucket answers, where nobody may list it, for a key that it hasn't
        raise PeerLacksError(f"it answers 403 for {what}: it hasn't it, or doesn't give it")
    if 300 <= head.status < 400:
        raise PeerRefusedError(f"it answers {head.status} for {what}, and redirects are not followed")
    kind = PeerBusyError if head.status in _BUSY else PeerRefusedError
    raise kind(f"it answers {head.status} for {what}{said}")


def _error_text(body: bytes) -> str:
    """Return ": words" where the body is the protocol's error answer."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    text = value.get("error") if isinstance(value, dict) else None
    return f": {printable(text)}" if isinstance(text, str) and text else ""


def check_whole(head: Head, max_bytes: int) -> None:
    """Accept a 200 whose body is no longer than ``max_bytes``, else PeerLiedError or PeerRefusedError."""
    if head.status != 200:
        raise PeerLiedError(f"it answers {head.status} where nothing but 200 was asked for")
    _check_body(head)
    if head.content_length is not None and head.content_length > max_bytes:
        raise PeerLiedError(f"its answer of {head.content_length} bytes is over the limit of {max_bytes}")


def check_range(head: Head, span: ByteRange, size_bytes: int) -> None:
    """Accept exactly the bytes of ``span``: a 206, or a 200 where that is the whole file."""
    if head.status not in (200, 206):
        raise PeerLiedError(f"it answers {head.status} where 206 was asked for")
    _check_body(head)
    if head.status == 200:
        _check_whole_file(head, span, size_bytes)
    elif head.content_range is None:
        raise PeerLiedError("its 206 has no Content-Range")
    elif parse_content_range(head.content_range) != (span, size_bytes):
        raise PeerLiedError(
            f"its Content-Range is '{printable(head.content_range)}' where bytes {span.start} to {span.stop - 1} "
            f"of {size_bytes} were asked for"
        )
    if head.content_length not in (None, len(span)):
        raise PeerLiedError(f"its Content-Length is {head.content_length} where {len(span)} bytes were asked for")


def _check_whole_file(head: Head, span: ByteRange, size_bytes: int) -> None:
    if len(span) != size_bytes:
        raise PeerRefusedError("it sends the whole file where a part was asked for: it knows no ranges")


def _check_body(head: Head) -> None:
    if head.content_encoding.lower() not in ("", "identity"):
        raise PeerLiedError(f"its answer is encoded as '{head.content_encoding}', which was not asked for")
    if not head.is_framed:
        raise PeerRefusedError("its answer tells no length, so that its end can't be told from a break")


def size_of(head: Head) -> int:
    """Return the file's size that the answer to a HEAD names."""
    if head.content_encoding.lower() not in ("", "identity") or head.content_length is None:
        raise PeerRefusedError("it does not say how long the file is")
    return head.content_length
