"""The store's index: which files it has something of, by the question that a peer asks. The folders can tell it again.

Only what names can't say is here alone: the manifest that a complete file was proven with. Every answer is held against
the disk by the caller; an index that can't be read or written costs an answer, never a read.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..core.model import Binding, Layout, Sha1, parse_manifest_digest, salted
from .forks import guarded

logger = logging.getLogger(__name__)

_MODES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
"""
_TABLE = """CREATE TABLE IF NOT EXISTS file (
    sha1 BLOB NOT NULL, manifest TEXT NOT NULL, salted BLOB NOT NULL, size_bytes INTEGER NOT NULL,
    block_bytes INTEGER NOT NULL, is_proven INTEGER NOT NULL, PRIMARY KEY (sha1, manifest)
) WITHOUT ROWID"""
_BY_SALTED = "CREATE INDEX IF NOT EXISTS by_salted ON file (salted)"
_INSERT = "INSERT OR {} INTO file VALUES (?, ?, ?, ?, ?, ?)"
_CORRECT = """INSERT INTO file VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET size_bytes = excluded.size_bytes, block_bytes = excluded.block_bytes"""
_LOG_PAGES = 64
"""256 KiB, where SQLite's 1000 pages let the log grow to 4 MiB: it counts as the store's too."""
_COLUMNS = "sha1, manifest, size_bytes, block_bytes, is_proven"
_BUSY_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Row:
    """A file that the store has, or had, something of; ``is_proven`` holds while there is a complete file."""

    binding: Binding
    layout: Layout
    is_proven: bool


