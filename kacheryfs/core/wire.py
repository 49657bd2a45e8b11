"""What peers say to each other: the specification, and the pure part of speaking it.

Goals
-----
Plain HTTP/1.1, so that ``curl``, a browser, nginx, a bucket or a CDN can stand in for a peer. Every answer can be
verified by the asker. Who knows a digest may read it; who doesn't learns nothing. A client needs four round trips at
most from a name to its first byte, and under 200 KB of metadata for it, at any file size.

Non-goals
---------
Listing what a peer has. Telling one asker from another. Secrecy from somebody who watches the line (use https).
Writing. Proving who a peer is: a URL leads to it, and its id only tells two URLs of one peer from two peers.

Requests
--------
All are GET (HEAD is answered alike, without the body). ``H`` is a SHA-1 in 40 lowercase hex, ``M`` a manifest digest
(64 hex BLAKE3, or 40 hex for a legacy manifest), ``D`` a BLAKE3 in 64 hex.

``/v1/peer``
    ``{"protocol": 1, "software": "kacheryfs/0.1.0", "id": I}``. A server that answers anything else is a *static* peer:
    it is asked only for ``/sha1/…`` and ``/manifest/…``. ``I`` is 16 random bytes in 32 lowercase hex: the same for
    every process of one catalog and store on one machine, kept over restarts. Peers that read one file at once agree
    by their ids which of them asks the origin for which block. It may be absent or malformed (then there is none), and
    a peer can claim any: nothing is trusted because of it.
``/v1/have?q=Q&q=Q…``
    ``{"have": [true, false, …]}``, in order, at most 64. ``Q`` is ``SHA-1("kacheryfs-1:" + H)`` in hex: ``H`` itself is
    told only to who says yes. "Yes" means: some of it, under some manifest.
``/v1/file/H``
    ``{"size": bytes, "manifest": M or null}`` for a file that this peer shares or has proven, else 404. A peer repeats
    no claims of others.
``/v1/presence/H/M/G``
    What the peer has of group ``G`` (blocks ``[2048 G, 2048 (G+1))`` of the file under ``M``): a bitmap, block ``i`` of
    the group is bit ``i % 8`` (least significant first) of byte ``i // 8``; exactly as many bytes as the group's blocks
    need. 404: nothing under ``M``, or the file has no such group. Who has the whole file answers for its own ``M``.
``/sha1/H``
    The bytes of a shared original or of a proven file, with ``Range``; 206, 416 and 404 as RFC 9110 says;
    ``ETag "H"``, immutable. 410 Gone: an original that was changed after it was hashed. A body that ends before its
    Content-Length: it was changed, or found damaged, while it was being sent.
``/v1/blocks/H/M``
    The same of a file that is present in part; ``Range`` is required (else 400), also for HEAD, and a span that isn't
    wholly present is answered 404. The asker must verify. With ``Prefer: wait=N`` (RFC 7240; whole seconds, N over 5
    counts as 5) the peer may wait for what is missing of the span while it is fetching just that: at most N s for the
    head (404 as before once a block of the span is neither here nor on its way, or none came in time), and as long
    again for each later block, which is sent as it comes. A body that ends early: a block didn't come. Who is busy, or
    doesn't know the header, answers at once.
``/manifest/ab/cd/ef/D``
    The root, or a group, of a manifest (``core/manifest.py``), under its own digest whose first three bytes are
    ``ab cd ef``.

Static layout
-------------
Any web server that serves ``sha1/H`` or ``sha1/ab/cd/ef/H`` and ``manifest/ab/cd/ef/D`` from a folder is a peer. A
store's own folder is laid out so.

Errors
------
4xx and 5xx carry ``{"error": "one line"}``. 400: not well formed; 401, 403: not for you (below); 404: not here; 405:
another method; 410: changed original; 412: ``If-Match`` names another; 413/414/431: too large; 416: no such range; 500:
catalog or store can't be read; 503 with ``Retry-After``: too busy. A query is ignored where none is asked for.

Access
------
A peer may answer only its own network (403, told once a connection) or only who says a secret that it gave out
(``Authorization: Bearer …``, RFC 6750; else 401 to whatever is asked, and the connection is closed). An asker says a
secret only to the URL that it was told it for. On a line that others watch it is theirs, too: use https. A 403 without
the error above is a static peer's way to say 404 (a bucket that nobody may list).

Limits
------
A request's head is at most 16 KiB, a response's head 32 KiB; a request has no body. JSON answers are at most 64 KiB.
Redirects are not followed, content encodings not accepted. Both sides bound time: a head must come within 10 s, a body
must keep moving.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import PeerLiedError
from .manifest import GROUP_BLOCKS, MAX_FILE_BYTES
from .model import Binding, Blake3, BlockRange, ByteRange, Layout, ManifestDigest, Sha1, parse_manifest_digest

PROTOCOL = 1
MAX_HAVE = 64
MAX_JSON_BYTES = 64 * 1024
MAX_REQUEST_HEAD_BYTES = 16 * 1024
MAX_RESPONSE_HEAD_BYTES = 32 * 1024

MAX_WAIT_S = 5
PEER_ID_BYTES = 16
_PEER_ID = re.compile(r"[0-9a-f]{32}\Z")

PEER_PATH = "/v1/peer"
HAVE_PATH = "/v1/have"


def have_path(salted: Sequence[Sha1]) -> str:
    assert 0 < len(salted) <= MAX_HAVE
    return HAVE_PATH + "?" + "&".join(f"q={digest.hex}" for digest in salted)


def file_path(sha1: Sha1) -> str:
    return f"/v1/file/{sha1.hex}"


def presence_path(binding: Binding, group: int) -> str:
    assert binding.manifest is not None
    return f"/v1/presence/{binding.sha1.hex}/{binding.manifest.hex}/{group}"


def blocks_path(binding: Binding) -> str:
    assert binding.manifest is not None
    return f"/v1/blocks/{binding.sha1.hex}/{binding.manifest.hex}"


def sha1_path(sha1: Sha1) -> str:
    return f"/sha1/{sha1.hex}"


def fan_out(digest: Sha1 | Blake3) -> str:
    """Return ``ab/cd/ef/<hex>``, the place of an object below its folder, on disk and on a static peer."""
    text = digest.hex
    return f"{text[0:2]}/{text[2:4]}/{text[4:6]}/{text}"


def static_sha1_path(sha1: Sha1) -> str:
    return f"/sha1/{fan_out(sha1)}"


def manifest_path(digest: Blake3) -> str:
    return f"/manifest/{fan_out(digest)}"


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What a peer says of a file that it shares or has proven: a claim until proven."""

    size_bytes: int
    manifest: ManifestDigest | None


