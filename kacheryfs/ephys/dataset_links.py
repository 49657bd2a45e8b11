"""Describes files behind a link as a recording: a tree that names them and says how to open them; none is fetched."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import spikeinterface

from .. import app
from ..app.embedded import get_fetcher
from ..config import load_settings
from ..core.link import FileLink, TreeLink
from ..core.request import FileRequest
from ..core.tree import FileEntry, Tree
from ..errors import InputError
from ..store.composing import Names, Part, compose
from .dataset_formats import PATH_KEYS, RECORDING_FORMATS, check_format, is_own_folder
from .describing import encode_description
from .layouts import DESCRIPTION_FILE, RECORDING_FILE, RecordingDescription
from .loading import load_recording
from .sharing_summary import summarize

if TYPE_CHECKING:
    from ..app.embedded import Fetcher


def share_linked_recording(
    link: FileLink | TreeLink, kind: str, parameters: Mapping[str, object], *, label: str
) -> str:
    """Return the link of a recording made of what another link names; InputError where that can't be.

    The description is offered by this machine, the files go on being read from those who have them.
    """
    name, found = _look_at(get_fetcher(), link, label)
    if is_own_folder(kind):
        if isinstance(found, FileEntry):
            raise InputError(f"{kind} is a folder, and {str(link)[:200]} names a file")
        return str(link)
    description = _describe(kind, name, parameters, is_folder=isinstance(found, Tree))
    parts: dict[Names, Part] = {(RECORDING_FILE,): description, **_files_of(name, found)}
    with app.open_catalog(load_settings({}, os.environ)) as catalog:
        first = compose(catalog, parts, label)  # loads, but doesn't tell yet what is in it
        try:
            summary = summarize(load_recording(str(first.link)))
        finally:
            catalog.unshare(first.path)
        about = RecordingDescription(label, spikeinterface.__version__, summary)
        parts[(DESCRIPTION_FILE,)] = encode_description(about)
        return str(compose(catalog, parts, label).link)


def _files_of(name: str, found: FileEntry | Tree) -> dict[Names, FileEntry]:
    return {(name,): found} if isinstance(found, FileEntry) else {(name, *names): one for names, one in found.walk()}


def _look_at(fetcher: Fetcher, link: FileLink | TreeLink, label: str) -> tuple[str, FileEntry | Tree]:
    """Return what a link names, and the name that it gets in the tree."""
    if isinstance(link, TreeLink):
        found = fetcher.get_tree(link.sha1).find(link.path)
        if found is None:
            raise InputError(f"{'/'.join(link.path)[:200]} is not in the folder sha1 {link.sha1.short}")
        return (link.path[-1] if link.path else link.label or label), found
    with fetcher.open_file(FileRequest(link.sha1, link.manifest)) as file:
        return link.label or label, FileEntry(file.size_bytes, link.sha1, link.manifest)


def _describe(kind: str, name: str, parameters: Mapping[str, object], *, is_folder: bool) -> bytes:
    """Return ``recording.json``, as SpikeInterface writes it."""
    row = RECORDING_FORMATS[kind]
    key = next(key for key in PATH_KEYS if key in row.kwargs)
    if is_folder != (key == "folder_path"):
        raise InputError(f"{kind} is read from a {'file' if is_folder else 'folder'}, which the link doesn't name")
    kwargs = check_format(kind, parameters, is_sorting=False)
    description = {
        "class": row.path,
        "module": "spikeinterface",
        "kwargs": {key: [name] if key == "file_paths" else name, **kwargs},
        "version": spikeinterface.__version__,
        "annotations": {},
        "properties": {},
        "relative_paths": True,
    }
    return json.dumps(description, indent=1, sort_keys=True).encode()
