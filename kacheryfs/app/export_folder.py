"""A folder that any web server can offer: objects are written beside their places, and renamed there when whole."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from ..core.model import BLOCK_BYTES
from ..errors import InputError, StoreError
from .export import CHUNK_BYTES

PARTS = ".kacheryfs-mirror"
"""Below the folder, so that a rename is one; a name of ours, since the user may keep other things in the folder."""
_ORPHAN = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\.[0-9a-f]{8}\Z")
"""What ``put`` names a part."""

Seam = Callable[[], contextlib.AbstractContextManager[None]]


class FolderTarget:
    """Implements ``export.Target``; what is half written is gone on with, also by another process after this one."""

    public_url = None

    def __init__(self, folder: Path) -> None:
        """Make the folder where it isn't; InputError where something else stands there."""
        self._folder = Path(os.path.abspath(folder))
        if (self._folder / "VERSION").exists():
            raise InputError(f"{self._folder} is a store of kacheryfs: name another folder for the copies")
        with self._seam():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._remove_orphans()

    def _remove_orphans(self) -> None:
        """Remove what ``put`` was writing when it was killed; nobody goes on with that."""
        for path in (self._folder / PARTS).glob("*.*"):
            if not _ORPHAN.match(path.name) or path.is_symlink() or not path.is_file():
                continue
            with contextlib.suppress(FileNotFoundError, InputError):  # gone meanwhile, or being written now
                fd = _open_alone(path)
                path.unlink()
                os.close(fd)

    @property
    def place(self) -> str:
        return str(self._folder)

    def find_size(self, path: str) -> int | None:
        with self._seam():
            try:
                return os.stat(self._folder / path).st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def put(self, path: str, data: bytes) -> None:
        part = self._make_part(f"{os.path.basename(path)}.{secrets.token_hex(4)}")
        upload = FolderUpload(part, self._folder / path, 0, self._seam)
        try:
            upload.write(data)
            upload.commit()
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            upload.close()

    def start(self, path: str, size_bytes: int) -> FolderUpload:
        part = self._make_part(os.path.basename(path))
        return FolderUpload(part, self._folder / path, size_bytes, self._seam)

    def _make_part(self, name: str) -> Path:
        folder = self._folder / PARTS
        with self._seam():
            folder.mkdir(exist_ok=True)
        return folder / name

    def close(self) -> None:
        """Remove the folder of parts, unless something is left there to go on with."""
        with contextlib.suppress(OSError):
            (self._folder / PARTS).rmdir()

    @contextlib.contextmanager
    def _seam(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            reason = exc.strerror or str(exc)
            raise StoreError(f"{self._folder} can't be written: {reason}; make room, or name another target") from exc


class FolderUpload:
    """Implements ``export.Upload``."""

    def __init__(self, part: Path, path: Path, size_bytes: int, seam: Seam) -> None:
        """Open ``part``; of what it holds, at most ``size_bytes`` were kept for this."""
        self._part = part
        self._path = path
        self._seam = seam
        with seam():
            self._fd = _open_alone(part)
        # The last write may have come in part: whole blocks are gone on with.
        self._n_kept = min(os.fstat(self._fd).st_size, size_bytes) // BLOCK_BYTES * BLOCK_BYTES
        self._at = 0

    def read_kept(self) -> bytes:
        with self._seam():
            data = os.pread(self._fd, min(CHUNK_BYTES, self._n_kept - self._at), self._at)
        self._at += len(data)
        return data

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        with self._seam():
            while view:
                n_bytes = os.pwrite(self._fd, view, self._at)
                self._at += n_bytes
                view = view[n_bytes:]

    def restart(self) -> None:
        self._n_kept = self._at = 0
        with self._seam():
            os.ftruncate(self._fd, 0)

    def commit(self) -> None:
        with self._seam():
            os.ftruncate(self._fd, self._at)
            os.fsync(self._fd)  # else a power cut could leave the name with nothing behind it
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._part, self._path)

    def close(self) -> None:
        with self._seam(), contextlib.suppress(FileNotFoundError):
            if os.fstat(self._fd).st_size == 0 and os.path.samestat(os.fstat(self._fd), os.stat(self._part)):
                self._part.unlink()
        os.close(self._fd)


def _open_alone(part: Path) -> int:
    """Open a part that nobody else writes; InputError where somebody does."""
    while True:
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.stat(part)):
                return fd
        except FileNotFoundError:
            pass  # the one before gave it its name, between our opening and our lock
        except BlockingIOError as exc:
            os.close(fd)
            raise InputError(f"{part}: another kacheryfs mirror is writing it; wait for that one") from exc
        os.close(fd)
