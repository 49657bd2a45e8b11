"""A sorting of any kind goes from lab to lab and is the same there; its share says nothing of the machine."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spikeinterface as si
from lab_pairs import LabPair
from lineage_formats import mda_bytes
from sorting_kinds import KINDS, RATE_HZ, SECRET_FOLDER, made_sorting
from spikeinterface.core import NumpySorting

import kacheryfs as kfs
from kacheryfs.ephys.sortings_files import make_sorting_files

pytestmark = pytest.mark.filterwarnings("ignore:Some spikes exceed:UserWarning")


@pytest.fixture
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabPair:
    return LabPair(tmp_path, monkeypatch)


@pytest.fixture
def at_alice(labs: LabPair) -> Iterator[LabPair]:
    with labs.at(labs.alice):
        yield labs


def original(kind: str, folder: Path) -> Any:
    folder = folder / SECRET_FOLDER
    folder.mkdir()
    if kind in ("phy", "kilosort"):
        pytest.importorskip("pandas", reason="SpikeInterface reads Phy's tables with pandas")
    return KINDS[kind](folder)


def trains(sorting: Any) -> list[list[int]]:
    return [
        sorting.get_unit_spike_train(unit_id, segment_index=index).tolist()
        for index in range(sorting.get_num_segments())
        for unit_id in sorting.unit_ids
    ]


def times(sorting: Any) -> list[Any]:
    return [
        sorting.get_unit_spike_train_in_seconds(unit_id, segment_index=index)
        for index in range(sorting.get_num_segments())
        for unit_id in sorting.unit_ids
    ]


def assert_same(loaded: Any, sorting: Any) -> None:
    assert loaded.unit_ids.dtype == sorting.unit_ids.dtype
    assert loaded.unit_ids.tolist() == sorting.unit_ids.tolist()
    assert loaded.sampling_frequency == sorting.sampling_frequency
    assert loaded.get_num_segments() == sorting.get_num_segments()
    assert trains(loaded) == trains(sorting)
    assert set(loaded.get_property_keys()) == set(sorting.get_property_keys())
    for key in sorting.get_property_keys():
        one, other = loaded.get_property(key), np.asarray(sorting.get_property(key))
        is_all_text = all(isinstance(item, str) for item in other.flat)
        assert one.dtype.kind == "U" if is_all_text else one.dtype == other.dtype
        np.testing.assert_equal(one.tolist(), other.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_the_same_in_another_lab(kind: str, labs: LabPair, tmp_path: Path) -> None:
    with labs.at(labs.alice):
        sorting = original(kind, tmp_path)
        link = kfs.share_sorting(sorting)
    with labs.at_bob_with_alice_serving():
        loaded = kfs.load_sorting(link)
    assert_same(loaded, sorting)
    np.testing.assert_equal(times(loaded), times(sorting))


@pytest.mark.parametrize("kind", KINDS)
def test_no_path_of_the_machine_is_in_a_share(kind: str, tmp_path: Path) -> None:
    made = make_sorting_files(original(kind, tmp_path))
    everything = b"".join(made.files.values()) + repr(made.description).encode()
    assert SECRET_FOLDER.encode() not in everything
    assert str(tmp_path).encode() not in everything


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_are_a_numpy_folder_for_stock_spikeinterface(kind: str, tmp_path: Path) -> None:
    sorting = original(kind, tmp_path)
    for names, data in make_sorting_files(sorting).files.items():
        path = tmp_path.joinpath("stock", *names)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    stock = si.load(tmp_path / "stock")
    assert stock.unit_ids.tolist() == sorting.unit_ids.tolist()
    assert trains(stock) == trains(sorting)
    if "quality" in sorting.get_property_keys():
        assert stock.get_property("quality").tolist() == sorting.get_property("quality").tolist()


def test_one_sorting_has_one_link_wherever_it_lies(labs: LabPair, tmp_path: Path) -> None:
    links = set()
    for peer in (labs.alice, labs.bob):
        folder = tmp_path / f"of {peer.folder.name}"
        folder.mkdir()
        with labs.at(peer):
            links |= {kfs.share_sorting(KINDS[kind](folder)) for kind in ("npz", "npz")}
    assert len(links) == 1


def test_what_was_loaded_has_the_link_that_it_came_by(at_alice: LabPair) -> None:
    link = kfs.share_sorting(made_sorting())
    assert kfs.share_sorting(kfs.load_sorting(link)) == link


def test_spikes_of_one_frame_come_in_the_order_of_their_units(at_alice: LabPair) -> None:
    shuffled = NumpySorting.from_samples_and_labels([np.array([5, 5, 5])], [np.array([2, 0, 1])], RATE_HZ)
    vector = kfs.load_sorting(kfs.share_sorting(shuffled)).to_spike_vector()
    assert vector["unit_index"].tolist() == [0, 1, 2]


def test_a_sorting_without_units_and_one_without_spikes_go_through(at_alice: LabPair) -> None:
    none = np.zeros(0, dtype="int64")
    without_spikes = NumpySorting.from_samples_and_labels([none], [none], RATE_HZ, unit_ids=[4, 9])
    without_units = without_spikes.select_units([])
    for sorting in (without_spikes, without_units):
        loaded = kfs.load_sorting(kfs.share_sorting(sorting))
        assert loaded.unit_ids.tolist() == sorting.unit_ids.tolist()
        assert loaded.to_spike_vector().size == 0


def test_a_last_segment_without_spikes_is_kept(at_alice: LabPair) -> None:
    none = np.zeros(0, dtype="int64")
    empty = NumpySorting.from_samples_and_labels([none], [none], RATE_HZ, unit_ids=made_sorting().unit_ids)
    appended = si.append_sortings([made_sorting(), empty])
    loaded = kfs.load_sorting(kfs.share_sorting(appended))
    assert loaded.get_num_segments() == 3
    assert trains(loaded) == trains(appended)


def test_annotations_are_kept_but_for_paths_and_what_a_sorter_logged(at_alice: LabPair) -> None:
    sorting = made_sorting()
    sorting.annotate(
        phy_folder="/home/bob/x/phy",
        source="/home/bob/x y/rec.dat",
        many=np.arange(3),
        when=float("nan"),
        pair=(1, "see /mnt/bob/y.dat"),
    )
    sorting.set_sorting_info(
        {"kwargs": {"file_path": "/home/bob/rec.dat"}},
        {"folder": "/home/bob/run 1", "threshold": 5},
        {"sorter_name": "simple", "sorter_version": "1.0", "datetime": "2026-11-22", "run_time": 3.2},
    )
    loaded = kfs.load_sorting(kfs.share_sorting(sorting))
    annotations = loaded._annotations
    assert "phy_folder" not in annotations
    assert annotations["source"] == "rec.dat"
    assert annotations["pair"] == (1, "see y.dat")
    assert annotations["many"].tolist() == [0, 1, 2]
    assert np.isnan(annotations["when"])
    assert annotations["animal"] == "locust 3"
    assert loaded.sorting_info == {
        "recording": None,
        "params": {"folder": "run 1", "threshold": 5},
        "log": {"sorter_name": "simple", "sorter_version": "1.0"},
    }


@pytest.mark.expects_warnings
def test_what_has_no_safe_form_is_left_out_and_said(
    at_alice: LabPair, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    sorting = made_sorting()
    sorting.annotate(model=object())
    sorting.set_property("files", np.array([Path("a"), object(), None, 1], dtype=object))
    loaded = kfs.load_sorting(kfs.share_sorting(sorting))
    assert "model" not in loaded.get_annotation_keys()
    assert "files" not in loaded.get_property_keys()
    assert len(caplog.messages) == 2
    assert "the annotation 'model': a object can't be written down" in caplog.text


def test_a_loaded_sorting_is_written_down_by_its_link(at_alice: LabPair, tmp_path: Path) -> None:
    loaded = kfs.load_sorting(kfs.share_sorting(made_sorting()))
    loaded.dump(tmp_path / "dumped.json")
    assert json.loads((tmp_path / "dumped.json").read_text())["kwargs"]["link"].startswith("sha1dir://")
    for copy in (si.load(tmp_path / "dumped.json"), pickle.loads(pickle.dumps(loaded)), loaded.clone()):
        assert_same(copy, loaded)
    assert_same(loaded.save(format="numpy_folder", folder=tmp_path / "saved"), loaded)


def test_what_is_no_sorting_is_refused(at_alice: LabPair) -> None:
    with pytest.raises(kfs.InputError, match="takes a sorting of SpikeInterface, not a str"):
        kfs.share_sorting("sorting")  # type: ignore[arg-type]
    with pytest.raises(kfs.InputError, match="the label 'a/b' holds a '/'"):
        kfs.share_sorting(made_sorting(), label="a/b")
    assert kfs.share_sorting(made_sorting(), label="").endswith(".sorting")


def test_spikes_before_the_first_frame_are_refused(at_alice: LabPair) -> None:
    early = NumpySorting.from_samples_and_labels([np.array([-5, 20])], [np.array([0, 1])], RATE_HZ)
    with pytest.raises(kfs.InputError, match="remove_excess_spikes"):
        kfs.share_sorting(early)


def test_a_sorting_whose_file_is_gone_is_one_line(at_alice: LabPair) -> None:
    class Gone(si.BaseSorting):  # type: ignore[misc]
        def _compute_and_cache_spike_vector(self) -> None:
            raise OSError("no such\nfile")

    gone = Gone(RATE_HZ, [1, 2])
    with pytest.raises(kfs.InputError, match="reading it failed: OSError: no such file") as caught:
        kfs.share_sorting(gone)
    assert "\n" not in str(caught.value)


@pytest.mark.expects_warnings
def test_times_of_a_registered_recordings_frames_are_left_out_and_said(
    at_alice: LabPair, caplog: pytest.LogCaptureFixture
) -> None:
    sorting = made_sorting(n_segments=1)
    recording = si.generate_recording(num_channels=2, durations=[0.2], sampling_frequency=RATE_HZ)
    recording.set_times(np.arange(5000) / RATE_HZ * 1.001 + 7.0)
    sorting.register_recording(recording)
    loaded = kfs.load_sorting(kfs.share_sorting(sorting))
    assert loaded.get_start_time() == 7.0
    assert "the times of its recording's frames: share the recording, too" in caplog.text
    loaded.register_recording(recording)
    np.testing.assert_equal(times(loaded), times(sorting))


def test_firings_of_the_lineage_load_by_their_link_alone_and_inside_of_a_folder(
    at_alice: LabPair, tmp_path: Path
) -> None:
    firings = np.array([[1, 1, 1], [10, 20, 30], [4, 7, 4]], dtype="float64")
    folder = tmp_path / "truth"
    folder.mkdir()
    (folder / "firings.mda").write_bytes(mda_bytes(firings))
    for link in (at_alice.alice.get("share", folder / "firings.mda"), at_alice.alice.get("share", folder)):
        link = link if link.startswith("sha1://") else f"{link}/firings.mda"
        loaded = kfs.load_sorting(link, sampling_frequency=RATE_HZ)
        assert loaded.sampling_frequency == RATE_HZ
        assert loaded.unit_ids.tolist() == [4, 7]
        assert len(loaded.get_unit_spike_train(4)) == 2


def test_ids_of_bytes_go_through(at_alice: LabPair) -> None:
    sorting = NumpySorting.from_samples_and_labels([np.array([3, 5])], [np.array([0, 1])], RATE_HZ)
    named = sorting.rename_units(np.array([b"a", b"bc"]))
    loaded = kfs.load_sorting(kfs.share_sorting(named))
    assert loaded.unit_ids.dtype == named.unit_ids.dtype
    assert trains(loaded) == trains(named)
