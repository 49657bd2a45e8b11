"""Folders of this machine that look like a recording: is opening one with SpikeInterface harmless?

Who downloads a folder and shares it on has not written it. Opening what SpikeInterface saved unpickles properties and
calls the codecs that a Zarr array names; what it names as its files may be anybody's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from numpy.lib import format as npy_format

from ..errors import InputError, ProofError
from .safety_json import MAX_BYTES, parse_bounded_json
from .safety_paths import split_path

MAX_FILES = 1_000_000


def check_saved_folder(folder: Path) -> None:
    """Raise InputError where opening what SpikeInterface saved in a folder would run code, or read other files."""
    try:
        if (folder / "binary.json").is_file():
            _check_binary(folder)
        elif (folder / ".zgroup").is_file():
            _check_zarr(folder)
    except ProofError as exc:
        raise InputError(f"{folder} is not opened: {exc}") from exc


def _check_binary(folder: Path) -> None:
    described = parse_bounded_json(_read(folder / "binary.json"), "binary.json")
    kwargs: Any = described.get("kwargs") if isinstance(described, dict) else None
    for key in ("file_paths", "file_timestamps_paths"):
        paths = (kwargs or {}).get(key) or []
        for path in paths if isinstance(paths, list) else [paths]:
            try:
                split_path(path)
            except ValueError as exc:
                raise ProofError(f"{key!r} of binary.json {exc}") from exc
    for path in (*folder.glob("properties/*.npy"), *folder.glob("times_cached_seg*.npy")):
        if _holds_objects(path):
            raise ProofError(f"{path.name} holds pickled objects, and loading them runs code")


def _holds_objects(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            version = npy_format.read_magic(file)
            read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
            return bool(read(file)[2].hasobject)
        except ValueError:
            return True  # no npy file: numpy would take it for a pickle


def _check_zarr(folder: Path) -> None:
    from .safety_zarr import METADATA_NAMES, check_metadata_file

    n_files = 0
    for above, _, names in os.walk(folder):
        n_files += len(names)
        if n_files > MAX_FILES:
            raise ProofError(f"it holds more than {MAX_FILES} files")
        for name in METADATA_NAMES:
            if name in names:
                check_metadata_file(name, _read(Path(above, name)), Path(above).name)


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_BYTES:
        raise ProofError(f"{path.name} has more than {MAX_BYTES} bytes")
    return path.read_bytes()
