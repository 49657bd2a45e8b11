"""The catalog: what this machine offers, where it lies, and what it held when it was read.

Nothing is copied: an original is its path, its identity and its digests. The folder holds ``catalog.sqlite`` and the
JSON of shared directories (``trees/ab/cd/ef/H``), which are served like originals. A share that was composed
(``composing``) has no place of its own: its path is that of its tree's JSON, and files made for it lie there, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.link import FileLink, TreeLink, parse_link
from ..core.model import Blake3, ManifestDigest, Sha1, parse_manifest_digest
from ..core.wire import FileInfo
from ..errors import CatalogError, ChangedError, InputError, NotFoundError
from .catalog_db import CatalogDb, Row
from .catalog_entry import CatalogEntry, Content, Hashed, NewHash, NewShare
from .catalog_trees import TreeFolder
from .originals import Identity, OpenOriginal, Original, State, changed, shown

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Catalog", "Identity", "OpenOriginal", "Original", "Share", "State"]

_ROWS_AT_ONCE = 10_000
_ORIGINALS_AT_ONCE = 20

_OFFERED = """
FROM original o JOIN hashed h ON h.path = o.path AND h.sha1 = o.sha1 JOIN content c ON c.sha1 = o.sha1
"""


@dataclass(frozen=True, slots=True)
class Share:
    """What was shared under one path; ``link`` is empty for a kachery storage folder, which has one link an object.

    ``missing``: nothing is at the path any more; ``changed``: ``n_changed`` of its files are not what was hashed.
    ``composed_of`` is where the originals of a composed share lie (their folder, or the only one's path), else "".
    """

    path: str
    link: str
    n_files: int
    total_bytes: int
    shared_at: float
    state: State = "ok"
    n_changed: int = 0
    composed_of: str = ""

    @property
    def place(self) -> str:
        """Where the user's own files lie: what to show for a path."""
        return self.composed_of or self.path


class Catalog:
    """What is shared; thread- and process-safe, blocking."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise CatalogError(f"the catalog's folder {folder} can't be made: {exc.strerror}") from exc
        self.folder = folder.resolve()
        self._db = CatalogDb(self.folder / "catalog.sqlite")
        self._own = TreeFolder(self.folder / "trees")
        self._entry = CatalogEntry(self._db, self._own)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # What is offered

    def originals(self, sha1: Sha1) -> list[Original]:
        """Return the places where a file or a directory's JSON lies, whether or not it is still there."""
        return list(self._originals(sha1))

    def _originals(self, sha1: Sha1) -> Iterator[Original]:
        """Yield them by path, a few at a time: a folder can hold thousands of empty files."""
        last: tuple[bytes, int] = (b"", 0)
        while rows := self._db.rows(
            "SELECT DISTINCT o.path, o.root_bytes, h.identity, o.sha1, c.manifest"
            + _OFFERED
            + "WHERE o.sha1 = ? AND (o.path, o.root_bytes) > (?, ?) ORDER BY o.path, o.root_bytes LIMIT ?",
            (sha1.raw, *last, _ORIGINALS_AT_ONCE),
        ):
            yield from map(_original, rows)
            last = rows[-1][:2]

    def find_path(self, path: str | os.PathLike[str]) -> Original | None:
        """Return what is offered of a file of this machine, None if it isn't shared; a link is resolved."""
        row = self._db.row(
            "SELECT o.path, o.root_bytes, h.identity, o.sha1, c.manifest" + _OFFERED + "WHERE o.path = ?",
            (os.path.realpath(os.fsencode(path)),),
        )
        return _original(row) if row else None

    def stale_originals(self) -> list[tuple[bytes, Sha1, int]]:
        """Return (path, SHA-1, size) of what was shared and since read with another content: it isn't offered."""
        rows = self._db.rows(
            "SELECT DISTINCT o.path, o.sha1, c.size FROM original o JOIN content c ON c.sha1 = o.sha1"
            " LEFT JOIN hashed h ON h.path = o.path WHERE h.sha1 IS NOT o.sha1 ORDER BY o.path"
        )
        return [(path, Sha1(sha1), size_bytes) for path, sha1, size_bytes in rows]

    def file_info(self, sha1: Sha1) -> FileInfo | None:
        """Return size and manifest of what is offered, None for anything else."""
        row = self._db.row("SELECT c.size, c.manifest" + _OFFERED + "WHERE o.sha1 = ? LIMIT 1", (sha1.raw,))
        return FileInfo(row[0], _manifest(row[1])) if row else None

    def open_original(self, sha1: Sha1) -> OpenOriginal:
        """Open a file that is still what was hashed.

        ChangedError: every original of it was changed or moved; NotFoundError: it isn't shared here.
        """
        for original in self._originals(sha1):
            try:
                return original.open()
            except ChangedError:
                continue
        if self._db.row("SELECT 1 FROM original WHERE sha1 = ?", (sha1.raw,)):
            raise changed(sha1)
        raise NotFoundError(f"sha1 {sha1.short}: not shared here")

    def find_salted(self, salted: Sha1) -> bool:
        """Tell whether something is offered whose salted digest this is."""
        return bool(self._db.row("SELECT 1" + _OFFERED + "WHERE c.salted = ? LIMIT 1", (salted.raw,)))

    def find_manifest_part(self, digest: Blake3) -> bytes | None:
        """Return a root or a group of what is offered, proven; None where there is none or it is damaged."""
        row = self._db.row(
            "SELECT p.data FROM part p JOIN manifest_part m ON m.digest = p.digest"
            " JOIN content c ON c.manifest = m.manifest JOIN original o ON o.sha1 = c.sha1 WHERE p.digest = ? LIMIT 1",
            (digest.raw,),
        )
        return row[0] if row and Blake3.of(row[0]) == digest else None

    def digests(self) -> Iterator[Sha1]:
        """Yield everything that is offered, the JSON of directories among it, each once."""
        return self._each("SELECT DISTINCT sha1 FROM original WHERE sha1 > ? ORDER BY sha1 LIMIT ?")

    def tree_digests(self) -> Iterator[Sha1]:
        """Yield the directories that are offered, each once."""
        return self._each("SELECT DISTINCT sha1 FROM original WHERE is_tree AND sha1 > ? ORDER BY sha1 LIMIT ?")

    def _each(self, sql: str) -> Iterator[Sha1]:
        last = b""
        while rows := self._db.rows(sql, (last, _ROWS_AT_ONCE)):
            yield from (Sha1(sha1) for (sha1,) in rows)
            last = rows[-1][0]

    # Shares

    def shares(self) -> list[Share]:
        """Return what was shared, oldest first; looks at every file's status, reads none."""
        rows = self._db.rows("SELECT id, path, link, n_files, total_bytes, shared_at FROM share ORDER BY shared_at, id")
        return [self._with_state(share_id, _share(row)) for share_id, *row in rows]

    def _with_state(self, share_id: int, share: Share) -> Share:
        rows = self._db.rows(
            "SELECT o.path, o.root_bytes, h.identity, o.sha1, c.manifest, h.sha1 FROM original o"
            " LEFT JOIN hashed h ON h.path = o.path LEFT JOIN content c ON c.sha1 = o.sha1 WHERE o.share = ?",
            (share_id,),
        )
        share = replace(share, composed_of=self._composed_of(share, [row[0] for row in rows]))
        n_changed = sum(row[3] != row[5] or _original(row[:5]).state() != "ok" for row in rows)
        if not os.path.lexists(share.path):
            return replace(share, state="missing", n_changed=n_changed)
        return replace(share, state="changed" if n_changed else "ok", n_changed=n_changed)

    def _composed_of(self, share: Share, paths: Sequence[bytes]) -> str:
        originals = [path for path in paths if not self._own.holds(path)]
        if not originals or not self._own.holds(os.fsencode(share.path)):
            return ""
        return os.fsdecode(os.path.commonpath(originals))

    def composed_path(self, sha1: Sha1) -> bytes:
        """Return the path of a share that has none of its own: its tree's."""
        return os.fsencode(self._own.path(sha1))

    def unshare(self, link_or_path: str) -> Share:
        """Stop offering a share, named by its path or its link; returns what it was."""
        found = self._shares_of(link_or_path)
        if len(found) > 1:
            paths = ", ".join(shown(share.path) for _, share in found[:5])
            raise InputError(f"{len(found)} shares have this link: name one by its path ({paths})")
        share_id = found[0][0]
        share = self._with_state(*found[0])
        self._entry.remove(share_id)
        return share

    def _shares_of(self, link_or_path: str) -> list[tuple[int, Share]]:
        rows = self._db.rows("SELECT id, path, link, n_files, total_bytes, shared_at FROM share")
        shares = [(share_id, _share(row)) for share_id, *row in rows]
        if link_or_path.startswith(("sha1:", "sha1dir:", "kachery:")):
            return self._shares_with_link(parse_link(link_or_path), shares)
        paths = {os.path.realpath(link_or_path), os.path.abspath(link_or_path)}
        found = [item for item in shares if item[1].path in paths]
        if not found:
            raise InputError(f"{shown(link_or_path)} is not shared: `kacheryfs shares` lists what is")
        return found

    def _shares_with_link(
        self, link: FileLink | TreeLink, shares: Sequence[tuple[int, Share]]
    ) -> list[tuple[int, Share]]:
        is_tree = isinstance(link, TreeLink)
        rows = self._db.rows("SELECT share FROM original WHERE sha1 = ? AND is_tree = ?", (link.sha1.raw, is_tree))
        ids = {share_id for (share_id,) in rows}
        holders = [item for item in shares if item[0] in ids]
        found = holders if is_tree else [item for item in holders if _names(item[1], link.sha1)]
        if found:
            return found
        if holders:
            raise InputError(f"sha1 {link.sha1.short} was shared as part of {shown(holders[0][1].path)}: unshare that")
        raise InputError(f"sha1 {link.sha1.short} is not shared: `kacheryfs shares` lists what is")

    # What was read, offered or not; for sharing

    def hashed_below(self, root: bytes) -> dict[bytes, Hashed]:
        """Return what is known of a file, or of all files below a folder, by path."""
        below = root.rstrip(b"/")
        rows = self._db.rows(
            "SELECT h.path, h.identity, h.sha1, c.size, c.manifest FROM hashed h JOIN content c ON c.sha1 = h.sha1"
            " WHERE h.path = ? OR (h.path > ? AND h.path < ?)",
            (root, below + b"/", below + b"0"),  # "0" is the byte after "/"
        )
        return {row[0]: _hashed(row) for row in rows}

    def has_manifest(self, manifest: ManifestDigest | None) -> bool:
        """Tell whether a manifest is here and right; there is nothing to have of None."""
        if manifest is None:
            return True
        rows = self._db.rows(
            "SELECT p.digest, p.data FROM manifest_part m JOIN part p ON p.digest = m.digest WHERE m.manifest = ?",
            (manifest.raw,),
        )
        return bool(rows) and all(Blake3.of(data).raw == digest for digest, data in rows)

    def remember(self, hashes: Sequence[NewHash]) -> list[NewHash]:
        """Keep what was just read; return those refused, since another content with their SHA-1 is known."""
        return self._entry.remember(hashes)

    def forget_path(self, path: bytes) -> None:
        """Stop offering what a path held, until it is shared again."""
        self._entry.forget_path(path)

    def enter(self, share: NewShare) -> None:
        """Offer all of a share, whose files were remembered before."""
        self._entry.enter(share)


def _original(row: Row) -> Original:
    path, root_bytes, identity, sha1, manifest = row
    relative = path[root_bytes:].lstrip(b"/")
    return Original(Sha1(sha1), _manifest(manifest), path[:root_bytes] or b"/", relative, Identity.unpack(identity))


def _hashed(row: Row) -> Hashed:
    path, identity, sha1, size_bytes, manifest = row
    return Hashed(path, Identity.unpack(identity), Content(Sha1(sha1), size_bytes, _manifest(manifest)))


def _manifest(raw: bytes | None) -> ManifestDigest | None:
    return None if raw is None else parse_manifest_digest(raw.hex())


def _share(row: Sequence[object]) -> Share:
    path, *rest = row
    assert isinstance(path, bytes)
    return Share(os.fsdecode(path), *rest)  # type: ignore[arg-type]


def _names(share: Share, sha1: Sha1) -> bool:
    return bool(share.link) and parse_link(share.link).sha1 == sha1
