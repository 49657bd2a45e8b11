"""Puts fetched files in their places: beside the place first, and under its name only when its SHA-1 is right."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from ..core.model import Sha1
from ..core.request import FileRequest
from ..errors import InputError, ProofError
from .progress import Progress

if TYPE_CHECKING:
    from ..mount.engine import Engine, LocatedFile

CHUNK_BYTES = 1024 * 1024
N_CHUNKS_AHEAD = 4
MAX_NAME_BYTES = 255
_NEVER = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG})
"""What only another place helps against, where a full or broken disk may be mended."""


@dataclass(frozen=True, slots=True)
class Target:
    """One file to write: its place, what it is, and where it stands until it is whole."""

    path: Path
    request: FileRequest
    part: Path


def part_path(path: Path, taken: Collection[Path] = ()) -> Path:
    """Return ``PATH.part``, or something like it where that is too long or a name of the folder that is fetched."""
    part = path.with_name(path.name + ".part")
    while part in taken:
        part = part.with_name(part.name + ".part")
    name = os.fsencode(part.name)
    if len(name) > MAX_NAME_BYTES:
        return path.with_name(f".{hashlib.sha1(name).hexdigest()}.part")
    return part


class Landing:
    """Writes files and counts them; the store keeps what was fetched, so what fails goes on where it stopped."""

    def __init__(self, path: Path, *, is_forced: bool, progress: Progress) -> None:
        self.path = path
        self.progress = progress
        self.n_written = 0
        self.n_skipped = 0
        self.bytes_written = 0
        self._is_forced = is_forced

    def refuse_conflicts(self, targets: Sequence[Target]) -> None:
        """Raise InputError before anything is fetched, where something else stands in a place."""
        for target in targets:
            size_bytes = _find_size(target.path)
            if size_bytes is not None and size_bytes != target.request.size_bytes and not self._is_forced:
                raise _conflict(target.path)

    async def land(self, engine: Engine, target: Target) -> None:
        """Bring one file to its place, unless it is there already."""
        size_bytes = _find_size(target.path)
        if size_bytes is not None:
            if await trio.to_thread.run_sync(_has_sha1, target.path, target.request.sha1, abandon_on_cancel=True):
                self.n_skipped += 1
                self.progress.advance(size_bytes)
                return
            if not self._is_forced:
                raise _conflict(target.path)
        await self._fetch(await engine.locate(target.request), target)

    async def _fetch(self, located: LocatedFile, target: Target) -> None:
        if self.progress.total_bytes is None:
            self.progress.set_total(located.size_bytes)
        with refusing(target.path):
            target.path.parent.mkdir(parents=True, exist_ok=True)
            fd = _open_part(target.part)
        try:
            sha1 = await self._copy(located, fd, target.path)
            if sha1 != target.request.sha1:
                raise ProofError(
                    f"{target.path}: what came has SHA-1 {sha1}, not {target.request.sha1}; try other peers"
                )
            os.replace(target.part, target.path)
        except BaseException:
            target.part.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
        self.n_written += 1
        self.bytes_written += located.size_bytes

    async def _copy(self, located: LocatedFile, fd: int, target: Path) -> Sha1:
        """Copy all of a file; returns the SHA-1 of what was written, so that a false claim shows."""
        hasher = hashlib.sha1()
        send, receive = trio.open_memory_channel[tuple[int, bytes]](N_CHUNKS_AHEAD)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read_all, located, send)
            async with receive:
                async for start, data in receive:
                    await trio.to_thread.run_sync(_write, target, fd, data, start, hasher)
                    self.progress.advance(len(data))
        return Sha1(hasher.digest())


async def _read_all(located: LocatedFile, send: trio.MemorySendChannel[tuple[int, bytes]]) -> None:
    """Read ahead of the writer: hashing and writing take as long as reading."""
    reader = located.open()
    try:
        async with send:
            for start in range(0, located.size_bytes, CHUNK_BYTES):
                await send.send((start, bytes(await reader.read(start, CHUNK_BYTES))))
    finally:
        reader.close()


def _write(target: Path, fd: int, data: bytes, offset: int, hasher: Any) -> None:
    hasher.update(data)
    view = memoryview(data)
    try:
        while view:
            n_bytes = os.pwrite(fd, view, offset)
            view, offset = view[n_bytes:], offset + n_bytes
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, str(target)) from exc  # so that the line says which file


@contextlib.contextmanager
def refusing(place: Path) -> Iterator[None]:
    """Turn what a place never takes into an InputError: it is inside a mount, say, or somebody else's."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in _NEVER:
            raise
        raise InputError(f"{place} can't be written: {exc.strerror}; name another DEST") from exc


def _open_part(part: Path) -> int:
    """Open the file beside the place, ours alone."""
    fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
    except BlockingIOError as exc:
        os.close(fd)
        raise InputError(f"{part}: another kacheryfs get is writing it; wait for that one") from exc
    return fd


def _find_size(path: Path) -> int | None:
    """Return a file's size, -1 for anything else that stands there, None where nothing does."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return -1 if path.is_symlink() else None
    except NotADirectoryError as exc:
        raise InputError(f"{path}: a file stands where one of its folders should: name another DEST") from exc
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def _has_sha1(path: Path, sha1: Sha1) -> bool:
    if not path.is_file():
        return False
    hasher = hashlib.sha1()
    with open(path, "rb", buffering=0) as file:
        while data := file.read(CHUNK_BYTES):
            hasher.update(data)
    return hasher.digest() == sha1.raw


def _conflict(path: Path) -> InputError:
    if path.is_dir():
        return InputError(f"{path} is a folder, and a file should stand there: name another DEST")
    return InputError(f"{path} is there and is something else: name another DEST, or --force replaces it")
