"""A Zarr of an analyzer as parts of a tree: chunks in place, metadata without paths; and its extensions read back.

Arrays of pickled objects, the description of the recording and the provenance of the sorting stay where they are, and
the consolidated metadata are made anew, so that stock SpikeInterface opens what is left.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, ProofError
from ..store.composing import Names
from .analyzers_files import EXTENSIONS_FOLDER, Gathered, to_json
from .analyzers_tables import make_table
from .safety_zarr import check_array_metadata
from .scrubbing import scrub
from .sharing_files import look_at

GROUP, ARRAY, ATTRIBUTES, CONSOLIDATED = ".zgroup", ".zarray", ".zattrs", ".zmetadata"
_SHARED_BELOW_ROOT = ("recording_info", "sorting", "sparsity_mask")
MAX_TEXT_BYTES = 64 * 1024 * 1024
_BLOSC_SIZE = slice(4, 8)
"""Where a chunk that Blosc compressed says how long it is without."""
_CHUNK = re.compile(r"\d+(\.\d+)*\Z")


def gather_zarr(folder: Path, extensions: list[str], gathered: Gathered) -> None:
    """Add what a Zarr holds of these extensions, and what it says of itself; InputError for another than zarr 2."""
    if not (folder / GROUP).is_file():
        raise InputError(
            f"the Zarr {folder.name!r} isn't of zarr format 2: save the analyzer with "
            "save_as(format='binary_folder', folder=…) and share what that returns"
        )
    metadata: dict[str, Any] = {}
    _add_metadata(folder, (), metadata, gathered)
    for name in _SHARED_BELOW_ROOT:
        _gather(folder, (name,), metadata, gathered)
    if (folder / EXTENSIONS_FOLDER).is_dir():
        _add_metadata(folder, (EXTENSIONS_FOLDER,), metadata, gathered)
    for name in extensions:
        _gather(folder, (EXTENSIONS_FOLDER, name), metadata, gathered)
    gathered.parts[(CONSOLIDATED,)] = to_json({"metadata": metadata, "zarr_consolidated_format": 1})


def _gather(folder: Path, names: Names, metadata: dict[str, Any], gathered: Gathered) -> None:
    here = folder.joinpath(*names)
    if (here / ARRAY).is_file():
        _gather_array(folder, names, metadata, gathered)
    elif (here / GROUP).is_file():
        _add_metadata(folder, names, metadata, gathered)
        for entry in sorted(os.scandir(here), key=lambda entry: entry.name):
            if entry.is_dir():
                _gather(folder, (*names, entry.name), metadata, gathered)


def _gather_array(folder: Path, names: Names, metadata: dict[str, Any], gathered: Gathered) -> None:
    here = folder.joinpath(*names)
    about = json.loads((here / ARRAY).read_bytes())
    try:
        check_array_metadata(about, "/".join(names))
    except ProofError as exc:
        if "pickle" in str(exc) and len(names) > 1:
            gathered.pickles[names[1]] += 1
        else:
            gathered.leave_out(names, str(exc))
        return
    if _has_texts(about.get("dtype")) and _tells_of_paths(here):
        gathered.leave_out(names, "it tells of paths of this machine")
        return
    _add_metadata(folder, names, metadata, gathered)
    for path in _chunks(here, nested=about.get("dimension_separator") == "/"):
        gathered.parts[(*names, *path.relative_to(here).parts)] = look_at(str(path))


def _has_texts(dtype: object) -> bool:
    """Whether an array's type, as its metadata have it, isn't numbers alone: ``"|O"``, ``"<U9"``, or fields of such."""
    if isinstance(dtype, list):
        return any(_has_texts(field[1]) for field in dtype)
    return str(dtype)[1:2] in ("O", "S", "U")


def _tells_of_paths(array: Path) -> bool:
    """Whether values that are no numbers hold a path; the array is the user's own, and its codecs were checked."""
    import zarr  # type: ignore[import-untyped]

    values = zarr.open(str(array), mode="r")[...].tolist()
    return bool(json.dumps(scrub(values), default=str) != json.dumps(values, default=str))


def _chunks(folder: Path, *, nested: bool) -> Iterator[Path]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not _CHUNK.match(entry.name):
            continue
        if entry.is_file():
            yield Path(entry.path)
        elif nested:
            yield from _chunks(Path(entry.path), nested=True)


def _add_metadata(folder: Path, names: Names, metadata: dict[str, Any], gathered: Gathered) -> None:
    for name in (GROUP, ARRAY, ATTRIBUTES):
        path = folder.joinpath(*names, name)
        if path.is_file():
            value = scrub(json.loads(path.read_bytes()))
            if name == ATTRIBUTES and "provenance" in value:
                value["provenance"] = None
            metadata["/".join((*names, name))] = value
            gathered.parts[(*names, name)] = to_json(value)


def read_group(group: Any, max_bytes: int) -> dict[str, Any]:
    """Return the data of an extension's group, as stock SpikeInterface reads them; ValueError for what it can't be."""
    return {str(name): _read_data(group[name], str(name), max_bytes) for name in group.keys()}  # noqa: SIM118


def _read_data(item: Any, name: str, max_bytes: int) -> Any:
    attributes: Mapping[str, Any] = item.attrs
    if "object" in attributes:
        raise ValueError(f"{name!r} holds objects")
    if "dataframe" in attributes:
        return _read_table(item, max_bytes)
    if item.nbytes > max_bytes:
        raise ValueError(f"{name!r} has {item.nbytes} bytes, more than the {max_bytes} that fit")
    if item.dtype.hasobject:
        _require_short(item, name)
    return item[0] if "dict" in attributes else np.array(item[:])


def _require_short(array: Any, name: str) -> None:
    """Raise ValueError for texts, which say their size nowhere but in the compressed chunk, that would fill memory."""
    if array.compressor is not None and array.compressor.codec_id != "blosc":
        raise ValueError(f"{name!r} has texts that are compressed by {array.compressor.codec_id}, not by blosc")
    for key in array.chunk_store.listdir(array.path):
        chunk = b"" if key.startswith(".") else array.chunk_store[f"{array.path}/{key}"]
        n_bytes = int.from_bytes(chunk[_BLOSC_SIZE], "little") if array.compressor is not None else len(chunk)
        if n_bytes > MAX_TEXT_BYTES:
            raise ValueError(f"{name!r} has texts of {n_bytes} bytes, more than {MAX_TEXT_BYTES}")


def _read_table(group: Any, max_bytes: int) -> Any:
    columns = {str(name): group[name] for name in group.keys()}  # noqa: SIM118
    for name, column in columns.items():
        if column.dtype.hasobject:
            _require_short(column, name)
    if any(column.ndim != 1 or column.nbytes > max_bytes for column in columns.values()):
        raise ValueError("a column of a table is no list, or too long")
    index = columns.pop("index")[:]
    return make_table({name: column[:] for name, column in columns.items()}, index)
