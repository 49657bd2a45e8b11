"""Files as the lineage wrote them, made by hand: MDA, flat binary, npy, npz, h5_v1, NWB and kachery's storage."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from running_peers import Peer

RATE_HZ = 20000.0
N_FRAMES = 5000
N_CHANNELS = 6
MDA_CODES = {"u1": -2, "f4": -3, "i2": -4, "i4": -5, "u2": -6, "f8": -7, "u4": -8}

Array = np.ndarray[Any, Any]


def samples(dtype: str = "<i2", n_frames: int = N_FRAMES, n_channels: int = N_CHANNELS) -> Array:
    """Frames × channels, no two columns alike."""
    rng = np.random.default_rng(3)
    values = rng.integers(0, 200, (n_frames, n_channels)) + 1000 * np.arange(n_channels)
    return (values % 250 if dtype.endswith("1") else values).astype(dtype)


def mda_bytes(array: Array, *, is_wide: bool = False) -> bytes:
    """Return an MDA file: the first dimension runs fastest."""
    code = MDA_CODES[array.dtype.str[1:]]
    n_dimensions = -array.ndim if is_wide else array.ndim
    head = struct.pack("<3i", code, array.dtype.itemsize, n_dimensions)
    dimensions = struct.pack(f"<{array.ndim}{'q' if is_wide else 'i'}", *array.shape)
    return head + dimensions + array.tobytes(order="F")


@dataclass
class SharedFiles:
    """Files of one peer, shared; ``link`` is how the lineage's objects name them."""

    peer: Peer
    folder: Path
    _names: list[str] = field(default_factory=list)

    def add(self, files: Mapping[str, bytes]) -> list[str]:
        """Write files, share them, and return a link for each."""
        paths = []
        for name, data in files.items():
            path = self.folder / str(len(self._names)) / name
            path.parent.mkdir(parents=True)
            path.write_bytes(data)
            self._names.append(name)
            paths.append(path)
        return self.share(*paths)

    def share(self, *paths: Path) -> list[str]:
        return self.peer.get("share", *paths).splitlines()

    def add_object(self, value: object, name: str = "object.json") -> str:
        return self.add({name: json.dumps(value).encode()})[0]


def bin_object(raw: str, channel_ids: Sequence[int], columns: Sequence[int], **changes: object) -> dict[str, Any]:
    """Return a bin1 (or, with a dtype, bin2) recording."""
    data = {
        "raw": raw,
        "raw_num_channels": N_CHANNELS,
        "num_frames": N_FRAMES,
        "samplerate": RATE_HZ,
        "channel_ids": list(channel_ids),
        "channel_map": {str(one): column for one, column in zip(channel_ids, columns, strict=True)},
        "channel_positions": {str(one): [10.0 * one, 5.0] for one in channel_ids},
        **changes,
    }
    return {"recording_format": "bin2" if "dtype" in changes else "bin1", "data": data}


def kachery_storage(folder: Path, data: bytes, chunk_bytes: int) -> str:
    """Lay a file and its legacy manifest into a kachery storage folder; return the link of the lineage."""
    chunks = [
        {
            "start": start,
            "end": min(start + chunk_bytes, len(data)),
            "sha1": hashlib.sha1(data[start : start + chunk_bytes]).hexdigest(),
        }
        for start in range(0, len(data), chunk_bytes)
    ]
    manifest = {"size": len(data), "sha1": hashlib.sha1(data).hexdigest(), "chunks": chunks}
    digests = []
    for content in (data, json.dumps(manifest, separators=(",", ":")).encode()):
        digest = hashlib.sha1(content).hexdigest()
        path = folder / "sha1" / digest[:2] / digest[2:4] / digest[4:6] / digest
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        digests.append(digest)
    return f"sha1://{digests[0]}/raw.dat?manifest={digests[1]}"


def write_h5_sorting(path: Path, trains: Mapping[int, Sequence[int]], rate_hz: float = RATE_HZ) -> None:
    with h5py.File(path, "w") as file:
        file["sampling_frequency"] = np.array([rate_hz], dtype="float64")
        file["unit_ids"] = np.array(list(trains), dtype="int32")
        for unit, train in trains.items():
            file[f"unit_spike_trains/{unit}"] = np.array(train, dtype="int64")


def write_nwb(
    path: Path,
    series: Mapping[str, Array],
    *,
    trains_s: Mapping[int, Sequence[float]] | None = None,
    start_s: float = 0.0,
    rate_hz: float = RATE_HZ,
) -> None:
    """Write as much of NWB as readers look at: electrical series with their electrodes, and units."""
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.6.0"
        electrodes = _write_electrodes(file)
        for name, traces in series.items():
            group = file.create_group(f"acquisition/{name}")
            group.attrs["neurodata_type"] = "ElectricalSeries"
            data = group.create_dataset("data", data=traces, chunks=(500, traces.shape[1]))
            data.attrs["conversion"] = 2e-6
            start = group.create_dataset("starting_time", data=start_s)
            start.attrs["rate"] = rate_hz
            region = group.create_dataset("electrodes", data=np.arange(traces.shape[1]))
            region.attrs["table"] = electrodes.ref
        if trains_s is not None:
            _write_units(file, trains_s)


def _write_electrodes(file: Any) -> Any:
    table = file.create_group("general/extracellular_ephys/electrodes")
    names = ["location", "group_name", "rel_x", "rel_y"]
    table.attrs["colnames"] = names
    table.attrs["neurodata_type"] = "DynamicTable"
    table["id"] = np.arange(N_CHANNELS)
    table["location"] = np.array(["CA1"] * N_CHANNELS, dtype="S")
    table["group_name"] = np.array(["left"] * 2 + ["right"] * (N_CHANNELS - 2), dtype="S")
    table["rel_x"] = np.arange(N_CHANNELS, dtype="float64")
    table["rel_y"] = 20.0 * np.arange(N_CHANNELS)
    return table


def _write_units(file: Any, trains_s: Mapping[int, Sequence[float]]) -> None:
    units = file.create_group("units")
    units.attrs["neurodata_type"] = "Units"
    units.attrs["colnames"] = ["spike_times"]
    units["id"] = np.array(list(trains_s), dtype="int64")
    units["spike_times"] = np.concatenate([np.asarray(train, dtype="float64") for train in trains_s.values()])
    units["spike_times_index"] = np.cumsum([len(train) for train in trains_s.values()])