def _parse_object(data: bytes) -> dict[str, object]:
    if len(data) > MAX_JSON_BYTES:
        raise PeerLiedError(f"a JSON answer of {len(data)} bytes is over the limit of {MAX_JSON_BYTES}")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise PeerLiedError("the answer is not JSON") from exc
    if not isinstance(value, dict):
        raise PeerLiedError("the answer is not a JSON object")
    return value


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """Who a peer says it is."""

    protocol: int
    peer_id: bytes | None
    """Of ``PEER_ID_BYTES``; None where it names none."""


def encode_peer(software: str, peer_id: bytes | None) -> bytes:
    named = {} if peer_id is None else {"id": peer_id.hex()}
    return json.dumps({"protocol": PROTOCOL, "software": software, **named}).encode()


def parse_peer(data: bytes) -> PeerInfo | None:
    """Return who a kacheryfs peer is, None where this is the answer of some other web server."""
    try:
        value = _parse_object(data)
    except PeerLiedError:
        return None
    protocol = value.get("protocol")
    return PeerInfo(protocol, parse_peer_id(value.get("id"))) if type(protocol) is int else None


def parse_peer_id(value: object) -> bytes | None:
    """Read a peer's id; None where it is none."""
    return bytes.fromhex(value) if isinstance(value, str) and _PEER_ID.match(value) else None


def parse_have(data: bytes, n: int) -> list[bool]:
    have = _parse_object(data).get("have")
    if not isinstance(have, list) or len(have) != n or not all(type(item) is bool for item in have):
        raise PeerLiedError(f"'have' is not a list of {n} true or false")
    return have


