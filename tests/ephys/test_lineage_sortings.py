"""Each sorting format of the lineage: files written by hand at one lab, read at another through a real server."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab_pairs import LabPair
from lineage_formats import RATE_HZ, SharedFiles, mda_bytes, samples, write_h5_sorting, write_nwb

from kacheryfs.app.embedded import get_fetcher
from kacheryfs.core.link import parse_link
from kacheryfs.ephys.lineage_sortings import load_lineage_sorting

TRAINS = {2: [10, 40, 900], 5: [20, 40], 11: [30]}
TIMES = np.array([10, 20, 30, 40, 40, 900])
LABELS = np.array([2, 5, 11, 5, 2, 2])
FIRINGS = np.array([np.zeros(6), TIMES, LABELS], dtype="float64")


@pytest.fixture
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabPair:
    return LabPair(tmp_path, monkeypatch)


@pytest.fixture
def files(labs: LabPair, tmp_path: Path) -> SharedFiles:
    return SharedFiles(labs.alice, tmp_path / "files")


@pytest.fixture(autouse=True)
def _bob(labs: LabPair, files: SharedFiles) -> Iterator[None]:
    """Be bob, while alice serves what she shares: now and later."""
    with labs.at_bob_with_alice_serving():
        yield


def load(value: object, **options: float) -> Any:
    return load_lineage_sorting(get_fetcher(), value, **options)


def assert_trains(sorting: Any, trains: Mapping[int, Sequence[int]], rate_hz: float = RATE_HZ) -> None:
    assert sorting.unit_ids.tolist() == list(trains)
    assert sorting.get_sampling_frequency() == rate_hz
    assert sorting.get_num_segments() == 1
    for unit, train in trains.items():
        assert sorting.get_unit_spike_train(unit).tolist() == list(train)


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(*, is_packed: bool = False, **arrays: Any) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if is_packed else np.savez)(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("dtype", ["int64", "int32", "float64", "uint32"])
def test_npy1_is_two_arrays(dtype: str, files: SharedFiles) -> None:
    times, labels = files.add({"times.npy": npy(TIMES.astype(dtype)), "labels.npy": npy(LABELS.reshape(1, -1))})
    data = {"times_npy_uri": times, "labels_npy_uri": labels, "samplerate": RATE_HZ}
    assert_trains(load({"sorting_format": "npy1", "data": data}), TRAINS)


@pytest.mark.parametrize("is_packed", [False, True])
def test_npy2_is_an_npz(is_packed: bool, files: SharedFiles) -> None:
    data = npz(is_packed=is_packed, spike_indexes=TIMES, spike_labels=LABELS, sampling_frequency=RATE_HZ)
    (link,) = files.add({"sorting.npz": data})
    plain = {"npz_uri": link, "unit_ids": [2, 5, 11], "sampling_frequency": RATE_HZ}
    assert_trains(load({"sorting_format": "npy2", "data": plain}), TRAINS)
    with_an_empty_unit = {"npz_uri": link, "unit_ids": [11, 3, 2, 5]}
    assert_trains(load({"sorting_format": "npy2", "data": with_an_empty_unit}), {11: [30], 3: [], **TRAINS_OF_2_AND_5})


TRAINS_OF_2_AND_5 = {unit: TRAINS[unit] for unit in (2, 5)}


@pytest.mark.parametrize("dtype", ["<f8", "<i4"])
def test_mda_firings_have_frames_and_units_in_their_rows(dtype: str, files: SharedFiles) -> None:
    (link,) = files.add({"firings.mda": mda_bytes(FIRINGS.astype(dtype))})
    data = {"firings": link, "samplerate": RATE_HZ}
    assert_trains(load({"sorting_format": "mda", "data": data}), TRAINS)
    assert_trains(load(parse_link(files.add_object({"sorting_format": "mda", "data": data}))), TRAINS)


def test_firings_between_two_frames_are_rounded(files: SharedFiles) -> None:
    (link,) = files.add({"firings.mda": mda_bytes(FIRINGS + np.array([[0], [0.25], [0]]))})
    assert_trains(load({"firings": link, "samplerate": RATE_HZ}), TRAINS)


def test_the_truth_of_spikeforest_takes_its_rate_from_who_asks(files: SharedFiles) -> None:
    (link,) = files.add({"firings_true.mda": mda_bytes(FIRINGS)})
    truth = {"firings": link, "self_reference": link}
    for value in (truth, link, parse_link(files.add_object(truth))):
        assert_trains(load(value, sampling_frequency=RATE_HZ), TRAINS)
        with pytest.warns(UserWarning, match=r"firings_true.mda says no sampling rate: 30000 Hz is taken"):
            assert_trains(load(value), TRAINS, 30000.0)


def test_h5_v1_has_a_train_for_each_unit(files: SharedFiles, tmp_path: Path) -> None:
    write_h5_sorting(tmp_path / "sorting.h5", {**TRAINS, 3: []})
    write_h5_sorting(tmp_path / "old.h5", TRAINS, rate_hz=float("nan"))
    link, old = files.share(tmp_path / "sorting.h5", tmp_path / "old.h5")
    assert_trains(load({"sorting_format": "h5_v1", "data": {"h5_path": link}}), {**TRAINS, 3: []})
    assert_trains(load({"sorting_format": "h5_v1", "data": {"h5_path": old}}, sampling_frequency=RATE_HZ), TRAINS)


def test_nwb_units_become_frames_of_the_files_series(files: SharedFiles, tmp_path: Path) -> None:
    start_s = 3.5
    trains_s = {unit: [start_s + frame / RATE_HZ for frame in train] for unit, train in TRAINS.items()}
    write_nwb(tmp_path / "with.nwb", {"e-series": samples()}, trains_s=trains_s, start_s=start_s)
    without = {unit: [frame / RATE_HZ for frame in train] for unit, train in TRAINS.items()}
    write_nwb(tmp_path / "units.nwb", {}, trains_s=without)
    link, units = files.share(tmp_path / "with.nwb", tmp_path / "units.nwb")
    assert_trains(load({"sorting_format": "nwb", "data": {"path": link}}), TRAINS)
    assert_trains(load(units, sampling_frequency=RATE_HZ), TRAINS)


def test_a_curated_sorting_has_its_groups_merged_into_the_smallest_unit(files: SharedFiles) -> None:
    (link,) = files.add({"firings.mda": mda_bytes(FIRINGS)})
    inner = {"sorting_format": "mda", "data": {"firings": link, "samplerate": RATE_HZ}}
    by_link = files.add_object(inner, "inner.json")
    for parent in (inner, by_link, {"path": by_link}):
        curated = {"sorting_format": "curated", "data": {"sorting": parent, "merge_groups": [[11, 5]]}}
        assert_trains(load(curated), {2: TRAINS[2], 5: [20, 30, 40]})
        again = {"sorting_format": "curated", "data": {"sorting": curated, "merge_groups": [[2, 5]]}}
        assert_trains(load(again), {2: [10, 20, 30, 40, 40, 900]})


def test_a_sorting_without_spikes_is_one(files: SharedFiles, tmp_path: Path) -> None:
    write_h5_sorting(tmp_path / "none.h5", {})
    (h5,) = files.share(tmp_path / "none.h5")
    (link,) = files.add({"firings.mda": mda_bytes(np.zeros((3, 0)))})
    assert_trains(load({"firings": link, "samplerate": RATE_HZ}), {})
    assert_trains(load({"sorting_format": "h5_v1", "data": {"h5_path": h5}}), {})
