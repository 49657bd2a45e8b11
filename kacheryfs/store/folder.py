"""The store's folder: made, versioned, locked, written to: what may fail where a disk is full or read-only."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ..core.model import Binding
from ..errors import StoreError
from .locks import Locks
from .places import Places, partial_name
from .trouble import FULL, Trouble

logger = logging.getLogger(__name__)

VERSION = "kacheryfs-store 2\n"
_OLDER = frozenset({"kacheryfs-store 1\n"})
"""What is migrated: version 1 has presence files without heat, which are brought to their size when they are opened."""
LOCK_TIMEOUT_S = 5.0
"""The lock of a file is held for a few renames; a holder that takes longer is stopped, and then memory must do."""
_NOT_STRANGE = frozenset(
    {"lost+found", "tmp", "lock", "usage", "pins", "partial", "manifest"}
    | {"index.sqlite", "index.sqlite-wal", "index.sqlite-shm"}
)
"""What may lie in a folder without a VERSION: a file system's own, and what a running process makes again after
somebody emptied the store. ``sha1`` isn't among them: whatever lies there counts as proven."""


class StoreFolder:
    """The folder of one store; ``prepare`` may be called at any time and makes what is missing."""

    def __init__(self, root: Path) -> None:
        self.places = Places(root)
        self.trouble = Trouble(root)
        self.locks = Locks(self.places.lock)
        self.is_writable = False

    def start(self) -> None:
        """Check the version and make the folders; a folder that can't be written is used for reading."""
        root = self.places.root
        try:
            self.prepare()
            self._remove_leftovers()
        except OSError as exc:
            if not root.is_dir() and exc.errno not in FULL:
                reason = exc.strerror or str(exc)
                raise StoreError(f"store {root}: can't be made: {reason}; name another folder with --store") from exc
            self.trouble.note(exc)  # who only reads need not hear of it; who puts is told then

    def make_ready(self) -> None:
        """Prepare the folder where it isn't: it could not be written so far, or somebody removed it."""
        if self.is_writable and self.places.version.exists():
            return
        is_removed = self.is_writable
        self.prepare()
        if is_removed:
            logger.warning("store %s: somebody removed it; it is made anew and filled again", self.places.root)

    def prepare(self) -> None:
        """Make what is missing of the folder; OSError where it can't be, StoreError where it is something else."""
        self.is_writable = False
        self._check_version()
        root = self.places.root
        root.parent.mkdir(parents=True, exist_ok=True)
        root.mkdir(mode=0o700, exist_ok=True)  # a digest is the right to read, and the names here are digests
        self.places.temporary.mkdir(exist_ok=True)
        if not self._is_current():
            self.write_object(self.places.version, VERSION.encode())
        with self.locks.hold("prepare", timeout_s=LOCK_TIMEOUT_S):  # tells whether it can be written, and locked
            self.is_writable = True

    def _check_version(self) -> None:
        root = self.places.root
        try:
            text = self._read_version()
        except FileNotFoundError:
            _check_is_empty(root)
            return
        if text != VERSION and text not in _OLDER:
            raise StoreError(
                f"store {root}: its version is {text.strip()!r}, this kacheryfs reads {VERSION.strip()!r}; "
                "use a newer kacheryfs or name another folder with --store"
            )

    def _is_current(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return self._read_version() == VERSION
        return False

    def _read_version(self) -> str:
        return self.places.version.read_bytes()[:100].decode("ascii", "replace")

    @contextlib.contextmanager
    def hold_file(self, binding: Binding, *, timeout_s: float) -> Iterator[None]:
        """Hold what it takes to change a file on disk: the binding's lock, then its SHA-1's, in this order.

        Two bindings of one SHA-1 share the place of the complete file: who looks whose that is must keep it so.
        StoreError where one of them isn't free within ``timeout_s``, OSError.
        """
        with self.locks.hold(lock_name(binding), timeout_s=timeout_s), contextlib.ExitStack() as stack:
            if binding.manifest is not None:  # else the binding's is the SHA-1's
                stack.enter_context(self.locks.hold(binding.sha1.hex, timeout_s=timeout_s))
            yield

    def write_object(self, path: Path, data: bytes | memoryview, *, is_synced: bool = False) -> None:
        """Put ``data`` at ``path`` in one step: nobody ever sees a part of it. OSError where that fails."""
        temporary = self.places.temporary / secrets.token_hex(8)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # tells _remove_leftovers that its writer lives
            _write_all(fd, memoryview(data))
            if is_synced:
                os.fsync(fd)
            rename_into(temporary, path)
        except BaseException:
            _unlink(temporary)
            raise
        finally:
            os.close(fd)

    def _remove_leftovers(self) -> None:
        """Remove what a killed process left half written."""
        for path in self.places.temporary.iterdir():
            with contextlib.suppress(OSError), path.open("rb") as file:  # gone, or its writer lives
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _unlink(path)


def rename_into(source: Path, target: Path) -> None:
    """Rename, making the folders above; also while an evictor removes these for being empty."""
    for is_last in (False, False, True):
        os.makedirs(target.parent, exist_ok=True)
        try:
            return os.rename(source, target)
        except FileNotFoundError:
            if is_last or not source.exists():
                raise
    return None


def remove_empty_folders(path: Path, n_levels: int) -> None:
    """Remove the folders above a file that went, as far as nothing else is in them."""
    with contextlib.suppress(OSError):
        for folder in path.parents[:n_levels]:
            os.rmdir(folder)


def lock_name(binding: Binding) -> str:
    return partial_name(binding) if binding.manifest is not None else binding.sha1.hex


def _check_is_empty(root: Path) -> None:
    """Refuse a folder of other things."""
    strangers = {path.name for path in root.iterdir()} - _NOT_STRANGE if root.is_dir() else None
    if strangers:
        raise StoreError(
            f"store {root}: it holds other things ({min(strangers)!r}); name an empty or new folder with --store"
        )


def _write_all(fd: int, data: memoryview) -> None:
    done = 0
    while done < len(data):
        done += os.write(fd, data[done:])


def _unlink(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
