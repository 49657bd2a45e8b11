"""Reads a shared analyzer that a stranger may have made, without a file on disk and without stock's loaders.

Those take a folder, and unpickle what lies in it. Here each extension's files come through the fetcher into memory, by
kind: arrays that hold no objects, JSON, tables. A pickle anywhere refuses the whole.

Measured with 836 MB of extensions (60 units, 96 channels, dense) in a store that is empty: over loopback 3.7 s, from
the store 1.4 s, without extensions 0.4 s and 11 MB; with a round trip of 20 ms and 100 MB/s 12.5 s, and 1.2 s without
extensions. Stock SpikeInterface on a mount takes 4.2 s over loopback and 1.2 s again. A private folder made of the tree
for stock's loader would have doubled the disk's use, and its unpickling would have stayed within reach.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import KacheryError, ProofError
from .analyzers_describing import ZARR, AnalyzerDescription
from .analyzers_files import EXTENSIONS_FOLDER, INFO_FILE, PARAMS_FILE, PICKLES, RUN_INFO_FILE
from .analyzers_tables import parse_table
from .analyzers_zarr import read_group
from .npy import Array
from .safety_json import parse_bounded_json
from .safety_zarr import open_zarr
from .sortings_reading import SortingContent, read_sorting_files

if TYPE_CHECKING:
    from ..app.embedded import Fetcher
    from .treefiles import TreeFiles

SORTING_FOLDER = "sorting"
SPARSITY_FILE = "sparsity_mask.npy"
MAX_JSON_BYTES = MAX_TABLE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, eq=False)
class ExtensionContent:
    """One extension in memory; ``run_info`` is None where an old analyzer has none."""

    params: dict[str, Any]
    run_info: dict[str, Any] | None
    data: dict[str, Any]


@dataclass(frozen=True, eq=False)
class AnalyzerFiles:
    """A shared analyzer whose description was read and checked."""

    fetcher: Fetcher
    files: TreeFiles
    description: AnalyzerDescription

    def check(self) -> None:
        """Raise ProofError for a pickle, wherever it stands."""
        for names, _ in self.files.tree.walk():
            if names[-1].endswith(PICKLES):
                raise ProofError(f"{'/'.join(names)[:200]} is a pickle, and loading a pickle runs code: refused")
        if self.description.storage == ZARR:
            _ = self._zarr  # its consolidated metadata are read and checked

    @cached_property
    def _zarr(self) -> Any:
        return open_zarr(self.fetcher, self.files.tree, "the analyzer")

    def read_sorting(self) -> SortingContent:
        """Fetch the sorting."""
        folder = (*self.description.made_folder, SORTING_FOLDER)
        return read_sorting_files(self.files.below(folder), self.description.sorting)

    def read_sparsity(self) -> Array | None:
        """Fetch which channels each unit has, None for a dense analyzer; ProofError for another shape."""
        if not self.description.is_sparse:
            return None
        shape = (self.description.sorting.n_units, self.description.n_channels)
        mask = self.files.read_array((*self.description.made_folder, SPARSITY_FILE), memory_bytes())
        if mask.dtype != np.dtype(bool) or mask.shape != shape:
            raise ProofError(f"{SPARSITY_FILE} is no mask of {shape[0]} units and {shape[1]} channels")
        return mask

    def read_extension(self, name: str) -> ExtensionContent:
        """Fetch one extension whole; ProofError for what can't be one."""
        try:
            return self._read_zarr(name) if self.description.storage == ZARR else self._read_folder(name)
        except KacheryError:
            raise
        except Exception as exc:  # zarr, pandas and their codecs raise anything for what they haven't written
            reason = " ".join(str(exc).split())[:200]
            raise ProofError(f"the extension {name!r} is damaged: {type(exc).__name__}: {reason}") from exc

    def _read_folder(self, name: str) -> ExtensionContent:
        files = self.files.below((EXTENSIONS_FOLDER, name))
        about = {PARAMS_FILE, RUN_INFO_FILE, INFO_FILE}
        names = [file for file in sorted(files.tree.files) if file not in about and not file.startswith(".")]
        _require_memory(name, sum(files.tree.files[file].size_bytes for file in names))
        data = {file.rpartition(".")[0]: self._read_data(files, file) for file in names if file.endswith(_KINDS)}
        run_info = _read_object(files, RUN_INFO_FILE) if files.has((RUN_INFO_FILE,)) else None
        return ExtensionContent(_read_object(files, PARAMS_FILE), run_info, data)

    def _read_data(self, files: TreeFiles, name: str) -> Any:
        if name.endswith(".npy"):
            return files.read_array((name,), memory_bytes())
        if name.endswith(".json"):
            return parse_bounded_json(files.read((name,), MAX_JSON_BYTES), name)
        return parse_table(files.read((name,), MAX_TABLE_BYTES), self.description.sorting.unit_ids)

    def _read_zarr(self, name: str) -> ExtensionContent:
        group = self._zarr[EXTENSIONS_FOLDER][name]
        params, run_info = group.attrs["params"], group.attrs.get("run_info")
        if not isinstance(params, dict) or not isinstance(run_info, (dict, type(None))):
            raise ProofError(f"the extension {name!r} has no parameters")
        return ExtensionContent(params, run_info, read_group(group, memory_bytes()))


_KINDS = (".npy", ".json", ".csv")


def memory_bytes() -> int:
    """Return how much memory this machine has: what doesn't fit can't be loaded."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _require_memory(name: str, n_bytes: int) -> None:
    if n_bytes > memory_bytes():
        raise ProofError(
            f"the extension {name!r} has {n_bytes / 1e9:,.1f} GB, more than this machine's memory: "
            "load_analyzer(link, load_extensions=False) leaves it out"
        )


def _read_object(files: TreeFiles, name: str) -> dict[str, Any]:
    value = parse_bounded_json(files.read((name,), MAX_JSON_BYTES), name)
    if not isinstance(value, dict):
        raise ProofError(f"{name} is not an object")
    return value
