"""What enters the catalog and what leaves it, each in one transaction."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..core.model import Blake3, ManifestDigest, Sha1, salted
from ..errors import CatalogError
from .catalog_db import CatalogDb
from .catalog_trees import TreeFolder
from .hashing import HashedFile, hash_file
from .originals import Identity, shown


@dataclass(frozen=True, slots=True)
class Content:
    """What a file held when it was read."""

    sha1: Sha1
    size_bytes: int
    manifest: ManifestDigest | None


@dataclass(frozen=True, slots=True)
class Hashed:
    """A path that was read: while its identity stays, so does its content."""

    path: bytes
    identity: Identity
    content: Content


@dataclass(frozen=True, slots=True)
class NewHash:
    """A path that has just been read."""

    path: bytes
    identity: Identity
    file: HashedFile

    @property
    def content(self) -> Content:
        return Content(self.file.sha1, self.file.size_bytes, self.file.manifest)


@dataclass(frozen=True, slots=True)
class Offered:
    """A path that a share offers, with the length of the root that it must be opened beneath."""

    path: bytes
    root_bytes: int
    sha1: Sha1


@dataclass(frozen=True, slots=True)
class NewShare:
    """What ``share`` enters: a folder's or a file's real path, its link, and what it holds.

    ``made`` are the contents of files that stand in the tree and nowhere on disk: the catalog keeps them.
    """

    path: bytes
    link: str
    n_files: int
    total_bytes: int
    offers: Sequence[Offered]
    tree_json: bytes | None = None
    made: Sequence[bytes] = ()


class CatalogEntry:
    """The writing half of the catalog."""

    def __init__(self, db: CatalogDb, trees: TreeFolder) -> None:
        self._db = db
        self._trees = trees

    def remember(self, hashes: Iterable[NewHash]) -> list[NewHash]:
        """Keep what was read, offered or not; return those refused, since another content has their SHA-1."""
        with self._db.transaction():
            return [new for new in hashes if not self._remember(new)]

    def _remember(self, new: NewHash) -> bool:
        content = new.content
        manifest = content.manifest and content.manifest.raw
        self._db.execute(
            "INSERT OR IGNORE INTO content VALUES (?, ?, ?, ?)",
            (content.sha1.raw, content.size_bytes, manifest, salted(content.sha1).raw),
        )
        known = self._db.row("SELECT size, manifest FROM content WHERE sha1 = ?", (content.sha1.raw,))
        if known != (content.size_bytes, manifest):
            return False
        self._put_manifest(new.file)
        self._db.execute(
            "INSERT OR REPLACE INTO hashed VALUES (?, ?, ?)", (new.path, new.identity.pack(), content.sha1.raw)
        )
        return True

    def _put_manifest(self, file: HashedFile) -> None:
        if file.root is None:
            return
        root = file.root.encode()
        manifest = Blake3.of(root)
        parts = [(manifest, root), *zip(file.root.groups, file.groups, strict=True)]
        links = [(manifest.raw, digest.raw) for digest, _ in parts]
        self._db.execute_many(
            "INSERT OR REPLACE INTO part VALUES (?, ?)", [(digest.raw, data) for digest, data in parts]
        )
        self._db.execute_many("INSERT OR IGNORE INTO manifest_part VALUES (?, ?)", links)

    def forget_path(self, path: bytes) -> None:
        """Stop offering what a path held; it is read anew when it is shared again."""
        with self._db.transaction():
            self._db.execute("DELETE FROM hashed WHERE path = ?", (path,))

    def enter(self, share: NewShare) -> None:
        """Offer all of a share, in place of what was offered under its path before.

        A directory's earlier JSON stays, so that an old link goes on naming those files that did not change.
        """
        with self._db.transaction():
            share_id = self._put_share(share)
            old = self._db.rows("SELECT path, sha1 FROM original WHERE share = ? AND NOT is_tree", (share_id,))
            self._db.execute("DELETE FROM original WHERE share = ? AND NOT is_tree", (share_id,))
            self._offer(share_id, share.offers, is_tree=False)
            self._offer(share_id, [self._put_own(data) for data in share.made], is_tree=False)
            if share.tree_json is not None:
                self._offer(share_id, [self._put_own(share.tree_json)], is_tree=True)
            self._require_known(share_id, share.path)
            self._forget_paths(path for path, _ in old)
            self._forget_contents(sha1 for _, sha1 in old)

    def _put_share(self, share: NewShare) -> int:
        self._db.execute(
            "INSERT INTO share (path, link, n_files, total_bytes, shared_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (path) DO UPDATE SET link = excluded.link, n_files = excluded.n_files,"
            " total_bytes = excluded.total_bytes, shared_at = excluded.shared_at",
            (share.path, share.link, share.n_files, share.total_bytes, time.time()),
        )
        row = self._db.row("SELECT id FROM share WHERE path = ?", (share.path,))
        assert row is not None
        return int(row[0])

    def _offer(self, share_id: int, offers: Sequence[Offered], *, is_tree: bool) -> None:
        self._db.execute_many(
            "INSERT OR REPLACE INTO original VALUES (?, ?, ?, ?, ?)",
            [(share_id, offer.path, offer.root_bytes, offer.sha1.raw, is_tree) for offer in offers],
        )

    def _put_own(self, data: bytes) -> Offered:
        sha1 = Sha1.of(data)
        self._trees.put(sha1, data)
        path = os.fsencode(self._trees.path(sha1))
        with open(path, "rb") as file:
            identity = Identity.of(os.fstat(file.fileno()))
            hashed = hash_file(file.fileno(), len(data))
        if hashed.sha1 != sha1 or not self._remember(NewHash(path, identity, hashed)):
            raise CatalogError(f"the catalog's own file {os.fsdecode(path)} was written wrong: check the disk")
        return Offered(path, len(os.fsencode(self._trees.root)), sha1)

    def _require_known(self, share_id: int, path: bytes) -> None:
        unknown = self._db.row(
            "SELECT 1 FROM original o LEFT JOIN hashed h ON h.path = o.path LEFT JOIN content c ON c.sha1 = o.sha1"
            " WHERE o.share = ? AND (h.path IS NULL OR c.sha1 IS NULL) LIMIT 1",
            (share_id,),
        )
        if unknown:
            raise CatalogError(
                f"{shown(os.fsdecode(path))}: another process took files of it out of the catalog; share it again"
            )

    def remove(self, share_id: int) -> None:
        """Stop offering a share. What its files held stays known, so that sharing again reads nothing twice."""
        with self._db.transaction():
            rows = self._db.rows("SELECT path, sha1 FROM original WHERE share = ?", (share_id,))
            self._db.execute("DELETE FROM original WHERE share = ?", (share_id,))
            self._db.execute("DELETE FROM share WHERE id = ?", (share_id,))
            own = [(path, sha1) for path, sha1 in rows if self._trees.holds(path)]
            self._forget_paths(path for path, _ in own)
            for path, sha1 in own:
                if self._db.row("SELECT 1 FROM hashed WHERE path = ?", (path,)) is None:
                    self._trees.remove(Sha1(sha1))
            self._forget_contents(sha1 for _, sha1 in own)

    def _forget_paths(self, paths: Iterable[bytes]) -> None:
        self._db.execute_many(
            "DELETE FROM hashed WHERE path = ?1 AND NOT EXISTS (SELECT 1 FROM original WHERE path = ?1)",
            [(path,) for path in paths],
        )

    def _forget_contents(self, sha1s: Iterable[bytes]) -> None:
        """Drop contents that no path holds or offers any more, with the parts of manifests that only they have."""
        unused = (
            " FROM content WHERE sha1 = ?1 AND NOT EXISTS (SELECT 1 FROM hashed WHERE sha1 = ?1)"
            " AND NOT EXISTS (SELECT 1 FROM original WHERE sha1 = ?1)"
        )
        for sha1 in sha1s:
            row = self._db.row("SELECT manifest" + unused, (sha1,))
            if row is not None:
                self._db.execute("DELETE" + unused, (sha1,))
                self._forget_manifest(row[0])

    def _forget_manifest(self, manifest: bytes | None) -> None:
        digests = self._db.rows("SELECT digest FROM manifest_part WHERE manifest = ?", (manifest,))
        self._db.execute("DELETE FROM manifest_part WHERE manifest = ?", (manifest,))
        self._db.execute_many(
            "DELETE FROM part WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM manifest_part WHERE digest = ?1)", digests
        )
