"""Links: what somebody can be sent, read in every spelling of the lineage and written in one.

A link is refused, never guessed at, where a misread would lower its trust: a damaged ``?manifest=`` is an error,
not a link without a manifest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from ..errors import LinkError
from .model import ManifestDigest, Sha1, parse_manifest_digest
from .names import why_not_a_name

MAX_LINK_CHARS = 64 * 1024
_HELP = "a link is sha1://<40 hex>/<name>?manifest=<64 hex> or sha1dir://<40 hex>.<name>/<path>"
_MANIFEST = re.compile(r"[?&]manifest=([0-9a-f]{64}|[0-9a-f]{40})\Z")
_QUERY = re.compile(r"\?(?=\w+=)")


@dataclass(frozen=True, slots=True)
class FileLink:
    """One file: ``sha1://H/LABEL?manifest=M``; the label is a plain file name and says nothing of the content."""

    sha1: Sha1
    label: str = ""
    manifest: ManifestDigest | None = None

    def __post_init__(self) -> None:
        _check_label(self.label)

    def __str__(self) -> str:
        return f"sha1://{self.sha1}" + (f"/{_encode(self.label)}" if self.label else "") + self._query

    @property
    def _query(self) -> str:
        return f"?manifest={self.manifest}" if self.manifest else ""


@dataclass(frozen=True, slots=True)
class TreeLink:
    """A directory, or what stands at ``path`` inside it: ``sha1dir://H.LABEL/path/inside``."""

    sha1: Sha1
    label: str = ""
    path: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_label(self.label)
        for name in self.path:
            _check_name(name)

    def __str__(self) -> str:
        return "sha1dir://" + "/".join([_digest_label(self), *map(_encode, self.path)])


def parse_link(text: str) -> FileLink | TreeLink:
    """Read a link in any spelling of the lineage; LinkError says in one line what is wrong with it.

    ``sha1:/H`` is read like ``sha1://H``, since that is how paths of the mount are printed.
    """
    link = text.strip()
    if len(link) > MAX_LINK_CHARS:
        raise LinkError(f"a link of {len(link)} characters is over the limit of {MAX_LINK_CHARS}")
    scheme, _, rest = link.partition(":")
    if scheme == "kachery":
        return _parse_kachery2(link, rest)
    if scheme in ("sha1", "sha1dir") and rest.startswith("/"):
        return _parse_uri(link, rest.lstrip("/"), is_tree=scheme == "sha1dir")
    raise LinkError(_why_no_link(link, scheme))


def _why_no_link(link: str, scheme: str) -> str:
    if scheme == "feed":
        return f"{_shown(link)}: a feed is a log owned by a key, not content with a digest; {_HELP}"
    if re.fullmatch(r"[0-9a-f]{40}", link):
        return f"{_shown(link)} is a bare SHA-1: write sha1://{link} for a file, sha1dir://{link} for a directory"
    return f"{_shown(link)} is not a link; {_HELP}"


def _parse_kachery2(link: str, rest: str) -> FileLink:
    """Read ``kachery:zone:sha1:H:label``."""
    parts = rest.split(":", 3)
    if len(parts) < 3 or parts[1] != "sha1":
        raise LinkError(f"{_shown(link)}: expected kachery:<zone>:sha1:<40 hex>:<name>")
    return FileLink(_parse_sha1(link, parts[2]), _decode(parts[3]) if len(parts) > 3 else "")


def _parse_uri(link: str, body: str, *, is_tree: bool) -> FileLink | TreeLink:
    path, query = _split_query(body)
    manifest, query_label = _parse_query(link, query)
    head, *names = path.split("/")
    digest, dot, label = _decode(head).partition(".")
    sha1 = _parse_sha1(link, digest)
    if dot and not label:
        raise LinkError(f"{_shown(link)}: a name is missing after the '.'")
    decoded = tuple(_decode(name) for name in names if name)
    if is_tree:  # a tree is proven by its SHA-1 and names its files' manifests: one in the link adds nothing
        return TreeLink(sha1, label or query_label, decoded)
    return FileLink(sha1, decoded[-1] if decoded else label or query_label, manifest)


