"""Where a recording's files stand in its tree: under their real names, without the folders that they have in common.

What is above the paths of a description tells of the machine and of its user, so it stays here: paths are named from
the deepest folder that holds all of them. Where that is the root or a folder of home folders, each folder gets a number
instead. Beneath a folder that the description names everything that was opened belongs to the recording; beside a file
that it names, what was opened in the same folder. Hidden files and programs don't: they are of a library's that reads.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from spikeinterface.core.core_tools import is_dict_extractor, set_value_in_extractor_dict

from ..errors import InputError
from ..store.originals import shown
from ..store.scan import Exclude, scan, to_name
from .layouts import DESCRIPTION_FILE, RECORDING_FILE, TreePath

MADE_FOLDER = "kacheryfs"
_RESERVED = {RECORDING_FILE, DESCRIPTION_FILE, MADE_FOLDER}
_ZARR_FILES = (".zgroup", ".zarray", ".zmetadata", "zarr.json")
_OF_FILES = re.compile("file|folder|dir")
"""What SpikeInterface calls arguments that are paths of files; ``electrical_series_path`` leads into one."""
_Key = str | int


@dataclass(frozen=True, slots=True)
class PathAt:
    """A path of this machine and the keys that lead to it in a description."""

    at: tuple[_Key, ...]
    path: str


def find_paths(description: Mapping[str, Any]) -> list[PathAt]:
    """Return the paths among the arguments of every extractor of the chain.

    InputError: a remote address, or a file that is gone.
    """
    return list(_paths_below(description["kwargs"], ("kwargs",), ""))


def _paths_below(value: object, at: tuple[_Key, ...], name: str) -> Iterator[PathAt]:
    if isinstance(value, dict):
        is_extractor = is_dict_extractor(value)
        for key, each in value.items():
            if key == "kwargs" or not is_extractor:
                yield from _paths_below(each, (*at, key), str(key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _paths_below(each, (*at, index), name)
    elif isinstance(value, str) and (path := _find_path(value, name)):
        yield PathAt(at, path)


def _find_path(text: str, name: str) -> str | None:
    """Return what an argument names of this machine; any absolute path that exists is one, whatever its name."""
    if "path" in name and "://" in text:
        raise InputError(f"the recording reads {shown(text)[:200]}: only files of this machine can be shared")
    if not text or "\0" in text or not (os.path.isabs(text) or "path" in name):
        return None
    if os.path.isabs(text) and _OF_FILES.search(name) and not os.path.exists(text):
        raise InputError(f"the recording reads {shown(text)}, which is gone: open it again where it lies now")
    return _normal(text) if os.path.lexists(text) else None


def _normal(path: str) -> str:
    """Return an absolute path without "..", with its symbolic links as they are where that is the same file."""
    plain = os.path.abspath(path)
    return plain if os.path.exists(plain) and os.path.samefile(plain, path) else os.path.realpath(path)


@dataclass(frozen=True, slots=True)
class Named:
    """The tree's names: of the description's paths, and of every file."""

    paths: Mapping[str, TreePath]
    files: Mapping[TreePath, str]


def name_files(paths: Sequence[str], opened: Sequence[str]) -> Named:
    """Give names to the description's paths, and to those of the opened files that are the recording's."""
    roots = [_Root.of(path, prefix, base) for path, prefix, base in _bases(list(dict.fromkeys(paths)))]
    files: dict[TreePath, str] = {}
    for path in (*(file for root in roots for file in root.own_files()), *opened):
        names = next((names for root in roots if (names := root.find_name(path))), None)
        if names and os.path.isfile(path) and not _is_program(path):
            files[names] = path
    named = {root.path: root.name for root in roots}
    if _RESERVED & {names[0] for names in (*files, *named.values())}:
        files = {("files", *names): path for names, path in files.items()}
        named = {path: ("files", *names) for path, names in named.items()}
    return Named(named, files)


def _is_program(path: str) -> bool:
    """Tell whether a file is Python's own: a data folder may hold an environment, or be a home folder."""
    is_installed = any(path.startswith(f"{prefix}/") for prefix in {sys.prefix, sys.base_prefix})
    return is_installed or path.endswith((".py", ".pyc", ".so", ".pth"))


