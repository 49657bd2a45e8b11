"""Shares that somebody made to harm who loads them: real files, made with the real libraries."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from running_peers import Peer

from kacheryfs.app import open_catalog
from kacheryfs.app.embedded import get_fetcher
from kacheryfs.config import load_settings
from kacheryfs.store.sharing import share

BINARY = "spikeinterface.core.binaryrecordingextractor.BinaryRecordingExtractor"
BINARY_FOLDER = "spikeinterface.core.binaryfolder.BinaryFolderRecording"
NWB = "spikeinterface.extractors.nwbextractors.NwbRecordingExtractor"
ZARR = "spikeinterface.core.zarrextractors.ZarrRecordingExtractor"
N_CHANNELS, N_FRAMES, RATE_HZ = 4, 500, 1000.0


class Canary:
    """Unpickling one writes a file, which tells that code of the share's maker ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, (f"__import__('pathlib').Path({str(self.path)!r}).write_text('code ran')",))


@dataclass(frozen=True)
class HostileLab:
    """Mallory, who shares, and the reader of this process, who asks nobody but her."""

    mallory: Peer
    folder: Path

    @property
    def canary(self) -> Path:
        return self.folder / "canary"

    def share(self, folder: Path) -> str:
        """Share as `kacheryfs share` does, but for looking what it is: that would open it here, as its maker may."""
        settings = load_settings({}, {"KACHERYFS_DIR": str(self.mallory.folder)})
        with open_catalog(settings) as catalog:
            return str(share(catalog, folder).link)


@contextmanager
def hostile_lab(folder: Path) -> Iterator[HostileLab]:
    mallory, reader = Peer(folder / "mallory"), Peer(folder / "reader")
    before = os.environ.get("KACHERYFS_DIR")
    with mallory.serving() as url:
        reader.get("peer", "add", url)
        os.environ["KACHERYFS_DIR"] = str(reader.folder)
        try:
            yield HostileLab(mallory, folder)
        finally:
            get_fetcher().close()
            os.environ.pop("KACHERYFS_DIR")
            if before is not None:
                os.environ["KACHERYFS_DIR"] = before


def write_samples(folder: Path, name: str = "r.dat") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    np.random.default_rng(2).integers(-90, 90, (N_FRAMES, N_CHANNELS), dtype="<i2").tofile(path)
    return path


def describe(class_name: str, kwargs: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Write as SpikeInterface does."""
    module = class_name.split(".")[0]
    return {
        "class": class_name,
        "module": module,
        "version": "0.105.3",
        "kwargs": {} if kwargs is None else kwargs,
        "annotations": {},
        "properties": {},
        "relative_paths": True,
        **more,
    }


def describe_binary(**changes: Any) -> dict[str, Any]:
    """A description that loads, but for ``changes`` of its arguments."""
    kwargs = {
        "file_paths": ["r.dat"],
        "sampling_frequency": RATE_HZ,
        "num_channels": N_CHANNELS,
        "dtype": "<i2",
        "channel_ids": list(range(N_CHANNELS)),
        "time_axis": 0,
        "file_offset": 0,
    }
    return describe(BINARY, {**kwargs, **changes})


def on_top(inner: Any, name: str = "rectify.RectifyRecording", **kwargs: Any) -> dict[str, Any]:
    return describe(f"spikeinterface.preprocessing.{name}", {"recording": inner, **kwargs})


def write_description(folder: Path, value: Any) -> Path:
    """Write recording.json beside a file of samples."""
    write_samples(folder)
    text = value if isinstance(value, str) else json.dumps(value)
    (folder / "recording.json").write_text(text)
    return folder


def layout(**changes: Any) -> dict[str, Any]:
    segment = {"file": "r.dat", "offset_bytes": 0, "n_frames": N_FRAMES, "order": "C", "t_start": None}
    return {
        "at": [],
        "sampling_frequency": RATE_HZ,
        "dtype": "<i2",
        "channel_ids": list(range(N_CHANNELS)),
        "n_columns": N_CHANNELS,
        "columns": None,
        "segments": [segment | changes.pop("segment", {})],
        **changes,
    }


def write_described(folder: Path, *layouts: dict[str, Any], **changes: Any) -> Path:
    """Write recording.json and kacheryfs.json."""
    write_description(folder, changes.pop("recording", describe_binary()))
    summary = {"sampling_frequency": RATE_HZ, "n_channels": N_CHANNELS, "dtype": "int16", "n_frames": [N_FRAMES]}
    described = {
        "format": "kacheryfs-recording",
        "version": 1,
        "label": "x",
        "spikeinterface": "0.105.3",
        "summary": {**summary, "duration_s": N_FRAMES / RATE_HZ, "probe": None},
        "binary": list(layouts),
        **changes,
    }
    (folder / "kacheryfs.json").write_text(json.dumps(described))
    return folder


def write_nwb(path: Path, *, n_frames: int = N_FRAMES) -> Path:
    """Write the least of NWB that SpikeInterface reads a recording from."""
    with h5py.File(path, "w") as file:
        electrodes = file.create_group("general/extracellular_ephys/electrodes")
        text = h5py.string_dtype()
        electrodes.attrs["colnames"] = np.array(["group_name", "rel_x", "rel_y"], dtype=text)
        electrodes["id"] = np.arange(N_CHANNELS)
        electrodes.create_dataset("group_name", data=np.array(["probe"] * N_CHANNELS, dtype=object), dtype=text)
        electrodes["rel_x"] = np.zeros(N_CHANNELS)
        electrodes["rel_y"] = np.arange(N_CHANNELS) * 20.0
        series = file.create_group("acquisition/series")
        series.attrs["neurodata_type"] = "ElectricalSeries"
        samples = np.random.default_rng(7).integers(-300, 300, (n_frames, N_CHANNELS), dtype="<i2")
        data = series.create_dataset("data", data=samples, chunks=(min(n_frames, 3000), N_CHANNELS), compression="gzip")
        data.attrs["conversion"] = 1e-6
        start = series.create_dataset("starting_time", data=2.5)
        start.attrs["rate"] = RATE_HZ
        series["electrodes"] = np.arange(N_CHANNELS)
    return path
