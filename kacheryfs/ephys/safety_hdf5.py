"""HDF5 files that others made: refused where they reach out of themselves, into files of the reader's machine.

An external link opens another HDF5 file by its path; a dataset with external storage, or a virtual one, takes its
values from whatever files it names: a stranger's "recording" could so be made of the reader's own data. All that hard
links lead to is looked at before anything is read; soft links stay inside of the file.
"""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Iterator
from typing import Any

import h5py

from ..errors import KacheryError, ProofError

MAX_OBJECTS = 200_000
"""Each costs a read of its header; the largest NWB files of the DANDI archive have some thousands."""

_open_files: weakref.WeakSet[Any] = weakref.WeakSet()


def open_hdf5(file: Any, what: str) -> h5py.File:
    """Open a file object for reading, after a look at every object in it; ProofError says what is refused.

    It is closed at the end of the interpreter at the latest: HDF5 itself would do that too late, when there is no
    Python any more that could answer it, and crash.
    """
    try:
        opened = h5py.File(file, "r")
    except KacheryError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError) as exc:
        raise ProofError(f"{what} is no HDF5 file: {str(exc).splitlines()[0][:200]}") from exc
    close_at_exit(opened)
    try:
        check_hdf5(opened, what)
    except BaseException:
        opened.close()
        raise
    return opened


def close_at_exit(file: h5py.File) -> None:
    """Have a file on top of a Python object closed before the interpreter ends."""
    _open_files.add(file)


@atexit.register
def _close_all() -> None:
    for file in list(_open_files):
        file.close()


def check_hdf5(file: h5py.File, what: str) -> None:
    """Raise ProofError where an object of the file reaches out of it."""
    try:
        reasons = _reasons(file)
        reason = next(reasons, None)
    except KacheryError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as exc:  # what h5py makes of a damaged file
        raise ProofError(f"{what} is damaged: {str(exc).splitlines()[0][:200]}") from exc
    if reason is not None:
        raise ProofError(f"{what} is refused: {reason}")


def _reasons(file: h5py.File) -> Iterator[str]:
    """Yield why the file reaches out of itself, depth first; each object is looked at once."""
    seen: set[object] = set()
    waiting: list[tuple[str, Any]] = [("", file.id)]
    while waiting:
        path, found = waiting.pop()
        if isinstance(found, h5py.h5f.FileID):
            found = h5py.h5o.open(found, b"/")
        address = _address(found)
        if address in seen:
            continue
        seen.add(address)
        if len(seen) > MAX_OBJECTS:
            yield f"it holds more than {MAX_OBJECTS} objects"
        if isinstance(found, h5py.h5d.DatasetID):
            yield from _reasons_of_dataset(path, found)
        elif isinstance(found, h5py.h5g.GroupID):
            for name in list(found):
                inner = f"{path}/{name.decode('utf-8', 'replace')}"
                kind = found.links.get_info(name).type
                if kind == h5py.h5l.TYPE_HARD:
                    waiting.append((inner, h5py.h5o.open(found, name)))
                elif kind != h5py.h5l.TYPE_SOFT:
                    yield f"{inner[:80]!r} is a link to another file"


def _address(found: Any) -> object:
    """Return where an object lies; ``h5o.get_info`` also adds up its chunks, reading their index all over the file."""
    info = h5py.h5g.get_objinfo(found, b".")
    return (info.fileno, info.objno)


def _reasons_of_dataset(path: str, dataset: Any) -> Iterator[str]:
    creation = dataset.get_create_plist()
    if creation.get_external_count():
        yield f"the values of {path[:80]!r} lie in another file"
    if creation.get_layout() == h5py.h5d.VIRTUAL:
        yield f"{path[:80]!r} is put together from other files"