def parse_file(data: bytes) -> FileInfo:
    value = _parse_object(data)
    size_bytes, manifest = value.get("size"), value.get("manifest")
    if type(size_bytes) is not int or not 0 <= size_bytes <= MAX_FILE_BYTES:
        raise PeerLiedError("'size' is not a number of bytes from 0 to 1 PiB")
    if manifest is None:
        return FileInfo(size_bytes, None)
    try:
        return FileInfo(size_bytes, parse_manifest_digest(manifest if isinstance(manifest, str) else ""))
    except ValueError as exc:
        raise PeerLiedError("'manifest' is not a digest") from exc


def encode_file(info: FileInfo) -> bytes:
    return json.dumps({"size": info.size_bytes, "manifest": info.manifest and info.manifest.hex}).encode()


def encode_error(message: str) -> bytes:
    return json.dumps({"error": message}).encode()


def group_blocks(layout: Layout, group: int) -> BlockRange:
    """Return the blocks of a group, cut at the file's end; empty for a group that the file doesn't have."""
    n_blocks = layout.n_blocks
    return BlockRange(min(group * GROUP_BLOCKS, n_blocks), min((group + 1) * GROUP_BLOCKS, n_blocks))


def encode_presence(present: Sequence[bool]) -> bytes:
    """Pack the presence of a group's blocks, least significant bit first."""
    bits = sum(1 << i for i, is_present in enumerate(present) if is_present)
    return bits.to_bytes(-(-len(present) // 8), "little")


def parse_presence(data: bytes, n: int) -> list[bool]:
    if len(data) != -(-n // 8):
        raise PeerLiedError(f"a bitmap of {n} blocks has {-(-n // 8)} bytes, not {len(data)}")
    bits = int.from_bytes(data, "little")
    return [bool(bits >> i & 1) for i in range(n)]


_PREFER_WAIT = re.compile(r'wait\s*=\s*(?:([0-9]{1,9})|"([0-9]{1,9})")\Z')


def parse_wait_s(prefer: str) -> int:
    """Read how long a ``Prefer`` header lets its request wait: 0 to ``MAX_WAIT_S``; the first "wait" counts."""
    for item in prefer.split(","):
        match = _PREFER_WAIT.match(item.partition(";")[0].strip().lower())
        if match:
            return min(int(match.group(1) or match.group(2)), MAX_WAIT_S)
    return 0


def format_wait(wait_s: float) -> str:
    """Return the value of a ``Prefer`` header; part of a second counts as one."""
    return f"wait={min(math.ceil(wait_s), MAX_WAIT_S)}"


# [0-9], since \d takes the digits of every script.
_RANGE = re.compile(r"bytes=([0-9]{0,20})-([0-9]{0,20})\Z")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,20})-([0-9]{1,20})/([0-9]{1,20}|\*)\Z")


def parse_range(header: str, size_bytes: int) -> ByteRange | None:
    """Read a ``Range`` header of one range.

    None: not one that is understood (RFC 9110: then the whole file is sent). An empty range: it can't be satisfied
    (416).
    """
    match = _RANGE.match(header.strip())
    if not match or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if first == "":
        return ByteRange(max(size_bytes - int(last), 0), size_bytes)
    start, stop = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
    if last and int(last) < start:
        return None
    return ByteRange(start, stop) if start < stop else ByteRange(0, 0)


def format_range(span: ByteRange) -> str:
    return f"bytes={span.start}-{span.stop - 1}"


def format_content_range(span: ByteRange, size_bytes: int) -> str:
    return f"bytes {span.start}-{span.stop - 1}/{size_bytes}"


def parse_content_range(header: str) -> tuple[ByteRange, int | None]:
    """Return the range and the whole size (None for ``*``) that a 206 names."""
    match = _CONTENT_RANGE.match(header.strip())
    if not match or int(match.group(2)) < int(match.group(1)):
        raise PeerLiedError(f"Content-Range {header[:60]!r} is not one")
    size = None if match.group(3) == "*" else int(match.group(3))
    return ByteRange(int(match.group(1)), int(match.group(2)) + 1), size
