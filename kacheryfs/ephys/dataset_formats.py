"""The formats that a recipe may name: extractors of the safe table, opened on files of this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikeinterface.core import BaseRecording, BaseSorting

from ..app import open_catalog
from ..config import load_settings
from ..core.tree import Tree
from ..errors import InputError, ProofError
from ..store.composing import InPlace, compose
from .loading import load_recording
from .safety import Node
from .safety_building import construct
from .safety_classes import ClassRow, Leaf
from .safety_extractors import EXTRACTORS
from .safety_kinds import Place, flag, number, word
from .safety_paths import file

PATH_KEYS = ("file_paths", "file_path", "folder_path")
_SUFFIXES = ("RecordingExtractor", "Recording", "Extractor")
_OWN_FOLDERS = (Leaf.BINARY_FOLDER, Leaf.ZARR)
"""SpikeInterface's own: reading one unpickles what is in it, so our reader looks at it first."""


def _name_of(row: ClassRow) -> str:
    """``SpikeGLXRecordingExtractor`` is ``spikeglx``."""
    return next(row.name.removesuffix(suffix) for suffix in _SUFFIXES if row.name.endswith(suffix)).lower()


RECORDING_FORMATS: Mapping[str, ClassRow] = {
    _name_of(row): row for row in EXTRACTORS.values() if row.leaf is not Leaf.LAYOUT
}
_SORTING_ROWS = (
    ClassRow("spikeinterface.core.npzsortingextractor", "NpzSortingExtractor", {"file_path": file}),
    ClassRow(
        "spikeinterface.extractors.mdaextractors",
        "MdaSortingExtractor",
        {"file_path": file, "sampling_frequency": number},
    ),
    ClassRow(
        "spikeinterface.extractors.nwbextractors",
        "NwbSortingExtractor",
        {
            "file_path": file,
            "electrical_series_path": word,
            "sampling_frequency": number,
            "samples_for_rate_estimation": number,
            "load_unit_properties": flag,
            "unit_table_path": word,
            "t_start": number,
        },
    ),
)
SORTING_FORMATS: Mapping[str, ClassRow] = {
    row.name.removesuffix("SortingExtractor").lower(): row for row in _SORTING_ROWS
}
"""Not Phy, Kilosort or SpikeInterface's folders: reading those executes files or unpickles."""


def is_own_folder(kind: str) -> bool:
    """Tell whether a format is a folder that SpikeInterface saved, which says all of itself."""
    return RECORDING_FORMATS[kind].leaf in _OWN_FOLDERS


def refuse_pickles(folder: Path) -> None:
    """Let our own reader open a folder that SpikeInterface saved; ProofError where loading it could run code."""
    settings = load_settings({}, os.environ)
    files = {path.relative_to(folder).parts: InPlace(str(path)) for path in folder.rglob("*") if path.is_file()}
    with open_catalog(settings) as catalog:
        shared = compose(catalog, files, "", own_folders=(settings.store_dir, settings.runtime_dir))
        try:
            load_recording(str(shared.link))
        finally:
            catalog.unshare(shared.path)


def check_format(kind: str, parameters: Mapping[str, object], *, is_sorting: bool) -> dict[str, Any]:
    """Return the parameters as the extractor takes them; InputError for a format or a parameter that isn't known."""
    table = SORTING_FORMATS if is_sorting else RECORDING_FORMATS
    row = table.get(kind)
    if row is None:
        raise InputError(f"the format {kind[:40]!r} is not known; known are {', '.join(sorted(table))}")
    taken = {}
    for name, value in parameters.items():
        known = [key for key in row.kwargs if key not in PATH_KEYS]
        if name not in known:
            raise InputError(f"{kind} takes no parameter {name[:40]!r}; it takes {', '.join(known) or 'none'}")
        try:
            taken[name] = row.kwargs[name](value, Place(Tree()))
        except ValueError as exc:
            raise InputError(f"the parameter {name} {exc}") from exc
    return taken


def open_recording(kind: str, paths: Sequence[Path], parameters: Mapping[str, object]) -> BaseRecording:
    """Open a recording of this machine lazily, of several files if they are segments; InputError where it can't be."""
    row = RECORDING_FORMATS[kind]
    kwargs = _with_paths(row, paths, check_format(kind, parameters, is_sorting=False))
    try:
        if is_own_folder(kind):
            refuse_pickles(paths[0])
        return construct(row, kwargs, Node(row, (), kwargs))
    except ProofError as exc:
        raise InputError(f"{paths[0]} can't be opened as {kind}: {exc}") from exc


def open_sorting(kind: str, path: Path, parameters: Mapping[str, object]) -> BaseSorting:
    """Open a sorting of this machine; InputError where it can't be."""
    row = SORTING_FORMATS[kind]
    kwargs = _with_paths(row, [path], check_format(kind, parameters, is_sorting=True))
    module = __import__(row.module, fromlist=[row.name])
    try:
        return getattr(module, row.name)(**kwargs)
    except Exception as exc:  # SpikeInterface, and whatever library reads the file, raise anything
        reason = " ".join(str(exc).split())[:300]
        raise InputError(f"{path} can't be opened as {kind}: {type(exc).__name__}: {reason}") from exc


def _with_paths(row: ClassRow, paths: Sequence[Path], parameters: Mapping[str, Any]) -> dict[str, Any]:
    key = next(key for key in PATH_KEYS if key in row.kwargs)
    if key == "file_paths":
        return {key: [str(path) for path in paths], **parameters}
    if len(paths) > 1:
        raise InputError(f"this format is read from one path, and {len(paths)} are given")
    return {key: str(paths[0]), **parameters}
