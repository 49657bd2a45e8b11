"""The catalog's SQLite file: its tables, its version, its transactions, its errors.

``hashed`` remembers what each path held when it was read, whether it is shared or not, so that no unchanged file is
read twice, not even after an interrupted share. Only what ``original`` lists is offered, and only while ``hashed``
says that its path still holds that SHA-1. Manifests are kept here, too: as files below ``manifest/ab/cd/ef`` those of
10,000 files of 300 KB took 24 KB of disk each, mostly folders, where a row takes 200 bytes. WAL mode: any number of
processes read while one writes.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import CatalogError
from .forks import guarded

VERSION = 1
WAIT_S = 60.0
"""How long a writer waits for another process's transaction; one holds it for a second or two at most."""

_TABLES = """
CREATE TABLE content (
    sha1 BLOB PRIMARY KEY, size INTEGER NOT NULL, manifest BLOB, salted BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX content_salted ON content (salted);
CREATE INDEX content_manifest ON content (manifest);
CREATE TABLE part (digest BLOB PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE manifest_part (
    manifest BLOB, digest BLOB, PRIMARY KEY (manifest, digest)
) WITHOUT ROWID;
CREATE INDEX manifest_part_digest ON manifest_part (digest);
CREATE TABLE hashed (
    path BLOB PRIMARY KEY, identity BLOB NOT NULL, sha1 BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX hashed_sha1 ON hashed (sha1);
CREATE TABLE share (
    id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, link TEXT NOT NULL,
    n_files INTEGER NOT NULL, total_bytes INTEGER NOT NULL, shared_at REAL NOT NULL
);
CREATE TABLE original (
    share INTEGER NOT NULL, path BLOB NOT NULL, root_bytes INTEGER NOT NULL, sha1 BLOB NOT NULL,
    is_tree INTEGER NOT NULL,
    PRIMARY KEY (share, path)
) WITHOUT ROWID;
CREATE INDEX original_sha1 ON original (sha1, path);
CREATE INDEX original_path ON original (path);
"""

Row = tuple[Any, ...]


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process set up at a time: SQLite doesn't wait for another that is switching to WAL, it fails at once."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)  # a child that was forked meanwhile has the descriptor, too
        os.close(fd)


def _make_private(path: Path) -> None:
    """Make the file, if it isn't there, for its owner alone: it holds digests, and a digest is the right to read."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return  # never opened here where it is in use: SQLite's locks would go with the descriptor
    except OSError as exc:
        raise CatalogError(f"the catalog {path} can't be made: {exc.strerror}") from exc


class CatalogDb:
    """One connection, used by one thread at a time; another process's writes are seen at the next statement."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = guarded(threading.RLock())
        with self._lock, self._translated(), _one_at_a_time(path.parent):
            _make_private(path)
            self._connection = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
            self._set_up()

    def _set_up(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        # NORMAL: a power loss may take the last transactions, never the file; what is lost is hashed again
        self._connection.execute("PRAGMA synchronous = NORMAL")
        if self._version() == 0:
            with self.transaction():
                self._make_tables()
        if self._version() != VERSION:
            self._connection.close()
            raise CatalogError(
                f"the catalog {self.path} has version {self._version_found}, this kacheryfs knows {VERSION}: update it"
            )

    def _version(self) -> int:
        (self._version_found,) = self._connection.execute("PRAGMA user_version").fetchone()
        return int(self._version_found)

    def _make_tables(self) -> None:
        if self._version() == 0:  # asked again: another process may have made them while we waited for the lock
            for statement in _TABLES.split(";"):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {VERSION}")

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        with self._lock, self._translated():
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, values: Sequence[object] = ()) -> Row | None:
        with self._lock, self._translated():
            found: Row | None = self._connection.execute(sql, values).fetchone()
            return found

    def execute(self, sql: str, values: Sequence[object] = ()) -> int:
        """Run one statement inside a transaction; return the id of the row it inserted, if it did."""
        with self._lock, self._translated():
            assert self._connection.in_transaction
            return self._connection.execute(sql, values).lastrowid or 0

    def execute_many(self, sql: str, values: Sequence[Sequence[object]]) -> None:
        with self._lock, self._translated():
            assert self._connection.in_transaction
            self._connection.executemany(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all of what follows or nothing, while no other thread or process writes."""
        with self._lock, self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise CatalogError(f"the catalog {self.path} can't be used: {exc}") from exc
