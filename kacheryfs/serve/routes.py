"""A request's head -> what is asked for, or why it is refused; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..core import wire
from ..core.manifest import MAX_FILE_BYTES, n_groups_of
from ..core.model import Binding, Blake3, Sha1, parse_manifest_digest
from .limits import ServeLimits


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The head of a request as it was received, names of headers in lower case."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()

    def find(self, name: str) -> str | None:
        """Return the value of a header; one that was sent several times is joined by commas, as RFC 9110 says."""
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None

    @property
    def size_bytes(self) -> int:
        """About how many bytes the head took on the wire."""
        return len(self.method) + len(self.target) + sum(len(key) + len(value) + 4 for key, value in self.headers)

    @property
    def says_close(self) -> bool:
        """Tell whether no other request will follow, by RFC 9112, 9.6."""
        return any(option.strip().lower() == "close" for option in (self.find("connection") or "").split(","))

    @property
    def has_body(self) -> bool:
        return self.find("transfer-encoding") is not None or (self.find("content-length") or "0").strip("0") != ""


@dataclass(frozen=True, slots=True)
class Welcome:
    """A person with a browser."""


@dataclass(frozen=True, slots=True)
class AskPeer:
    """Who are you?"""


@dataclass(frozen=True, slots=True)
class AskHave:
    """Which of these have you?"""

    salted: tuple[Sha1, ...]


@dataclass(frozen=True, slots=True)
class AskFile:
    """How large is it, and what is its manifest?"""

    sha1: Sha1


@dataclass(frozen=True, slots=True)
class AskPresence:
    """Which blocks of this group have you?"""

    binding: Binding
    group: int


@dataclass(frozen=True, slots=True)
class GetFile:
    """Bytes of a shared original or a proven file."""

    sha1: Sha1


@dataclass(frozen=True, slots=True)
class GetBlocks:
    """Bytes of a file that is present in part."""

    binding: Binding


@dataclass(frozen=True, slots=True)
class GetManifestPart:
    """A root or a group."""

    digest: Blake3


Route = Welcome | AskPeer | AskHave | AskFile | AskPresence | GetFile | GetBlocks | GetManifestPart


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered: a status and one line."""

    status: int
    message: str
    must_close: bool = False
    """The rest of what was sent can't be told from a next request."""


NOT_HERE = Refusal(404, "there is nothing at this path")
_ONLY_READS = Refusal(405, "only GET and HEAD are answered here")
_NO_BODY = Refusal(413, "a request has no body here", must_close=True)
_NOT_A_PATH = Refusal(400, "the request's target is not a path; this is no proxy")
_BAD_HOST = Refusal(400, "the Host header is not a host and a port")
_BAD_HAVE = Refusal(400, f"ask /v1/have?q=Q&q=Q… with 1 to {wire.MAX_HAVE} digests of 40 lowercase hex digits")

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{0,253})(:[0-9]{1,5})?\Z")
_GROUP = re.compile(r"(?:0|[1-9][0-9]{0,6})\Z")
_MAX_GROUPS = n_groups_of(MAX_FILE_BYTES)


def read_request(head: RequestHead, limits: ServeLimits) -> Route | Refusal:
    """Decide what a request asks for; every fault of its head is found here."""
    if len(head.target) > limits.max_target_bytes:
        return Refusal(414, f"the path is over {limits.max_target_bytes} characters")
    if head.size_bytes > limits.max_head_bytes:
        return Refusal(431, f"the request's head is over {limits.max_head_bytes} bytes", must_close=True)
    if head.has_body:
        return _NO_BODY
    if head.method not in ("GET", "HEAD"):
        return _ONLY_READS
    if not _HOST.match(head.find("host") or ""):
        return _BAD_HOST
    return read_target(head.target)


def read_target(target: str) -> Route | Refusal:
    """Match a target against the table of ``core/wire.py``; nothing is decoded, so what isn't plain isn't there."""
    path, _, query = target.partition("?")
    if not path.startswith("/"):
        return _NOT_A_PATH
    try:
        return _match(path[1:].split("/"), query)
    except ValueError:
        return Refusal(400, "a digest in this path is not 40 (SHA-1) or 64 (BLAKE3) lowercase hex digits")


def _match(parts: Sequence[str], query: str) -> Route | Refusal:
    """Raises ValueError for a digest that isn't one."""
    match parts:
        case [""]:
            return Welcome()
        case ["v1", "peer"]:
            return AskPeer()
        case ["v1", "have"]:
            return _read_have(query)
        case ["v1", "file", sha1]:
            return AskFile(Sha1.from_hex(sha1))
        case ["v1", "presence", sha1, manifest, group]:
            return _read_presence(Binding(Sha1.from_hex(sha1), parse_manifest_digest(manifest)), group)
        case ["v1", "blocks", sha1, manifest]:
            return GetBlocks(Binding(Sha1.from_hex(sha1), parse_manifest_digest(manifest)))
        case ["sha1", sha1]:
            return GetFile(Sha1.from_hex(sha1))
        case ["manifest", *fan, name] if len(fan) == 3:
            digest = Blake3.from_hex(name)
            return GetManifestPart(digest) if "/".join([*fan, name]) == wire.fan_out(digest) else NOT_HERE
    return NOT_HERE


def _read_have(query: str) -> AskHave | Refusal:
    items = query.split("&", wire.MAX_HAVE)
    if len(items) > wire.MAX_HAVE or not all(item.startswith("q=") for item in items):
        return _BAD_HAVE
    try:
        return AskHave(tuple(Sha1.from_hex(item[2:]) for item in items))
    except ValueError:
        return _BAD_HAVE


def _read_presence(binding: Binding, group: str) -> AskPresence | Refusal:
    if not _GROUP.match(group) or int(group) >= _MAX_GROUPS:
        return Refusal(400, "the group in this path is not a number of a group")
    return AskPresence(binding, int(group))