def _split_query(body: str) -> tuple[str, str]:
    """Cut ``body`` before its query.

    After a bare digest any ``?`` begins one (``sha1://H?rec.json``); after a name only ``?key=`` does, since foreign
    links hold raw question marks in names.
    """
    cut = _MANIFEST.search(body)
    path, tail = (body[: cut.start()], body[cut.start() + 1 :]) if cut else (body, "")
    slash, mark = path.find("/"), path.find("?")
    if slash != -1 and slash < mark:
        starts = [match.start() for match in _QUERY.finditer(path)]
        mark = starts[-1] if starts else -1
    if mark == -1:
        return path, tail
    return path[:mark], "&".join(part for part in (path[mark + 1 :], tail) if part)


def _parse_query(link: str, query: str) -> tuple[ManifestDigest | None, str]:
    manifest, label = None, ""
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if key == "manifest" and manifest is None:
            manifest = _parse_manifest(link, value)
        elif key == "label" and equals:
            label = _decode(value)
        elif not equals:
            label = _decode(part)
        else:
            raise LinkError(_why_no_query(link, key))
    return manifest, label


def _why_no_query(link: str, key: str) -> str:
    if key == "chunkOf":
        return f"{_shown(link)} names a chunk of another file; open that file by its own link instead"
    if key == "manifest":
        return f"{_shown(link)} names two manifests"
    return f"{_shown(link)}: '?{key[:40]}=' is not known in a link (manifest, label); write a '?' of a name as %3F"


def _parse_sha1(link: str, text: str) -> Sha1:
    try:
        return Sha1.from_hex(text)
    except ValueError as exc:
        raise LinkError(f"{_shown(link)}: {exc}; {_HELP}") from exc


def _parse_manifest(link: str, text: str) -> ManifestDigest:
    try:
        return parse_manifest_digest(text)
    except ValueError as exc:
        raise LinkError(f"{_shown(link)}: its manifest is not 64 (or, of kachery, 40) lowercase hex digits") from exc


def split_manifest(name: str) -> tuple[str, ManifestDigest | None]:
    """Cut a name of the mount at its last ``?manifest=<hex>`` and percent-decode what stands before.

    LinkError where what follows the last ``?manifest=`` is no digest: a damaged link must not pass for a bare name.
    """
    label, mark, text = name.rpartition("?manifest=")
    if not mark:
        return _decode(name), None
    return _decode(label), _parse_manifest(name, text)


def split_digest_label(name: str) -> tuple[Sha1, str] | None:
    """Split ``H`` or ``H.LABEL``, taken as they stand; None for any other name."""
    digest, dot, label = name.partition(".")
    if (dot and not label) or (label and why_not_a_name(label)):
        return None
    try:
        return Sha1.from_hex(digest), label
    except ValueError:
        return None


def mount_path(link: FileLink | TreeLink) -> str:
    """Return where ``link`` stands below the mountpoint.

    With a single slash, since some libraries take ``…://`` in a path for a protocol of their own. Labels stay
    percent-encoded as in the link; names inside a tree are the real ones.
    """
    if isinstance(link, TreeLink):
        return "sha1dir:/" + "/".join([_digest_label(link), *link.path])
    if not link.label and link.manifest is None:
        return f"sha1/{link.sha1}"
    return "sha1:/" + str(link).removeprefix("sha1://")


def _digest_label(link: TreeLink) -> str:
    return f"{link.sha1}.{_encode(link.label)}" if link.label else link.sha1.hex


def _encode(name: str) -> str:
    return quote(name, safe="", errors="surrogateescape")


def _decode(text: str) -> str:
    """Percent-decode by way of bytes, so that one sequence of bytes is one name however it was spelled."""
    try:
        return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError as exc:
        raise LinkError(f"{_shown(text)} is not text that bytes can stand for") from exc


def _check_label(label: str) -> None:
    if label:
        _check_name(label)


def _check_name(name: str) -> None:
    reason = why_not_a_name(name)
    if reason:
        raise LinkError(f"the name {_shown(name)} in a link {reason}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "…")
