"""Walk a folder that is to be shared: which files and folders belong to it, and what is left out, and why.

Names are bytes on disk and UTF-8 with surrogateescape in a tree, whatever this machine's locale. Nothing is opened
here; what is found may be swapped before it is read, so whoever reads it opens it beneath the root
(``originals.open_beneath``).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ..core.manifest import MAX_FILE_BYTES
from ..core.tree import MAX_TREE_BYTES, MAX_TREE_DEPTH
from ..errors import InputError
from .originals import Identity, shown

MAX_ENTRIES = MAX_TREE_BYTES // 24
"""More entries than this fit into no tree, however short their names; links can multiply a small folder."""

_KINDS = {
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file under its names in the tree, and where it really lies below the root (elsewhere if a link leads there)."""

    names: tuple[str, ...]
    relative: bytes
    identity: Identity


@dataclass(frozen=True, slots=True)
class Scan:
    """What a folder holds, sorted, and what of it can't be shared: ``left_out`` has (path below the root, reason)."""

    folders: tuple[tuple[str, ...], ...]
    files: tuple[FoundFile, ...]
    left_out: tuple[tuple[str, str], ...]
    n_excluded: int

    @property
    def total_bytes(self) -> int:
        return sum(file.identity.size_bytes for file in self.files)


class Exclude:
    """Globs against an entry's name and its path below the root, where ``*`` also matches "/".

    A pattern that starts with "/" is held against the path only, one that ends with "/" against folders only.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._patterns = [to_name(os.fsencode(pattern)) for pattern in patterns]

    def matches(self, names: Sequence[str], *, is_folder: bool) -> bool:
        paths = (names[-1], "/".join(names), "/" + "/".join(names))
        return any(
            fnmatchcase(path, pattern.rstrip("/"))
            for pattern in self._patterns
            if is_folder or not pattern.endswith("/")
            for path in paths
        )

    def matches_any_part(self, names: Sequence[str], *, is_folder: bool) -> bool:
        """Tell whether the entry or a folder that it stands in is excluded."""
        above = any(self.matches(names[:depth], is_folder=True) for depth in range(1, len(names)))
        return above or self.matches(names, is_folder=is_folder)


def to_name(name: bytes) -> str:
    """Return a name of the disk as it stands in a tree."""
    return name.decode("utf-8", "surrogateescape")


def scan(root: bytes, exclude: Exclude, *, own_folders: Sequence[bytes] = ()) -> Scan:
    """Walk a folder (a real path); ``own_folders`` (real paths: catalog, store) are left out.

    OSError: the folder itself can't be listed. InputError: it has more entries than a tree can hold.
    """
    walk = _Walk(root, exclude, tuple(own_folders), kachery_devices())
    status = os.stat(root)
    start = _Folder((), b"", ((status.st_dev, status.st_ino),))
    walk.list_folder(start, os.listdir(root))
    while walk.waiting:
        walk.enter(walk.waiting.pop())
    return walk.result()


@dataclass(frozen=True, slots=True)
class _Folder:
    names: tuple[str, ...]
    relative: bytes
    ancestors: tuple[tuple[int, int], ...]
    """(device, inode) of each folder from the root to this one, for links that lead back up."""


@dataclass(slots=True)
class _Walk:
    root: bytes
    exclude: Exclude
    own_folders: tuple[bytes, ...]
    kachery_devices: frozenset[int]
    waiting: list[_Folder] = field(default_factory=list)
    folders: list[tuple[str, ...]] = field(default_factory=list)
    files: list[FoundFile] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    n_excluded: int = 0

    def enter(self, folder: _Folder) -> None:
        try:
            entries = os.listdir(os.path.join(self.root, folder.relative))
        except OSError as exc:
            self.leave_out(folder.names, f"can't be listed: {exc.strerror}")
            return
        self.folders.append(folder.names)
        self.list_folder(folder, entries)

    def list_folder(self, folder: _Folder, entries: Sequence[bytes]) -> None:
        for entry in sorted(entries):
            names = (*folder.names, to_name(entry))
            try:
                self.add(folder, names, os.path.join(folder.relative, entry))
            except OSError as exc:
                self.leave_out(names, f"can't be looked at: {exc.strerror}")

    def add(self, folder: _Folder, names: tuple[str, ...], relative: bytes) -> None:
        """Sort one entry: a folder to enter, a file, excluded, or left out."""
        if self.exclude.matches(names, is_folder=False):
            self.n_excluded += 1
            return
        status = os.lstat(os.path.join(self.root, relative))
        if stat.S_ISLNK(status.st_mode):
            target = self.resolve(names, relative)
            if target is None:
                return
            relative, status = target
        self.add_real(folder, names, relative, status)

    def add_real(self, folder: _Folder, names: tuple[str, ...], relative: bytes, status: os.stat_result) -> None:
        is_folder = stat.S_ISDIR(status.st_mode)
        if self.is_excluded(names, relative, is_folder=is_folder):
            self.n_excluded += 1
        elif self.is_own(os.path.join(self.root, relative)):
            self.leave_out(names, "kacheryfs's own files")
        elif is_folder:
            self.add_folder(folder, names, relative, status)
        elif stat.S_ISREG(status.st_mode):
            self.add_file(names, relative, status)
        else:
            self.leave_out(names, _KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file"))

    def resolve(self, names: tuple[str, ...], relative: bytes) -> tuple[bytes, os.stat_result] | None:
        """Return where a link leads, if that is inside the root, else leave it out."""
        path = os.path.join(self.root, relative)
        try:
            real = os.path.realpath(path, strict=True)
        except OSError:
            self.leave_out(names, "a symbolic link that leads nowhere")
            return None
        inside = self.root.rstrip(b"/") + b"/"
        if real == self.root or real.startswith(inside):
            return real[len(inside) :], os.lstat(real)
        self.leave_out(names, "a symbolic link that leads out of the shared folder")
        return None

    def is_excluded(self, names: tuple[str, ...], relative: bytes, *, is_folder: bool) -> bool:
        if self.exclude.matches(names, is_folder=is_folder):
            return True
        real_names = tuple(map(to_name, relative.split(b"/")))
        # a link to what is excluded under its own name would give it away all the same
        return real_names != names and self.exclude.matches_any_part(real_names, is_folder=is_folder)

    def is_own(self, path: bytes) -> bool:
        return any(path == own or path.startswith(own + b"/") for own in self.own_folders)

    def add_folder(self, above: _Folder, names: tuple[str, ...], relative: bytes, status: os.stat_result) -> None:
        key = (status.st_dev, status.st_ino)
        if key in above.ancestors:
            self.leave_out(names, "a symbolic link to a folder that it stands in")
        elif status.st_dev in self.kachery_devices:
            self.leave_out(names, "a mount of kacheryfs")
        elif len(names) > MAX_TREE_DEPTH:
            self.leave_out(names, f"folders nested deeper than {MAX_TREE_DEPTH}")
        else:
            self.waiting.append(_Folder(names, relative, (*above.ancestors, key)))
            self.count()

    def add_file(self, names: tuple[str, ...], relative: bytes, status: os.stat_result) -> None:
        if status.st_size > MAX_FILE_BYTES:
            self.leave_out(names, "larger than 1 PiB")
        elif not is_readable(os.path.join(self.root, relative)):
            self.leave_out(names, "not readable")
        else:
            self.files.append(FoundFile(names, relative, Identity.of(status)))
            self.count()

    def count(self) -> None:
        if len(self.files) + len(self.folders) + len(self.waiting) > MAX_ENTRIES:
            raise InputError(
                f"{shown(os.fsdecode(self.root))} has too many entries for a link: share its folders one by one"
            )

    def leave_out(self, names: tuple[str, ...], reason: str) -> None:
        self.left_out.append(("/".join(names), reason))

    def result(self) -> Scan:
        files = sorted(self.files, key=lambda file: file.names)
        return Scan(tuple(sorted(self.folders)), tuple(files), tuple(sorted(self.left_out)), self.n_excluded)


def is_readable(path: bytes) -> bool:
    return os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)


def kachery_devices() -> frozenset[int]:
    """Return the devices of kacheryfs's own mounts: to share one would fetch everything that peers have."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            return frozenset(find_kachery_devices(file))
    except OSError:
        return frozenset()


def find_kachery_devices(mountinfo: Iterable[bytes]) -> Iterator[int]:
    """Yield the devices whose file system type or source says kacheryfs, from the lines of proc(5)'s mountinfo."""
    for line in mountinfo:
        about_mount, _, about_device = line.partition(b" - ")
        if b"kacheryfs" in b" ".join(about_device.split(b" ")[:2]):
            major, minor = about_mount.split(b" ")[2].split(b":")
            yield os.makedev(int(major), int(minor))