def _bases(paths: Sequence[str]) -> Iterator[tuple[str, TreePath, str]]:
    """Yield (path, prefix, base): the path stands in the tree under the prefix and its name below the base."""
    folders = list(dict.fromkeys(map(os.path.dirname, paths)))
    common = os.path.commonpath(folders) if folders else "/"
    if len(folders) < 2 or not _tells_of_machine(common):
        yield from ((path, (), common) for path in paths)
        return
    numbers = {folder: str(index + 1) for index, folder in enumerate(folders)}
    yield from ((path, (numbers[os.path.dirname(path)],), os.path.dirname(path)) for path in paths)


def _tells_of_machine(folder: str) -> bool:
    home = os.path.realpath(os.path.expanduser("~"))
    return folder == "/" or (f"{home}/".startswith(f"{folder}/") and home != folder)


@dataclass(frozen=True, slots=True)
class _Root:
    path: str
    prefix: TreePath
    base: str
    is_folder: bool

    @classmethod
    def of(cls, path: str, prefix: TreePath, base: str) -> _Root:
        return cls(path, prefix, base, os.path.isdir(path))

    @property
    def name(self) -> TreePath:
        return self._named(self.path, is_folder=self.is_folder)

    def own_files(self) -> Iterator[str]:
        """Yield what belongs to it whether it was opened or not: a file itself, all of a Zarr."""
        if not self.is_folder:
            yield self.path
        elif self.is_zarr:
            found = scan(os.fsencode(os.path.realpath(self.path)), Exclude())
            yield from (os.path.join(self.path, *file.names) for file in found.files)

    def find_name(self, path: str) -> TreePath | None:
        """Return where a file stands in the tree; None if it isn't this path's."""
        above = self.path if self.is_folder else os.path.dirname(self.path)
        for folder in dict.fromkeys((above, os.path.realpath(above), self._real_folder())):
            inside = os.path.relpath(path, folder)
            if self.holds(inside, path):
                return self._named(os.path.join(above, self._unlinked(path, inside)), is_folder=False)
        return None

    def holds(self, inside: str, path: str) -> bool:
        """Tell whether a file is the recording's; ``inside`` is its path below our folder, or our file's folder."""
        if inside.startswith("../"):
            return False
        if self.is_zarr or path == self.path:
            return True
        is_hidden = any(name.startswith(".") for name in inside.split("/"))
        return not is_hidden and (self.is_folder or os.path.dirname(inside) == "")

    @property
    def is_zarr(self) -> bool:
        return self.is_folder and any(os.path.lexists(os.path.join(self.path, name)) for name in _ZARR_FILES)

    def _real_folder(self) -> str:
        real = os.path.realpath(self.path)
        return real if self.is_folder else os.path.dirname(real)

    def _unlinked(self, path: str, inside: str) -> str:
        """Return the name that the description has for its own file, where the extractor went to what it links to."""
        is_own = not self.is_folder and path == os.path.realpath(self.path)
        return os.path.basename(self.path) if is_own else inside

    def _named(self, path: str, *, is_folder: bool) -> TreePath:
        relative = os.path.relpath(path, self.base)
        names = tuple(to_name(os.fsencode(name)) for name in relative.split("/"))
        folders, last = (names, ()) if is_folder else (names[:-1], names[-1:])
        return (*self.prefix, *map(_without_user, folders), *last)


def _without_user(name: str) -> str:
    return "folder" if name in _user_names() else name


def _user_names() -> set[str]:
    try:
        return {getpass.getuser(), os.path.basename(os.path.expanduser("~"))}
    except (KeyError, OSError):  # no such user: a container
        return {os.path.basename(os.path.expanduser("~"))}


def with_names(description: dict[str, Any], found: Sequence[PathAt], named: Mapping[str, TreePath]) -> dict[str, Any]:
    """Return the description with the tree's names in place of paths, as stock SpikeInterface reads them.

    A text that leads into a folder of this machine all the same, to a file that is no more, is cut down to its last
    name.
    """
    renamed: dict[str, Any] = deepcopy(description)
    for each in found:
        set_value_in_extractor_dict(renamed, each.at, "/".join(named[each.path]))
    cleaned: dict[str, Any] = _without_folders(renamed)
    return {**cleaned, "relative_paths": True}


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return list(map(_without_folders, value))
    if not isinstance(value, str) or "\0" in value or not os.path.isabs(value):
        return value
    folder = os.path.dirname(value)
    return os.path.basename(value) if folder != "/" and os.path.isdir(folder) else value