class Index:
    """The SQLite database of one store; usable from any thread."""

    def __init__(self, path: Path, find_rows: Callable[[], Iterable[Row]]) -> None:
        self._path = path
        self._find_rows = find_rows
        self._lock = guarded(threading.Lock())
        self._database: sqlite3.Connection | None = None
        self._is_substitute = False  # in memory, where no file can be made
        self._opened: os.stat_result | None = None
        self._is_closed = False
        self._has_warned = False

    def start(self) -> None:
        """Open it, made from the folders where there is none."""
        self._run("SELECT 1")

    def enter(self, row: Row) -> None:
        """Enter a file; a proven one takes the place of what its SHA-1 was proven with before.

        One that isn't corrects the sizes that the folders told, which of a legacy manifest are a guess.
        """
        self._leave_substitute()
        if row.is_proven and row.binding.manifest is not None:
            self._run("UPDATE file SET is_proven = 0 WHERE sha1 = ?", row.binding.sha1.raw)
        self._run(_INSERT.format("REPLACE") if row.is_proven else _CORRECT, *_values(row))

    def forget(self, binding: Binding) -> None:
        self._run("DELETE FROM file WHERE sha1 = ? AND manifest = ?", binding.sha1.raw, _manifest_text(binding))

    def find_proven(self, sha1: Sha1) -> Row | None:
        """Return what a complete file was proven with: a manifest rather than none."""
        rows = self._select("WHERE sha1 = ? AND is_proven ORDER BY manifest DESC", sha1.raw)
        return rows[0] if rows else None

    def find_salted(self, digest: Sha1) -> list[Row]:
        return self._select("WHERE salted = ?", digest.raw)

    def find(self, sha1: Sha1) -> list[Row]:
        """Return what is known under any manifest."""
        return self._select("WHERE sha1 = ?", sha1.raw)

    def count(self) -> int:
        found = self._run("SELECT count(*) FROM file")
        return int(str(found[0][0])) if found else 0

    def rows(self) -> list[Row]:
        return self._select("ORDER BY sha1, manifest")

    def close(self) -> None:
        """Close it. What still comes, from a proof that nobody waits for, opens it for its statement alone."""
        with self._lock:
            self._is_closed = True
            self._disconnect()

    def _select(self, where: str, *values: object) -> list[Row]:
        return [_row(*found) for found in self._run(f"SELECT {_COLUMNS} FROM file {where}", *values)]

    def _run(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with self._lock:
            try:
                return self._run_locked(statement, values)
            finally:
                if self._is_closed:
                    self._disconnect()

    def _run_locked(self, statement: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        for is_last in (False, True):
            try:
                return self._connect().execute(statement, values).fetchall()
            except sqlite3.Error as exc:
                self._recover(exc, is_last)
        return []

    def _recover(self, error: sqlite3.Error, is_last: bool) -> None:
        """Start again: the folder may have been removed, or the database be damaged; then it is made anew."""
        self._disconnect()
        is_damaged = not isinstance(error, sqlite3.OperationalError)
        if is_last or is_damaged:
            logger.log(
                logging.DEBUG if self._has_warned else logging.WARNING,
                "store index %s: can't be used as it is: %s",
                self._path,
                error,
            )
            self._has_warned = True
        if is_damaged and not is_last:
            self._remove()

    def _remove(self) -> None:
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                self._path.with_name(self._path.name + ending).unlink()

    def _connect(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = self._open()
            with contextlib.suppress(OSError):
                self._opened = os.stat(self._path)
        return self._database

    def _disconnect(self) -> None:
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = self._opened = None

    def _leave_substitute(self) -> None:
        """Try again to make the file, now that there is something to enter; leave one that was removed, too.

        SQLite goes on writing to a removed database without a word.
        """
        with self._lock:
            if self._is_substitute or not self._is_in_place():
                self._disconnect()

    def _is_in_place(self) -> bool:
        """Return whether what is open is what lies at the path, or nothing is open."""
        if self._database is None or self._opened is None:
            return True
        try:
            return os.path.samestat(self._opened, os.stat(self._path))
        except OSError:
            return False

    def _open(self) -> sqlite3.Connection:
        """Open the file; where it can't be written and has no table, which is as good as none, one in memory."""
        self._is_substitute = False
        try:
            return self._open_at(self._path.as_uri())
        except sqlite3.OperationalError as exc:
            database = _find_read_only(self._path) if self._path.exists() else None
            if database is None and "locked" in str(exc):
                raise  # by a process that is making the table; no error code tells before Python 3.11
        self._is_substitute = database is None
        return database or self._open_at(":memory:")

    def _open_at(self, uri: str) -> sqlite3.Connection:
        database = _connect(uri)
        try:
            database.executescript(_MODES)
            if not _has_table(database):
                self._make_table(database)
        except BaseException:
            database.close()
            raise
        return database

    def _make_table(self, database: sqlite3.Connection) -> None:
        """Make the table with all that the folders tell, or not at all: on a full disk it would be missed for good."""
        values = [_values(row) for row in self._find_rows()]  # before the lock is taken: others wait 5 s for it
        with database:
            database.execute("BEGIN IMMEDIATE")
            database.execute(_TABLE)
            database.execute(_BY_SALTED)
            database.executemany(_INSERT.format("IGNORE"), values)


def _connect(uri: str) -> sqlite3.Connection:
    database = sqlite3.connect(uri, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, uri=True)
    database.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    return database


def _has_table(database: sqlite3.Connection) -> bool:
    return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = 'file'").fetchall())


def _find_read_only(path: Path) -> sqlite3.Connection | None:
    """Open it as it lies there; ``immutable`` where SQLite can't make the files beside it that WAL mode needs.

    None where it has no table.
    """
    try:
        return _find_checked(path.as_uri() + "?mode=ro")
    except sqlite3.OperationalError:
        return _find_checked(path.as_uri() + "?mode=ro&immutable=1")


def _find_checked(uri: str) -> sqlite3.Connection | None:
    database = _connect(uri)
    try:
        if _has_table(database):
            database.execute("SELECT count(*) FROM file").fetchall()
            return database
    except sqlite3.Error:
        database.close()
        raise
    database.close()
    return None


def _manifest_text(binding: Binding) -> str:
    return binding.manifest.hex if binding.manifest is not None else ""


def _values(row: Row) -> tuple[object, ...]:
    sha1 = row.binding.sha1
    sizes = (row.layout.size_bytes, row.layout.block_bytes)
    return (sha1.raw, _manifest_text(row.binding), salted(sha1).raw, *sizes, row.is_proven)


def _row(sha1: object, manifest: object, size_bytes: object, block_bytes: object, is_proven: object) -> Row:
    assert isinstance(sha1, bytes)
    assert isinstance(size_bytes, int)
    assert isinstance(block_bytes, int)
    digest = parse_manifest_digest(str(manifest)) if manifest else None
    binding = Binding(Sha1(sha1), digest, None if digest else size_bytes)
    return Row(binding, Layout(size_bytes, block_bytes), bool(is_proven))
