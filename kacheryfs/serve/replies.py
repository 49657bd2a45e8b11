"""What is asked + a Source -> a Reply; blocking (catalog, store and disk are asked), so it runs in a thread."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from .. import __version__
from ..core import wire
from ..core.model import Blake3, ByteRange, Sha1
from ..errors import ChangedError, KacheryError, ProofError
from .conditions import select
from .limits import ServeLimits
from .reading import read_checked
from .routes import (
    NOT_HERE,
    AskFile,
    AskHave,
    AskPeer,
    AskPresence,
    GetBlocks,
    GetFile,
    GetManifestPart,
    Refusal,
    RequestHead,
    Route,
    Welcome,
    read_request,
)
from .source import Readable, Source

log = logging.getLogger("kacheryfs.serve")

_WELCOME = (
    "This is a peer of kacheryfs. It answers who knows the digest of a file, and lists nothing.\n\n"
    "    curl -O http://THIS-HOST/sha1/H      H: the SHA-1 of a file, 40 hex digits\n\n"
    "To read such files as if they were here: pip install kacheryfs, kacheryfs mount ~/kachery --peer http://THIS-HOST\n"
)
_SMALL_BYTES = 64 * 1024
"""So much is read before its head is sent; of more the first bytes leave while a cold disk still reads the others."""
_CHECK_AHEAD_BYTES = 4 * 1024 * 1024
"""What is verified before the head is sent, so that a damaged block is 404; the rest is verified on the way."""

_FRESH = ("Cache-Control", "no-store")
_FOR_EVER = ("Cache-Control", "public, max-age=31536000, immutable")
_BYTES = ("Content-Type", "application/octet-stream")
_JSON = ("Content-Type", "application/json")

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class FileBody:
    """Bytes of an open file; whoever holds it closes ``readable``."""

    readable: Readable
    span: ByteRange
    wait_s: int = 0
    """How long to wait for each block of the span that isn't here yet; 0: all are."""

    def __len__(self) -> int:
        return len(self.span)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer but for what the connection adds."""

    status: int
    headers: Headers
    body: bytes | FileBody = b""
    must_close: bool = False

    @property
    def n_bytes(self) -> int:
        return len(self.body)

    def close(self) -> None:
        if isinstance(self.body, FileBody):
            self.body.readable.close()


def refuse(refusal: Refusal, *extra: tuple[str, str]) -> Reply:
    """Return the JSON error of a refusal."""
    allow: Headers = (("Allow", "GET, HEAD"),) if refusal.status == 405 else ()
    body = wire.encode_error(refusal.message)
    return Reply(refusal.status, (_JSON, _FRESH, *allow, *extra), body, refusal.must_close)


def too_busy(limits: ServeLimits, *, must_close: bool = True) -> Reply:
    refusal = Refusal(503, "too busy; try again in a moment", must_close)
    return refuse(refusal, ("Retry-After", str(limits.retry_after_s)))


class Responder:
    """Turns request heads into replies, out of one Source; thread-safe."""

    def __init__(
        self, source: Source, limits: ServeLimits, warn_once: Callable[[str, str], None], peer_id: bytes | None
    ) -> None:
        self._source = source
        self._limits = limits
        self._warn_once = warn_once
        self._who = wire.encode_peer(f"kacheryfs/{__version__}", peer_id)

    def respond(self, head: RequestHead) -> Reply:
        """Return the reply to a request; every failure of the source is one, too."""
        asked = read_request(head, self._limits)
        if isinstance(asked, Refusal):
            return refuse(asked)
        try:
            return self._answer(asked, head)
        except ChangedError as exc:
            return self._gone(exc)
        except ProofError as exc:
            log.info("not served: %s", exc)
            return refuse(NOT_HERE)
        except (KacheryError, OSError) as exc:
            self._warn_once(str(exc), f"a request could not be answered: {exc}")
            return refuse(Refusal(500, "this peer can't read its catalog or store; its owner's log says why"))

    def _gone(self, exc: ChangedError) -> Reply:
        self._warn_once(str(exc), str(exc))
        return refuse(Refusal(410, "the original was changed after it was shared"))

    def _answer(self, asked: Route, head: RequestHead) -> Reply:
        match asked:
            case Welcome():
                return Reply(200, (("Content-Type", "text/plain; charset=utf-8"), _FRESH), _WELCOME.encode())
            case AskPeer():
                return Reply(200, (_JSON, _FRESH), self._who)
            case AskHave(salted):
                return _json({"have": [self._source.find_salted(digest) for digest in salted]})
            case AskFile(sha1):
                info = self._source.file_info(sha1)
                return refuse(NOT_HERE) if info is None else Reply(200, (_JSON, _FRESH), wire.encode_file(info))
            case AskPresence(binding, group):
                present = self._source.presence(binding, group)
                return refuse(NOT_HERE) if present is None else _octets(wire.encode_presence(present))
            case GetFile(sha1):
                return _send(self._source.open_file(sha1), head, sha1)
            case GetBlocks(binding):
                if head.find("range") is None:
                    return refuse(Refusal(400, "ask for blocks with one Range: bytes=A-B"))
                readable = self._source.open_partial(binding)
                return _send(readable, replace(head, method="GET"), binding.sha1, _wait_s_of(head))
            case GetManifestPart(digest):
                return _send_part(self._source.find_manifest_part(digest), head, digest)


def _json(value: object) -> Reply:
    return Reply(200, (_JSON, _FRESH), json.dumps(value).encode())


def _octets(data: bytes) -> Reply:
    return Reply(200, (_BYTES, _FRESH), data)


def _wait_s_of(head: RequestHead) -> int:
    return wire.parse_wait_s(head.find("prefer") or "")


def _send(readable: Readable | None, head: RequestHead, digest: Sha1, wait_s: int = 0) -> Reply:
    """Answer with bytes of an open file, which is closed unless they go into the reply."""
    if readable is None:
        return refuse(NOT_HERE)
    body = None
    try:
        status, span, headers = _choose(head, digest, readable.size_bytes)
        if status >= 300:
            return _without_bytes(status, headers)
        if readable.find_missing(span) is not None:
            if not wait_s or not readable.is_coming(span):
                return refuse(NOT_HERE)
            body = FileBody(readable, span, wait_s)
            return Reply(status, headers, body)
        if len(span) <= _SMALL_BYTES:
            return Reply(status, headers, read_checked(readable, span))
        ahead = ByteRange(span.start, min(span.stop, span.start + _CHECK_AHEAD_BYTES))
        with readable.hold(ahead):  # so that what can't be held is told by a status, too
            readable.check(ahead)
        body = FileBody(readable, span)
        return Reply(status, headers, body)
    finally:
        if body is None:
            readable.close()


def _send_part(data: bytes | None, head: RequestHead, digest: Blake3) -> Reply:
    if data is None:
        return refuse(NOT_HERE)
    status, span, headers = _choose(head, digest, len(data))
    if status >= 300:
        return _without_bytes(status, headers)
    return Reply(status, headers, data[span.start : span.stop])


def _choose(head: RequestHead, digest: Sha1 | Blake3, size_bytes: int) -> tuple[int, ByteRange, Headers]:
    """Return the status, the bytes and the headers that a request for immutable bytes is answered with."""
    etag = f'"{digest.hex}"'
    chosen = select(head, etag, size_bytes)
    headers: Headers = (("ETag", etag), _FOR_EVER, ("Accept-Ranges", "bytes"))
    if chosen.status == 206:
        headers += (("Content-Range", wire.format_content_range(chosen.span, size_bytes)),)
    elif chosen.status == 416:
        headers = (("Content-Range", f"bytes */{size_bytes}"), ("Accept-Ranges", "bytes"))
    return chosen.status, chosen.span, (_BYTES, *headers) if chosen.status < 300 else headers


_WHY_NOT = {412: "the file's ETag is its digest, and If-Match names another", 416: "the file has no such range"}


def _without_bytes(status: int, headers: Headers) -> Reply:
    if status == 304:
        return Reply(304, headers)
    extra = [header for header in headers if header[0] != "Cache-Control"]
    return refuse(Refusal(status, _WHY_NOT[status]), *extra)
