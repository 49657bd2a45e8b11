"""Sortings of every kind that SpikeInterface reads, made small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import spikeinterface as si
import spikeinterface.extractors as se
from spikeinterface.core import NpzSortingExtractor, NumpySorting

RATE_HZ = 25_000.0
SECRET_FOLDER = "bobs secret folder"
"""Stands in the path of every file: it must not leave the machine."""


def made_sorting(n_segments: int = 2, n_units: int = 4, seed: int = 7) -> NumpySorting:
    """Return a sorting in memory with ties between units, an empty unit and properties of every kind."""
    random = np.random.default_rng(seed)
    samples = [np.sort(random.integers(0, 5000, 300)) for _ in range(n_segments)]
    labels = [random.integers(0, n_units - 1, 300) for _ in range(n_segments)]
    sorting = NumpySorting.from_samples_and_labels(samples, labels, RATE_HZ, unit_ids=list(range(n_units)))
    sorting.set_property("quality", np.array(["good", "mua", "", "noise"][:n_units]))
    sorting.set_property("snr", np.array([1.5, np.nan, -3.0, np.inf][:n_units]))
    sorting.set_property("location", np.arange(2.0 * n_units).reshape(n_units, 2))
    sorting.set_property("is_good", np.arange(n_units) % 2 == 0)
    sorting.annotate(animal="locust 3", weight_g=1.25)
    return sorting


def numpy_folder(folder: Path) -> Any:
    return made_sorting().save(format="numpy_folder", folder=folder / "saved")


def zarr(folder: Path) -> Any:
    return made_sorting().save(format="zarr", folder=folder / "saved.zarr")


def npz(folder: Path) -> Any:
    NpzSortingExtractor.write_sorting(made_sorting(), folder / "sorting.npz")
    return NpzSortingExtractor(folder / "sorting.npz")


def text_ids(folder: Path) -> Any:
    return made_sorting().rename_units(["a", "b7", "unité", "d"])


def selected(folder: Path) -> Any:
    return numpy_folder(folder).select_units([3, 1])


def sliced(folder: Path) -> Any:
    return made_sorting(n_segments=1).frame_slice(1000, 4000)


def shared_memory(folder: Path) -> Any:
    return made_sorting().save(format="memory")


def phy(folder: Path) -> Any:
    _write_phy(folder)
    return se.read_phy(folder)


def kilosort(folder: Path) -> Any:
    _write_phy(folder)
    (folder / "cluster_KSLabel.tsv").write_text("cluster_id\tKSLabel\n" + "".join(f"{n}\tgood\n" for n in range(4)))
    return se.read_kilosort(folder)


def _write_phy(folder: Path) -> None:
    sorting = made_sorting(n_segments=1)
    spikes = sorting.to_spike_vector()
    np.save(folder / "spike_times.npy", spikes["sample_index"][:, None])
    np.save(folder / "spike_clusters.npy", spikes["unit_index"].astype("int32"))
    (folder / "params.py").write_text(f"dat_path = '/home/bob/{SECRET_FOLDER}/rec.dat'\nsample_rate = {RATE_HZ}\n")
    rows = ["0\tgood\tx", "1\tmua\t", "2\tnoise\ty", "3\tgood\t"]
    (folder / "cluster_info.tsv").write_text("cluster_id\tgroup\tnotes\n" + "".join(f"{row}\n" for row in rows))


def nwb(folder: Path) -> Any:
    """Write the units table of an NWB file by hand: times in seconds, and off the frames."""
    import h5py

    sorting = made_sorting(n_segments=1)
    trains = [sorting.get_unit_spike_train(unit_id) / RATE_HZ + 3.25 + 3e-6 for unit_id in sorting.unit_ids]
    with h5py.File(folder / "units.nwb", "w") as file:
        units = file.create_group("units")
        units["id"] = np.arange(4)
        units["spike_times"] = np.concatenate(trains)
        units["spike_times_index"] = np.cumsum([len(train) for train in trains])
        units["depth"] = np.array([1.0, 2.0, np.nan, 4.0])
    return se.read_nwb_sorting(folder / "units.nwb", sampling_frequency=RATE_HZ, t_start=3.25)


def mixed_properties(folder: Path) -> Any:
    sorting = made_sorting()
    mixed = np.array([None, "text", 2.5, 7], dtype=object)
    rows = np.empty(4, dtype=object)
    rows[:] = [np.array([1.0, 2.0]), np.array([], dtype="int16"), [1, "two"], {"a": (1, 2)}]
    sorting.set_property("mixed", mixed)
    sorting.set_property("rows", rows)
    sorting.set_property("a/b c", np.arange(4, dtype="uint8"))
    return sorting


def with_start_times(folder: Path) -> Any:
    sorting = made_sorting()
    recording = si.generate_recording(num_channels=2, durations=[0.2, 0.2], sampling_frequency=RATE_HZ)
    recording.shift_times(12.5, segment_index=1)
    sorting.register_recording(recording)
    return sorting


KINDS: dict[str, Callable[[Path], Any]] = {
    kind.__name__: kind
    for kind in (
        numpy_folder,
        zarr,
        npz,
        text_ids,
        selected,
        sliced,
        shared_memory,
        phy,
        kilosort,
        nwb,
        mixed_properties,
        with_start_times,
    )
}
