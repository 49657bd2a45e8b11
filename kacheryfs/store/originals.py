"""A user's own file, shared in place: opened beneath its shared root, and held against what was hashed.

A path may be swapped after it was shared: for a symbolic link that leads out, for a fifo that never answers, for
another file. So it is opened component by component without following links or waiting, only a regular file is taken,
and the very descriptor's identity is compared, before bytes are read and again after.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..core.model import ManifestDigest, Sha1
from ..errors import CatalogError, ChangedError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

_PACKED = struct.Struct("<QQqqq")
_OUR_TROUBLE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO}
"""What an open can fail with although the original is as it was."""
_FOLDER_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a fifo for reading would wait for its writer
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


State = Literal["ok", "changed", "missing"]


@dataclass(frozen=True, slots=True)
class Identity:
    """What the file system says of a file that nobody wrote to: equal identities mean equal bytes."""

    dev: int
    ino: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def pack(self) -> bytes:
        """Return the catalog's form; SQLite's own integers can't hold an inode number of 64 bits."""
        return _PACKED.pack(self.dev, self.ino, self.size_bytes, self.mtime_ns, self.ctime_ns)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        return cls(*_PACKED.unpack(data))


@dataclass(frozen=True, slots=True)
class Original:
    """One place where a shared file lies: ``relative`` below ``root``, both real paths without symbolic links."""

    sha1: Sha1
    manifest: ManifestDigest | None
    root: bytes
    relative: bytes
    identity: Identity

    @property
    def size_bytes(self) -> int:
        return self.identity.size_bytes

    @property
    def path(self) -> bytes:
        return os.path.join(self.root, self.relative)

    def open(self) -> OpenOriginal:
        """Open it if it is still the file that was hashed, else ChangedError; its message names no path."""
        with _as_changed(self.sha1):
            fd = open_beneath(self.root, self.relative)
        opened = OpenOriginal(fd, self)
        try:
            opened.check()
        except ChangedError:
            opened.close()
            raise
        return opened

    def state(self) -> State:
        """Tell what ``open`` would find, by a look that doesn't open the file."""
        try:
            with _folder_beneath(self.root, self.relative) as (folder, name):
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return "missing"
        except OSError:
            return "changed"
        return "ok" if stat.S_ISREG(status.st_mode) and Identity.of(status) == self.identity else "changed"


@dataclass(slots=True)
class OpenOriginal:
    """An original's descriptor; call ``check`` after reading and before the bytes are used."""

    fd: int
    original: Original

    @property
    def size_bytes(self) -> int:
        return self.original.size_bytes

    def check(self) -> None:
        """Raise ChangedError unless this very descriptor is still what was hashed."""
        if Identity.of(os.fstat(self.fd)) != self.original.identity:
            raise changed(self.original.sha1)

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from byte ``start`` on; ChangedError unless the file is what was hashed, before and after."""
        try:
            self.check()
            self._fill(start, buffer)
            self.check()
        except OSError as exc:
            name = f"sha1 {self.original.sha1.short}"
            raise CatalogError(f"{name}: the shared file can't be read: {exc.strerror or exc}") from exc

    def _fill(self, start: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            n_bytes = os.preadv(self.fd, [buffer[done:]], start + done)
            if n_bytes == 0:
                raise changed(self.original.sha1)
            done += n_bytes

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def shown(path: str) -> str:
    """Return a path for a message of one line: as it is, or escaped where it has newlines or invalid UTF-8."""
    return path if path.isprintable() else ascii(path)


def changed(sha1: Sha1) -> ChangedError:
    """Return the error of an original that can't be served; it may be told to peers, so it names no path."""
    return ChangedError(f"sha1 {sha1.short}: the shared file was changed or moved since it was hashed; share it again")


@contextmanager
def _as_changed(sha1: Sha1) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in _OUR_TROUBLE:
            raise CatalogError(f"sha1 {sha1.short}: the shared file can't be opened now: {exc.strerror}") from exc
        raise changed(sha1) from exc


class NotRegularError(OSError):
    """What stands at the path is a symbolic link, a folder, a fifo, a socket or a device."""


def open_beneath(root: bytes, relative: bytes) -> int:
    """Open a regular file below ``root`` for reading without following a link or leaving it; OSError says why not."""
    with _folder_beneath(root, relative) as (folder, name):
        return _open_regular(name, folder)


@contextmanager
def _folder_beneath(root: bytes, relative: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the folder that ``relative`` lies in, as a descriptor, and its name there."""
    *folders, name = relative.split(b"/")
    if not all(part not in (b"", b".", b"..") for part in (*folders, name)):
        raise NotRegularError(f"{relative!r} is not a path below a root")
    folder = os.open(root, _FOLDER_FLAGS)
    try:
        for part in folders:
            below = os.open(part, _FOLDER_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = below
        yield folder, name
    finally:
        os.close(folder)


def _open_regular(name: bytes, folder: int) -> int:
    # looked at before it is opened: opening some devices does something
    _require_regular(os.stat(name, dir_fd=folder, follow_symlinks=False))
    fd = os.open(name, _FILE_FLAGS, dir_fd=folder)
    try:
        _require_regular(os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularError("not a regular file")
