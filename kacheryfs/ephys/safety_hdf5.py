"""HDF5 files that others made: refused where they reach out of themselves, into files of the reader's machine.

An external link opens another HDF5 file by its path; a dataset with external storage, or a virtual one, takes its
values from whatever files it names: a stranger's "recording" could so be made of the reader's own data. All that hard
links lead to is looked at before anything is read; soft links stay inside of the file.
"""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import KacheryError, ProofError
from .hdf5_library import h5py

MAX_OBJECTS = 200_000
"""Each costs a read of its header; the largest NWB files of the DANDI archive have some thousands."""
MAX_PATH_CHARS = 16 * 1024

_DAMAGE = (OSError, ValueError, RuntimeError, KeyError, TypeError, ArithmeticError, MemoryError)
"""What h5py makes of a damaged file."""

_open_files: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
"""By their identity: a damaged file has no hash."""


def open_hdf5(file: Any, what: str) -> h5py.File:
    """Open a file object for reading, after a look at every object in it; ProofError says what is refused.

    It is closed at the end of the interpreter at the latest: HDF5 itself would do that too late, when there is no
    Python any more that could answer it, and crash.
    """
    try:
        opened = h5py.File(file, "r")
    except KacheryError:
        raise
    except _DAMAGE as exc:
        raise ProofError(f"{what} is no HDF5 file: {_first_line(exc)}") from exc
    close_at_exit(opened)
    try:
        check_hdf5(opened, what)
    except BaseException:
        opened.close()
        raise
    return opened


def close_at_exit(file: h5py.File) -> None:
    """Have a file on top of a Python object closed before the interpreter ends."""
    _open_files[id(file)] = file


@atexit.register
def _close_all() -> None:
    for file in list(_open_files.values()):
        file.close()


def check_hdf5(file: h5py.File, what: str) -> None:
    """Raise ProofError where an object of the file reaches out of it."""
    for path, found in walk_objects(file, what):
        reason = _why_out(found)
        if reason is not None:
            raise ProofError(f"{what} is refused: {path[:80]!r} {reason}")


def find_groups_of_type(file: h5py.File, neurodata_type: str, what: str) -> list[str]:
    """Return the paths of the groups of an NWB type; each group once, however many links lead to it."""
    groups = [(path, h5py.Group(found)) for path, found in walk_objects(file, what) if _is_group(found)]
    return sorted(path.lstrip("/") for path, group in groups if _type_of(group) == neurodata_type)


def walk_objects(file: h5py.File, what: str) -> Iterator[tuple[str, Any]]:
    """Yield each object that hard links lead to, once, with a path to it; None for a link to another file.

    A file may be a maze: groups inside of themselves, or under millions of names.
    """
    with reading(what):
        yield from _walk(h5py.h5o.open(file.id, b"/"), what)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Make what h5py says of a damaged file a ProofError; errors of whoever gives the bytes pass."""
    try:
        yield
    except KacheryError:
        raise
    except _DAMAGE as exc:
        raise ProofError(f"{what} is damaged: {_first_line(exc)}") from exc


def _first_line(exc: BaseException) -> str:
    return str(exc).splitlines()[0][:200] if str(exc) else type(exc).__name__


def _walk(root: Any, what: str) -> Iterator[tuple[str, Any]]:
    seen: set[object] = set()
    waiting: list[tuple[str, Any]] = [("", root)]
    while waiting:
        path, found = waiting.pop()
        address = None if found is None else _address(found)
        if address in seen:
            continue
        yield path, found
        if address is not None:
            seen.add(address)
        if len(seen) > MAX_OBJECTS or len(path) > MAX_PATH_CHARS:
            raise ProofError(
                f"{what} is refused: it holds more than {MAX_OBJECTS} objects, or they are nested too deep"
            )
        if _is_group(found):
            waiting += [
                (f"{path}/{name.decode('utf-8', 'replace')}", _open(found, name))
                for name in list(found)
                if found.links.get_info(name).type != h5py.h5l.TYPE_SOFT
            ]


def _open(group: Any, name: bytes) -> Any:
    """Return what a hard link leads to; None for a link out of the file, which isn't followed."""
    is_hard = group.links.get_info(name).type == h5py.h5l.TYPE_HARD
    return h5py.h5o.open(group, name) if is_hard else None


def _address(found: Any) -> object:
    """Return where an object lies; ``h5o.get_info`` also adds up its chunks, reading their index all over the file."""
    info = h5py.h5g.get_objinfo(found, b".")
    return (info.fileno, info.objno)


def _is_group(found: Any) -> bool:
    return isinstance(found, h5py.h5g.GroupID)


def _type_of(group: h5py.Group) -> object:
    found = group.attrs.get("neurodata_type")
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else found


def _why_out(found: Any) -> str | None:
    if found is None:
        return "is a link to another file"
    if not isinstance(found, h5py.h5d.DatasetID):
        return None
    creation = found.get_create_plist()
    if creation.get_external_count():
        return "has its values in another file"
    return "is put together from other files" if creation.get_layout() == h5py.h5d.VIRTUAL else None
