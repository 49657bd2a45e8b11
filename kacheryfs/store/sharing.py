"""Share a file or a folder in place: read it once, enter it into the catalog, return its link."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.link import FileLink, TreeLink
from ..core.model import Sha1
from ..core.tree import FileEntry, Tree, encode_tree
from ..errors import ChangedError, InputError
from .catalog import Catalog
from .catalog_entry import Content, NewShare, Offered
from .originals import Identity, shown
from .reading import CatalogReader, Meter, Progress
from .scan import Exclude, FoundFile, Scan, is_readable, kachery_devices, scan, to_name

LeftOut = tuple[str, str]
"""A path below the shared folder, and why it isn't shared."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What ``share`` did, or with ``dry_run`` would do (then ``link`` is None and nothing was read)."""

    path: str
    link: FileLink | TreeLink | None
    n_files: int
    total_bytes: int
    read_bytes: int
    left_out: tuple[LeftOut, ...] = ()
    n_excluded: int = 0


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be shared: ``path`` is real; a single file's root is the folder that it stands in."""

    path: bytes
    root: bytes
    label: str
    is_tree: bool
    found: Scan

    def path_of(self, file: FoundFile) -> bytes:
        return os.path.join(self.root, file.relative)


def share(
    catalog: Catalog,
    path: str | os.PathLike[str],
    *,
    exclude: Sequence[str] = (),
    is_forced: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    own_folders: Sequence[Path] = (),
) -> Shared:
    """Offer a file or a folder, in place of what was offered under this path before.

    Files that are unchanged since they were last read are not read again. ``own_folders`` (the store, say) are left out
    like the catalog's own. InputError: the path can't be shared. ChangedError: files are still being written; what else
    was read is remembered, so that sharing again is quick.
    """
    plan = _plan(os.fspath(path), Exclude(exclude), (catalog.folder, *own_folders), is_forced=is_forced)
    with CatalogReader(catalog, catalog.hashed_below(plan.path)) as reader:
        contents = _find_known(plan, reader)
        to_read = {plan.path_of(file): file for file in plan.found.files if plan.path_of(file) not in contents}
        read_bytes = sum(file.identity.size_bytes for file in to_read.values())
        if dry_run:
            return _shared(plan, plan.found, None, plan.found.total_bytes, read_bytes)
        left_out = _read_all(plan, to_read.values(), contents, reader, Meter(progress, read_bytes))
        reader.flush()
    left_out |= {path: "another content with this SHA-1 is known: a collision" for path in reader.refused}
    found = _without(plan, left_out)
    link, tree_json = _link(plan, found, contents)
    entered = _new_share(plan, found, contents, str(link), tree_json)
    catalog.enter(entered)
    return _shared(plan, found, link, entered.total_bytes, read_bytes)


def _plan(path: str, exclude: Exclude, own_folders: Sequence[Path], *, is_forced: bool) -> _Plan:
    try:
        real = os.path.realpath(os.fsencode(path), strict=True)
        status = os.stat(real)
    except OSError as exc:
        raise InputError(f"{shown(path)} can't be shared: {exc.strerror}") from exc
    except ValueError as exc:
        raise InputError(f"{shown(path)} can't be shared: {exc}") from exc
    label = to_name(os.path.basename(os.path.abspath(os.fsencode(path))))
    own = refuse_own_folders(path, real, own_folders)
    if status.st_dev in kachery_devices():
        raise InputError(f"{shown(path)} is in a mount of kacheryfs: pass on the link that it stands under instead")
    if stat.S_ISDIR(status.st_mode):
        if not is_forced:
            _refuse_home(path, real, status)
        return _Plan(real, real, label, True, _scan_folder(path, real, exclude, own))
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{shown(path)} can't be shared: only regular files and folders can")
    if not is_readable(real):
        raise InputError(f"{shown(path)} can't be shared: it is not readable")
    root, name = os.path.split(real)
    file = FoundFile((label,), name, Identity.of(status))
    return _Plan(real, root, label, False, Scan((), (file,), (), 0))


def refuse_own_folders(path: str, real: bytes, own_folders: Sequence[Path]) -> list[bytes]:
    """Return the real paths of kacheryfs's own folders; InputError if ``real`` is one of them, or in one."""
    own = [os.path.realpath(os.fsencode(folder)) for folder in own_folders]
    if any(real == folder or real.startswith(folder + b"/") for folder in own):
        raise InputError(f"{shown(path)} can't be shared: kacheryfs keeps its own files there")
    return own


def _scan_folder(path: str, real: bytes, exclude: Exclude, own: Sequence[bytes]) -> Scan:
    try:
        return scan(real, exclude, own_folders=own)
    except OSError as exc:
        raise InputError(f"{shown(path)} can't be shared: {exc.strerror}") from exc


