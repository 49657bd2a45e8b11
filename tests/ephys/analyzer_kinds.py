"""Analyzers of every format, made small, with extensions of every kind of data."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import spikeinterface as si
import spikeinterface.metrics
import spikeinterface.postprocessing
from spikeinterface.core.core_tools import check_json

SECRET_FOLDER = "bobs secret folder"
FORMATS = ("memory", "binary_folder", "zarr")
EXTENSIONS: dict[str, dict[str, Any]] = {
    "random_spikes": {"max_spikes_per_unit": 50, "seed": 3},
    "waveforms": {},
    "templates": {},
    "noise_levels": {},
    "spike_amplitudes": {},
    "spike_locations": {"method": "center_of_mass"},
    "correlograms": {},
    "unit_locations": {"method": "center_of_mass"},
    "template_similarity": {},
    "principal_components": {"n_components": 2},
    "quality_metrics": {"metric_names": ["num_spikes", "firing_rate", "snr", "isi_violation"]},
}


def made_recording(folder: Path) -> tuple[Any, Any]:
    """Return a recording of two segments on disk, and its true sorting."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recording, sorting = si.generate_ground_truth_recording(
            durations=[4.0, 2.0], num_channels=6, num_units=4, seed=5
        )
        recording = recording.save(folder=folder / "recording", verbose=False, progress_bar=False)
    sorting.set_property("quality", np.array(["good", "mua", "good", "noise"]))
    return recording, sorting


def made_analyzer(folder: Path, storage: str, extensions: dict[str, dict[str, Any]] = EXTENSIONS) -> Any:
    """Return an analyzer of a format, below a folder whose name must not leave the machine."""
    folder = folder / SECRET_FOLDER
    folder.mkdir()
    recording, sorting = made_recording(folder)
    place = None if storage == "memory" else folder / ("an.zarr" if storage == "zarr" else "an")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        analyzer = si.create_sorting_analyzer(sorting, recording, format=storage, folder=place, seed=3)
        analyzer.compute(dict(extensions), progress_bar=False, n_jobs=1)
    return analyzer


def assert_same_extension(one: Any, other: Any) -> None:
    """Demand that two extensions hold the same, but for models that are pickled."""
    assert json.dumps(check_json(one.params), sort_keys=True) == json.dumps(check_json(other.params), sort_keys=True)
    models = {name for name in other.data if name.startswith("pca_model")}
    assert one.data.keys() == other.data.keys() - models
    for name in one.data:
        _assert_same(one.data[name], other.data[name])


def _assert_same(one: Any, other: Any) -> None:
    if hasattr(other, "to_csv"):
        assert sorted(one.columns) == sorted(other.columns)  # a Zarr keeps no order of them
        one = one[other.columns.tolist()]
        assert one.index.tolist() == other.index.tolist()
        np.testing.assert_array_equal(
            one.to_numpy("float64", na_value=np.nan), other.to_numpy("float64", na_value=np.nan)
        )
    else:
        np.testing.assert_equal(np.asarray(one) if isinstance(other, np.ndarray) else one, other)
