"""An analyzer of any format goes from lab to lab with its extensions and its recording, and without its pickles."""

from __future__ import annotations

import doctest
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spikeinterface as si
from analyzer_kinds import EXTENSIONS, FORMATS, SECRET_FOLDER, assert_same_extension, made_analyzer, made_recording
from lab_pairs import LabPair

import kacheryfs as kfs
from kacheryfs.app.embedded import get_fetcher
from kacheryfs.core.link import parse_link
from kacheryfs.core.request import FileRequest
from kacheryfs.core.tree import Tree

pytest.importorskip("pandas", reason="SpikeInterface keeps metrics in pandas' tables")
pytest.importorskip("sklearn", reason="SpikeInterface computes principal components with scikit-learn")

pytestmark = [
    pytest.mark.expects_warnings,  # that the models of principal_components are left out
    pytest.mark.filterwarnings("ignore::UserWarning:spikeinterface"),
]
FEW = {name: EXTENSIONS[name] for name in ("random_spikes", "waveforms", "templates")}


@pytest.fixture(scope="module")
def analyzers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One analyzer of each format, for tests that only read it."""
    return {storage: made_analyzer(tmp_path_factory.mktemp(storage), storage) for storage in FORMATS}


@pytest.fixture
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabPair:
    return LabPair(tmp_path, monkeypatch)


@pytest.fixture
def at_alice(labs: LabPair) -> Iterator[LabPair]:
    with labs.at(labs.alice):
        yield labs


def tree_of(link: str) -> Tree:
    return get_fetcher().get_tree(parse_link(link).sha1)


def files_of(link: str) -> dict[tuple[str, ...], bytes]:
    fetcher = get_fetcher()
    entries = tree_of(link).walk()
    return {
        names: fetcher.read_small(FileRequest(entry.sha1, entry.manifest, entry.size_bytes), 1 << 30)
        for names, entry in entries
    }


def laid_out(link: str, folder: Path) -> Path:
    """Write a share into a folder, as ``kacheryfs get`` would."""
    for names, data in files_of(link).items():
        path = folder.joinpath(*names)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def assert_same(loaded: Any, analyzer: Any) -> None:
    assert loaded.unit_ids.tolist() == analyzer.unit_ids.tolist()
    assert loaded.channel_ids.tolist() == analyzer.channel_ids.tolist()
    assert (loaded.sorting.to_spike_vector() == analyzer.sorting.to_spike_vector()).all()
    np.testing.assert_array_equal(loaded.sparsity.mask, analyzer.sparsity.mask)
    np.testing.assert_array_equal(loaded.get_channel_locations(), analyzer.get_channel_locations())
    for name in ("return_in_uV", "peak_sign", "peak_mode"):
        assert getattr(loaded, name) == getattr(analyzer, name)
    for key in analyzer.get_sorting_property_keys():
        assert loaded.get_sorting_property(key).tolist() == analyzer.get_sorting_property(key).tolist()
    assert sorted(loaded.extensions) == sorted(EXTENSIONS)
    for name, extension in analyzer.extensions.items():
        assert_same_extension(loaded.get_extension(name), extension)


@pytest.mark.parametrize("storage", FORMATS)
def test_every_format_is_the_same_in_another_lab(storage: str, analyzers: dict[str, Any], labs: LabPair) -> None:
    analyzer = analyzers[storage]
    with labs.at(labs.alice):
        link = kfs.share_analyzer(analyzer)
    with labs.at_bob_with_alice_serving():
        loaded = kfs.load_analyzer(link)
        assert_same(loaded, analyzer)
        assert loaded.has_recording()
        for segment_index in range(2):
            span = {"segment_index": segment_index, "start_frame": 1000, "end_frame": 2000}
            assert (loaded.recording.get_traces(**span) == analyzer.recording.get_traces(**span)).all()


@pytest.mark.parametrize("storage", FORMATS)
def test_no_pickle_and_no_path_is_in_a_share(
    storage: str, analyzers: dict[str, Any], at_alice: LabPair, caplog: pytest.LogCaptureFixture
) -> None:
    folder = None if storage == "memory" else Path(analyzers[storage].folder)
    if folder is not None:
        (folder / "notes_private.txt").write_text("private")
        (folder / "extensions" / "templates" / "notes_private.txt").write_text("private")
    files = files_of(kfs.share_analyzer(analyzers[storage], with_recording=False))
    everything = b"".join(files.values())
    assert SECRET_FOLDER.encode() not in everything
    assert b"/tmp/" not in everything
    assert not [names for names in files if names[-1].endswith((".pkl", ".pickle", ".txt"))]
    assert not [names for names in files if any("pca_model" in name for name in names)]
    assert b'"pickle"' not in everything
    assert "'principal_components', which are pickles" in caplog.text
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("storage", FORMATS)
def test_stock_spikeinterface_loads_the_folder(
    storage: str, analyzers: dict[str, Any], at_alice: LabPair, tmp_path: Path
) -> None:
    link = kfs.share_analyzer(analyzers[storage], with_recording=False)
    stock = si.load(laid_out(link, tmp_path / ("stock.zarr" if storage == "zarr" else "stock")))
    assert stock.format == ("zarr" if storage == "zarr" else "binary_folder")
    assert_same(stock, analyzers[storage])


@pytest.mark.parametrize("storage", FORMATS)
def test_sharing_again_gives_the_same_link(storage: str, analyzers: dict[str, Any], at_alice: LabPair) -> None:
    links = {kfs.share_analyzer(analyzers[storage]) for _ in range(2)}
    assert len(links) == 1


@pytest.mark.parametrize("storage", ["binary_folder", "zarr"])
def test_extensions_come_when_they_are_asked_for(storage: str, analyzers: dict[str, Any], labs: LabPair) -> None:
    with labs.at(labs.alice):
        link = kfs.share_analyzer(analyzers[storage], with_recording=False)
        waveforms = tree_of(link).find(("extensions", "waveforms"))
    with labs.at_bob_with_alice_serving():
        loaded = kfs.load_analyzer(link, load_extensions=False)
        assert loaded.extensions == {}
        assert loaded.get_saved_extension_names() == sorted(EXTENSIONS)
        assert loaded.has_extension("waveforms")
        assert present_bytes(labs) < waveforms.total_bytes
        assert_same_extension(loaded.get_extension("templates"), analyzers[storage].get_extension("templates"))
        assert list(loaded.extensions) == ["templates"]
        assert loaded.get_extension("isi_histograms") is None
        assert loaded.load_extension("isi_histograms") is None


def present_bytes(labs: LabPair) -> int:
    return sum(path.stat().st_size for path in labs.bob.folder.rglob("*") if path.is_file() and "sha1" in path.parts)


def test_what_is_computed_and_selected_afterwards_stays_in_memory(
    analyzers: dict[str, Any], at_alice: LabPair, tmp_path: Path
) -> None:
    analyzer = analyzers["binary_folder"]
    before = sorted(path.name for path in Path(analyzer.folder).rglob("*"))
    loaded = kfs.load_analyzer(kfs.share_analyzer(analyzer), load_extensions=False)
    assert_same_extension(loaded.compute("template_similarity"), analyzer.get_extension("template_similarity"))
    loaded.delete_extension("correlograms")
    assert not loaded.has_extension("correlograms")
    few = loaded.select_units(loaded.unit_ids[:2])
    assert few.get_extension("waveforms").data["waveforms"].shape[0] <= 100
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saved = loaded.save_as(format="binary_folder", folder=tmp_path / "saved")
    assert_same_extension(saved.get_extension("waveforms"), analyzer.get_extension("waveforms"))
    assert sorted(path.name for path in Path(analyzer.folder).rglob("*")) == before


def test_a_loaded_analyzer_can_be_shared_again(analyzers: dict[str, Any], at_alice: LabPair) -> None:
    loaded = kfs.load_analyzer(kfs.share_analyzer(analyzers["binary_folder"]), load_extensions=False)
    again = kfs.load_analyzer(kfs.share_analyzer(loaded))
    assert again.recording_link == loaded.recording_link
    assert_same(again, analyzers["binary_folder"])


def test_an_extension_that_was_not_saved_is_shared_too(at_alice: LabPair, tmp_path: Path) -> None:
    analyzer = made_analyzer(tmp_path, "binary_folder", FEW)
    analyzer.compute("unit_locations", save=False, method="center_of_mass")
    loaded = kfs.load_analyzer(kfs.share_analyzer(analyzer, with_recording=False))
    assert_same_extension(loaded.get_extension("unit_locations"), analyzer.get_extension("unit_locations"))


def test_an_unsaved_extension_of_a_zarr_is_left_out_and_said(
    at_alice: LabPair, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    analyzer = made_analyzer(tmp_path, "zarr", FEW)
    analyzer.compute("unit_locations", save=False, method="center_of_mass")
    loaded = kfs.load_analyzer(kfs.share_analyzer(analyzer, with_recording=False))
    assert not loaded.has_extension("unit_locations")
    assert "extensions/unit_locations: it isn't saved in the Zarr" in caplog.text
    assert "extensions/unit_locations: it isn't saved in the Zarr" in loaded.left_out


def test_without_its_recording_it_works_as_one_that_lost_it(analyzers: dict[str, Any], at_alice: LabPair) -> None:
    loaded = kfs.load_analyzer(kfs.share_analyzer(analyzers["memory"], with_recording=False))
    assert not loaded.has_recording()
    assert loaded.recording_link is None
    assert_same(loaded, analyzers["memory"])
    with pytest.raises(kfs.NotFoundError, match="shared without its recording; set_temporary_recording gives it one"):
        loaded.recording  # noqa: B018
    loaded.set_temporary_recording(analyzers["memory"].recording)
    assert loaded.recording is analyzers["memory"].recording


def test_a_recording_that_nobody_has_is_said_and_the_analyzer_works(
    analyzers: dict[str, Any], at_alice: LabPair, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyzer = analyzers["memory"]
    monkeypatch.setattr("kacheryfs.ephys.analyzers._share_recording", lambda _: f"sha1dir://{'7' * 40}.rec")
    loaded = kfs.load_analyzer(kfs.share_analyzer(analyzer))
    assert not loaded.has_recording()
    assert "recording can't be had, so it works without" in caplog.text
    assert_same(loaded, analyzer)
    with pytest.raises(kfs.NotFoundError):
        loaded.recording  # noqa: B018


def test_another_recording_than_the_analyzers_is_refused(
    analyzers: dict[str, Any], at_alice: LabPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = analyzers["memory"].recording.select_channels(["0", "2"])
    link = kfs.share_recording(other)
    monkeypatch.setattr("kacheryfs.ephys.analyzers._share_recording", lambda _: link)
    loaded = kfs.load_analyzer(kfs.share_analyzer(analyzers["memory"]))
    with pytest.raises(kfs.ProofError, match="the analyzer's recording is another one"):
        loaded.recording  # noqa: B018


def test_a_dense_analyzer_goes_through(at_alice: LabPair, analyzers: dict[str, Any]) -> None:
    source = analyzers["memory"]
    dense = si.create_sorting_analyzer(source.sorting, source.recording, sparse=False, format="memory")
    loaded = kfs.load_analyzer(kfs.share_analyzer(dense, with_recording=False))
    assert not loaded.is_sparse()
    assert loaded.get_num_channels() == 6


def test_what_is_no_analyzer_or_gone_is_one_line(at_alice: LabPair, tmp_path: Path) -> None:
    with pytest.raises(kfs.InputError, match="takes a SortingAnalyzer or its folder, not a int"):
        kfs.share_analyzer(17)  # type: ignore[arg-type]
    for place in ("nowhere", "s3://bucket/analyzer", tmp_path / "nowhere", "n" * 10_000, "nowhere\0"):
        with pytest.raises(kfs.InputError, match="is not on this machine"):
            kfs.share_analyzer(place)
    (tmp_path / "other").mkdir()
    with pytest.raises(kfs.InputError, match=r"other can't be opened as an analyzer: \w+Error: "):
        kfs.share_analyzer(tmp_path / "other")
    for load in (kfs.load_analyzer, kfs.load_sorting):
        with pytest.raises(kfs.LinkError, match="a link is text"):
            load(17)  # type: ignore[operator]
    analyzer = made_analyzer(tmp_path, "binary_folder", {})
    (Path(analyzer.folder) / "settings.json").unlink()
    with pytest.raises(kfs.InputError, match="the analyzer can't be shared: FileNotFoundError"):
        kfs.share_analyzer(analyzer, with_recording=False)


@pytest.mark.parametrize("storage", ["binary_folder", "zarr"])
def test_the_folder_of_an_analyzer_is_shared_as_the_analyzer_in_it(
    storage: str, analyzers: dict[str, Any], at_alice: LabPair
) -> None:
    folder = analyzers[storage].folder
    link = kfs.share_analyzer(si.load_sorting_analyzer(folder, load_extensions=False))
    assert kfs.share_analyzer(folder) == link
    assert kfs.share_analyzer(str(folder)) == link
    loaded = kfs.load_analyzer(link)
    assert_same(loaded, analyzers[storage])
    assert loaded.has_recording()


def test_a_zarrs_label_ends_as_stock_wants_it(analyzers: dict[str, Any], at_alice: LabPair) -> None:
    for label, ending in (("mine", ".mine.zarr"), ("mine.zarr", ".mine.zarr")):
        assert kfs.share_analyzer(analyzers["zarr"], label=label, with_recording=False).endswith(ending)
    assert kfs.share_analyzer(analyzers["memory"], label="mine", with_recording=False).endswith(".mine")


def test_texts_of_a_zarr_that_tell_of_paths_are_left_out(
    at_alice: LabPair, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    analyzer = made_analyzer(tmp_path, "zarr", {})
    analyzer.set_sorting_property("source", np.array(["/home/bob/a.dat"] * 4))
    loaded = kfs.load_analyzer(link := kfs.share_analyzer(analyzer, with_recording=False))
    assert b"/home/bob" not in b"".join(files_of(link).values())
    assert "sorting/properties/source: it tells of paths" in caplog.text
    assert loaded.get_sorting_property("source").tolist() == ["a.dat"] * 4


def test_a_file_that_was_changed_afterwards_is_a_clear_error(
    labs: LabPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KACHERYFS_READ_TIMEOUT", "2 s")
    analyzer = made_analyzer(tmp_path, "binary_folder", FEW)
    with labs.at(labs.alice):
        link = kfs.share_analyzer(analyzer, with_recording=False)
        waveforms = Path(analyzer.folder) / "extensions" / "waveforms" / "waveforms.npy"
        np.save(waveforms, np.load(waveforms) + 1)
        with pytest.raises(kfs.KacheryError) as at_alice:
            kfs.load_analyzer(link)
    with labs.at_bob_with_alice_serving(), pytest.raises(kfs.KacheryError) as at_bob:
        kfs.load_analyzer(link)
    for caught in (at_alice, at_bob):
        assert "\n" not in str(caught.value)


def test_an_analyzer_of_a_preprocessed_recording_gets_it_back(labs: LabPair, tmp_path: Path) -> None:
    from spikeinterface.preprocessing import bandpass_filter, common_reference

    recording, sorting = made_recording(tmp_path)
    chain = common_reference(bandpass_filter(recording, freq_min=300.0, freq_max=6000.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        analyzer = si.create_sorting_analyzer(sorting, chain, format="memory", sparse=False)
        analyzer.compute(FEW, n_jobs=1, progress_bar=False)
    with labs.at(labs.alice):
        link = kfs.share_analyzer(analyzer)
    with labs.at_bob_with_alice_serving():
        loaded = kfs.load_analyzer(link)
        span = {"segment_index": 0, "start_frame": 500, "end_frame": 900}
        assert (loaded.recording.get_traces(**span) == chain.get_traces(**span)).all()
        loaded.compute("noise_levels")
        assert loaded.has_extension("noise_levels")


@pytest.mark.parametrize("module", ["kacheryfs.ephys.sortings", "kacheryfs.ephys.analyzers"])
def test_the_examples_run(module: str, at_alice: LabPair) -> None:
    assert doctest.testmod(import_module(module)).failed == 0