def _refuse_home(path: str, real: bytes, status: os.stat_result) -> None:
    """Refuse a home folder, and what holds one, since nobody means all of that by accident."""
    homes = {os.path.realpath(os.fsencode(home)) for home in _homes(status.st_uid)}
    inside = real.rstrip(b"/") + b"/"
    if real in homes or os.path.realpath(os.path.expanduser(b"~")).startswith(inside):
        raise InputError(f"{shown(path)} is or holds a home folder: share a folder of it, or use --force")


def _homes(owner: int) -> list[str]:
    homes = [os.path.expanduser("~")]
    try:
        homes.append(pwd.getpwuid(owner).pw_dir)
    except KeyError:
        return homes  # no user of this machine owns the folder, so it is nobody's home
    return homes


def _find_known(plan: _Plan, reader: CatalogReader) -> dict[bytes, Content]:
    known = ((plan.path_of(file), reader.find_known(plan.path_of(file), file.identity)) for file in plan.found.files)
    return {path: content for path, content in known if content is not None}


def _read_all(
    plan: _Plan, files: Iterable[FoundFile], contents: dict[bytes, Content], reader: CatalogReader, meter: Meter
) -> dict[bytes, str]:
    """Read files into ``contents``; return the paths that can't be read, with the reason."""
    left_out: dict[bytes, str] = {}
    still_written: list[ChangedError] = []
    for file in files:
        path = plan.path_of(file)
        try:
            contents[path] = reader.read(plan.root, file.relative, meter.add)
        except ChangedError as exc:
            still_written.append(exc)
        except OSError as exc:
            left_out[path] = f"can't be read: {exc.strerror or exc}"
    if still_written:
        raise _sum_up(still_written)
    return left_out


def _sum_up(errors: Sequence[ChangedError]) -> ChangedError:
    more = f" ({len(errors) - 1} more files are, too)" if len(errors) > 1 else ""
    return ChangedError(f"{errors[0]}, or leave it out with --exclude{more}")


def _without(plan: _Plan, left_out: Mapping[bytes, str]) -> Scan:
    """Return the scan without files that turned out unreadable; InputError if that is the one file to share."""
    found = plan.found
    reasons = [(file, left_out.get(plan.path_of(file))) for file in found.files]
    out = [("/".join(file.names), reason) for file, reason in reasons if reason]
    if out and not plan.is_tree:
        raise InputError(f"{shown(os.fsdecode(plan.path))} can't be shared: {out[0][1]}")
    files = tuple(file for file, reason in reasons if not reason)
    return Scan(found.folders, files, tuple(sorted((*found.left_out, *out))), found.n_excluded)


def _link(plan: _Plan, found: Scan, contents: Mapping[bytes, Content]) -> tuple[FileLink | TreeLink, bytes | None]:
    if plan.is_tree:
        tree_json = encode_tree(_build_tree(plan, found, contents))
        return TreeLink(Sha1.of(tree_json), plan.label), tree_json
    content = contents[plan.path]
    return FileLink(content.sha1, plan.label, content.manifest), None


@dataclass(frozen=True, slots=True)
class _Branch:
    dirs: dict[str, _Branch]
    files: dict[str, FileEntry]

    def tree(self) -> Tree:
        return Tree({name: branch.tree() for name, branch in self.dirs.items()}, self.files)


def _build_tree(plan: _Plan, found: Scan, contents: Mapping[bytes, Content]) -> Tree:
    branches: dict[tuple[str, ...], _Branch] = {(): _Branch({}, {})}
    for names in found.folders:  # sorted, so that each comes after the folder that it stands in
        branches[names] = branches[names[:-1]].dirs[names[-1]] = _Branch({}, {})
    for file in found.files:
        content = contents[plan.path_of(file)]
        entry = FileEntry(content.size_bytes, content.sha1, content.manifest)
        branches[file.names[:-1]].files[file.names[-1]] = entry
    return branches[()].tree()


def _new_share(
    plan: _Plan, found: Scan, contents: Mapping[bytes, Content], link: str, tree_json: bytes | None
) -> NewShare:
    paths = {plan.path_of(file) for file in found.files}
    offers = [Offered(path, len(plan.root), contents[path].sha1) for path in sorted(paths)]
    total_bytes = sum(contents[plan.path_of(file)].size_bytes for file in found.files)
    return NewShare(plan.path, link, len(found.files), total_bytes, offers, tree_json)


def _shared(plan: _Plan, found: Scan, link: FileLink | TreeLink | None, total_bytes: int, read_bytes: int) -> Shared:
    n_files = len(found.files)
    return Shared(os.fsdecode(plan.path), link, n_files, total_bytes, read_bytes, found.left_out, found.n_excluded)
