"""Below a mount stock SpikeInterface loads shared sortings and analyzers, and knows nothing of kacheryfs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spikeinterface as si
from analyzer_kinds import EXTENSIONS, assert_same_extension, made_analyzer
from lab_pairs import LabPair
from sorting_kinds import made_sorting

import kacheryfs as kfs

pytestmark = [pytest.mark.kernel, pytest.mark.filterwarnings("ignore::UserWarning:spikeinterface")]
FEW = {name: EXTENSIONS[name] for name in ("random_spikes", "waveforms", "templates", "spike_locations")}


@pytest.fixture
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabPair:
    return LabPair(tmp_path, monkeypatch)


@pytest.fixture
def seen_by_bob(labs: LabPair) -> Iterator[Callable[[str], Any]]:
    """Return a function that mounts at bob's what alice shares, and gives the path of a link."""

    @contextmanager
    def see(link: str) -> Iterator[Path]:
        with labs.alice.serving() as url:
            labs.bob.get("peer", "add", url)
            with labs.bob.mounted(labs.folder / "mnt") as mountpoint:
                yield mountpoint / "sha1dir" / link.removeprefix("sha1dir://")

    return see


def test_a_sorting_loads_by_its_path(labs: LabPair, seen_by_bob: Callable[[str], Any]) -> None:
    sorting = made_sorting()
    with labs.at(labs.alice):
        link = kfs.share_sorting(sorting)
    with seen_by_bob(link) as path:
        stock = si.load(path)
        assert type(stock).__name__ == "NumpyFolderSorting"
        assert (stock.to_spike_vector() == kfs_order(sorting)).all()
        assert stock.get_property("quality").tolist() == ["good", "mua", "", "noise"]
        assert stock.get_annotation("animal") == "locust 3"
        assert (
            np.load(path / "spikes.npy", mmap_mode="r")["sample_index"].tolist()
            == stock.to_spike_vector()["sample_index"].tolist()
        )


def kfs_order(sorting: Any) -> Any:
    spikes = sorting.to_spike_vector()
    return spikes[np.lexsort((spikes["unit_index"], spikes["sample_index"], spikes["segment_index"]))]


@pytest.mark.parametrize("storage", ["memory", "binary_folder", "zarr"])
def test_an_analyzer_loads_by_its_path(
    storage: str, labs: LabPair, seen_by_bob: Callable[[str], Any], tmp_path: Path
) -> None:
    analyzer = made_analyzer(tmp_path, storage, FEW)
    with labs.at(labs.alice):
        link = kfs.share_analyzer(analyzer, with_recording=False)
    with seen_by_bob(link) as path:
        stock = si.load(path)
        assert stock.format == ("zarr" if storage == "zarr" else "binary_folder")
        assert stock.is_read_only()
        for name in FEW:
            assert_same_extension(stock.get_extension(name), analyzer.get_extension(name))


def test_an_analyzer_below_a_mount_takes_its_recording_from_there(
    labs: LabPair, seen_by_bob: Callable[[str], Any], tmp_path: Path
) -> None:
    analyzer = made_analyzer(tmp_path, "binary_folder", FEW)
    with labs.at(labs.alice):
        recording_link = kfs.share_recording(analyzer.recording)
        link = kfs.share_analyzer(analyzer)
    with seen_by_bob(link) as path:
        folder = path.parent / recording_link.removeprefix("sha1dir://")
        recording = si.load(folder / "recording.json", base_folder=True)
        stock = si.SortingAnalyzer.load(path, recording=recording)
        assert stock.has_recording()
        span = {"segment_index": 1, "start_frame": 0, "end_frame": 500}
        assert (stock.recording.get_traces(**span) == analyzer.recording.get_traces(**span)).all()


@pytest.mark.parametrize("storage", ["binary_folder", "zarr"])
def test_an_analyzer_below_a_mount_is_shared_by_reference(
    storage: str, labs: LabPair, seen_by_bob: Callable[[str], Any], tmp_path: Path
) -> None:
    analyzer = made_analyzer(tmp_path, storage, FEW)
    with labs.at(labs.alice):
        link = kfs.share_analyzer(analyzer, with_recording=False)
    with seen_by_bob(link) as path, labs.at(labs.bob):
        again = kfs.load_analyzer(kfs.share_analyzer(si.load(path), with_recording=False))
        for name in FEW:
            assert_same_extension(again.get_extension(name), analyzer.get_extension(name))
