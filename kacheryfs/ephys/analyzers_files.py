"""What of an analyzer is shared: arrays in place, small files made anew; no pickle, and no path of the machine.

An extension is a folder as stock SpikeInterface writes it: ``params.json``, ``run_info.json``, and its data as
``.npy``, ``.csv`` (tables) and ``.json``. Whatever else stands there isn't shared.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import probeinterface
import spikeinterface
from numpy.lib import format as npy_format
from spikeinterface.core.core_tools import check_json

from ..errors import InputError
from ..store.composing import Names, Part
from .npy import MAX_HEADER_BYTES, encode_npy
from .scrubbing import scrub
from .sharing_files import look_at

EXTENSIONS_FOLDER = "extensions"
PARAMS_FILE, RUN_INFO_FILE, INFO_FILE = "params.json", "run_info.json", "info.json"
PICKLES = (".pkl", ".pickle")


@dataclass(frozen=True, slots=True)
class Gathered:
    """Parts of a tree, and what was left out of it and why; ``pickles`` counts them by extension."""

    parts: dict[Names, Part] = field(default_factory=dict)
    others_left_out: list[str] = field(default_factory=list)
    pickles: Counter[str] = field(default_factory=Counter)

    def leave_out(self, names: Names, why: str) -> None:
        self.others_left_out.append(f"{'/'.join(names)}: {why}")

    @property
    def left_out(self) -> tuple[str, ...]:
        """One line for each thing, and one for all pickles of an extension."""
        pickles = (
            f"{n} of the files of {extension!r}, which {'is a pickle' if n == 1 else 'are pickles'} and would run code "
            "when loaded; compute it again to have them"
            for extension, n in sorted(self.pickles.items())
        )
        return (*self.others_left_out, *pickles)


def gather_folder(folder: Path, extensions: list[str], gathered: Gathered) -> None:
    """Add what a binary folder holds of these extensions, and what it says of itself."""
    for name in ("spikeinterface_info.json", "settings.json"):
        _add_json(folder / name, (name,), gathered)
    for name in ("recording_attributes.json", "probegroup.json"):
        if (folder / "recording_info" / name).is_file():
            _add_json(folder / "recording_info" / name, ("recording_info", name), gathered)
    for extension in extensions:
        for entry in sorted(os.scandir(folder / EXTENSIONS_FOLDER / extension), key=lambda entry: entry.name):
            if entry.is_file() and not entry.name.startswith("."):
                _add_file(Path(entry.path), extension, gathered)


def _add_file(path: Path, extension: str, gathered: Gathered) -> None:
    names = (EXTENSIONS_FOLDER, extension, path.name)
    if path.suffix in PICKLES or (path.suffix == ".npy" and _has_objects(path)):
        gathered.pickles[extension] += 1
    elif path.suffix == ".json":
        _add_json(path, names, gathered)
    elif path.suffix in (".npy", ".csv"):
        gathered.parts[names] = look_at(str(path))


def _has_objects(path: Path) -> bool:
    with path.open("rb") as file:
        version = npy_format.read_magic(file)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        return bool(read(file, max_header_size=MAX_HEADER_BYTES)[2].hasobject)


def _add_json(path: Path, names: Names, gathered: Gathered) -> None:
    """Add a small file as it is, or rewritten where it tells of paths."""
    data = path.read_bytes()
    gathered.parts[names] = clean_json(data)


def clean_json(data: bytes) -> bytes:
    """Return JSON without paths of the machine; the very bytes where there are none."""
    value = json.loads(data)
    clean = scrub(value)
    return data if json.dumps(clean) == json.dumps(value) else to_json(clean)


def to_json(value: object) -> bytes:
    """Return JSON as SpikeInterface writes it: NaN and all."""
    return json.dumps(value, indent=4, sort_keys=True).encode()


def gather_memory(analyzer: Any, extensions: list[str], gathered: Gathered) -> None:
    """Add extensions that live in memory, as a binary folder would hold them."""
    for name in extensions:
        extension = analyzer.extensions[name]
        folder = (EXTENSIONS_FOLDER, name)
        gathered.parts[(*folder, PARAMS_FILE)] = to_json(scrub(check_json(extension.params)))
        if extension.run_info is not None:
            gathered.parts[(*folder, RUN_INFO_FILE)] = to_json(check_json(extension.run_info))
        for variable, data in sorted(extension.data.items()):
            _add_data(data, (*folder, str(variable)), name, gathered)


def _add_data(data: Any, names: Names, extension: str, gathered: Gathered) -> None:
    stem = names[-1]
    if hasattr(data, "to_csv"):
        gathered.parts[(*names[:-1], f"{stem}.csv")] = data.to_csv(index=True).encode()
    elif isinstance(data, (dict, list)):
        gathered.parts[(*names[:-1], f"{stem}.json")] = to_json(scrub(check_json(data)))
    elif isinstance(data, np.ndarray) or hasattr(data, "oindex"):
        array = np.asarray(data[:] if getattr(data, "ndim", 0) else data)
        if array.dtype.hasobject:
            gathered.pickles[extension] += 1
        else:
            gathered.parts[(*names[:-1], f"{stem}.npy")] = encode_npy(array)
    else:
        gathered.pickles[extension] += 1


def make_stock_files(settings: Mapping[str, Any], attributes: Mapping[str, Any], probegroup: Any) -> dict[Names, Part]:
    """Return what stock SpikeInterface needs beside the extensions to load the folder of an analyzer in memory."""
    info = {"version": spikeinterface.__version__, "dev_mode": False, "object": "SortingAnalyzer"}
    files: dict[Names, Part] = {
        ("spikeinterface_info.json",): to_json(info),
        ("settings.json",): to_json(dict(settings)),
        ("recording_info", "recording_attributes.json"): to_json(scrub(check_json(dict(attributes)))),
    }
    if probegroup is not None:
        probes = {"specification": "probeinterface", "version": probeinterface.__version__, **check_json(probegroup)}
        files[("recording_info", "probegroup.json")] = to_json(scrub(probes))
    return files


def require_folder(folder: Any) -> Path:
    """Return the folder of an analyzer; InputError where it is none of this machine, or gone."""
    if folder is None or "://" in str(folder) or not os.path.isdir(folder):  # Path.is_dir raises for a long name
        raise InputError(f"the analyzer's folder {str(folder)[:200]!r} is not on this machine")
    return Path(folder)
