"""share_recording: what goes into the tree, that stock SpikeInterface loads it, and that nothing else leaves."""

from __future__ import annotations

import doctest
import json
import os
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spikeinterface as si
import spikeinterface.extractors as se
import spikeinterface.preprocessing as sp
from hdf5_kinds import HDF5_KINDS
from recording_kinds import (
    KINDS,
    REAL_META,
    generated,
    give_probe,
    samples,
    write_binary,
    write_real_spikeglx,
    write_spikeglx,
)
from shared_trees import (
    assert_equal_recordings,
    description_of,
    files_of,
    lay_out,
    made_texts,
    read_layout,
    tree_of,
)
from spikeinterface.core.channelslice import ChannelSliceRecording
from spikeinterface.extractors.sinapsrecordingextractors import SinapsResearchPlatformRecordingExtractor

from kacheryfs.app import open_catalog
from kacheryfs.config import load_settings
from kacheryfs.ephys.loading import load_recording
from kacheryfs.ephys.sharing import share_recording
from kacheryfs.ephys.sharing_paths import name_files, with_names
from kacheryfs.errors import ChangedError, InputError, ProofError
from kacheryfs.store import reading


@pytest.fixture(autouse=True)
def _lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KACHERYFS_DIR", str(tmp_path / "lab"))


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A home folder that tells whose it is."""
    folder = tmp_path / "home" / "zebrafinch" / "data"
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def load_from(link: str, folder: Path) -> Any:
    return si.load(lay_out(link, folder), base_folder=True)


# -- every format ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_stock_spikeinterface_loads_what_was_shared(kind: str, data: Path, tmp_path: Path) -> None:
    recording = KINDS[kind](data)
    link = share_recording(recording)
    assert_equal_recordings(load_from(link, tmp_path / "mount"), recording)


FLAT = [
    "binary",
    "binary with a header",
    "binary by channel",
    "white matter",
    "neuroscope",
    "binary folder",
    "mda",
    "spikeglx",
    "open ephys",
]


@pytest.mark.parametrize("kind", FLAT)
def test_a_flat_file_can_be_read_by_its_layout_alone(kind: str, data: Path) -> None:
    recording = KINDS[kind](data)
    link = share_recording(recording)
    (layout,) = description_of(link).binary
    files = files_of(link)
    assert layout.at == ()
    assert list(layout.channel_ids) == recording.channel_ids.tolist()
    for index in range(recording.get_num_segments()):
        assert np.array_equal(read_layout(files, layout, index), recording.get_traces(segment_index=index))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(FLAT) - set(HDF5_KINDS)))
def test_what_is_read_in_another_way_has_no_layout(kind: str, data: Path) -> None:
    assert description_of(share_recording(KINDS[kind](data))).binary == ()


def test_a_real_probes_spikeglx_folder_is_shared(data: Path, tmp_path: Path) -> None:
    if not REAL_META.exists():
        pytest.skip("the real SpikeGLX metadata (shared/data beside the repository) are absent")
    recording = write_real_spikeglx(data / "p2_g0_imec0", REAL_META)
    link = share_recording(recording)
    about = description_of(link)
    assert about.summary.probe == "imec PRB2_1_2_0640_0"
    assert (about.binary[0].n_columns, about.binary[0].columns) == (385, tuple(range(384)))
    assert_equal_recordings(load_from(link, tmp_path / "mount"), recording)


@pytest.mark.parametrize("dtype", [">i2", "<u2", "<f8", "<i4"])
def test_every_kind_of_sample_is_shared(dtype: str, data: Path, tmp_path: Path) -> None:
    (data / "Ünï cödé").mkdir()
    samples(1000, 4).astype(dtype).tofile(data / "Ünï cödé" / "réc %1.dat")
    recording = se.read_binary(data / "Ünï cödé" / "réc %1.dat", sampling_frequency=3e4, num_channels=4, dtype=dtype)
    link = share_recording(recording)
    assert description_of(link).binary[0].dtype == dtype
    assert_equal_recordings(load_from(link, tmp_path / "mount"), recording)
    assert_equal_recordings(load_recording(link), recording, exact=True)


def test_an_empty_recording_is_shared(data: Path) -> None:
    (data / "none.dat").touch()
    recording = se.read_binary(data / "none.dat", sampling_frequency=3e4, num_channels=4, dtype="int16")
    assert load_recording(share_recording(recording)).get_num_samples(0) == 0


# -- every chain ----------------------------------------------------------------------------------------------------


def aggregate(recording: Any) -> Any:
    half = recording.get_num_channels() // 2
    ids = recording.channel_ids
    return si.aggregate_channels([recording.select_channels(ids[:half]), recording.select_channels(ids[half:])])


CHAINS: dict[str, Callable[[Any], Any]] = {
    "phase shift": lambda recording: sp.phase_shift(recording, inter_sample_shift=np.linspace(0, 0.9, 4)),
    "filter": lambda recording: sp.bandpass_filter(recording, freq_min=300.0, freq_max=6000.0),
    "common reference": lambda recording: sp.common_reference(recording, operator="median"),
    "centre, scale and cast": lambda recording: sp.astype(
        sp.scale(sp.center(recording, chunk_duration="10ms"), gain=2.0), "float32"
    ),
    "whiten": lambda recording: sp.whiten(sp.astype(recording, "float32"), chunk_duration="10ms"),
    "by quantile": lambda recording: sp.normalize_by_quantile(recording, chunk_duration="10ms"),
    "z-score of integers": lambda recording: sp.zscore(recording, dtype="int16", int_scale=200, chunk_duration="10ms"),
    "channel slice": lambda recording: recording.select_channels(recording.channel_ids[[2, 0]]),
    "renamed channels": lambda recording: recording.rename_channels(["w", "x", "y", "z"]),
    "frame slice": lambda recording: si.select_segment_recording(recording, [0]).frame_slice(100, 2100),
    "aggregation": aggregate,
    "aggregation by name": lambda recording: si.aggregate_channels(
        {
            "left": recording.select_channels(recording.channel_ids[:2]),
            "right": recording.select_channels(recording.channel_ids[2:]),
        }
    ),
    "concatenation": lambda recording: si.concatenate_recordings([recording, recording]),
    "append": lambda recording: si.append_recordings([recording, recording]),
    "select segment": lambda recording: si.select_segment_recording(recording, [1]),
    "a long chain": lambda recording: sp.common_reference(
        sp.bandpass_filter(si.concatenate_recordings([recording.select_channels(recording.channel_ids[:3])]))
    ),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_a_chain_is_kept_and_its_leaf_has_its_layout(chain: str, data: Path, tmp_path: Path) -> None:
    recording = CHAINS[chain](write_binary(data))
    link = share_recording(recording)
    assert_equal_recordings(load_from(link, tmp_path / "mount"), recording, rtol=1e-5 if chain == "whiten" else 0)
    description = json.loads(files_of(link)["recording.json"])
    layouts = description_of(link).binary
    assert layouts
    for layout in layouts:
        leaf = description
        for key in layout.at:
            leaf = leaf[key]
        assert leaf["class"].endswith("BinaryRecordingExtractor")
        assert leaf["kwargs"]["file_paths"] == ["part0.dat", "part1.dat"]


# -- what the object knows ------------------------------------------------------------------------------------------


def test_what_was_set_in_place_goes_along_at_every_step(data: Path, tmp_path: Path) -> None:
    recording = give_probe(write_binary(data))
    recording.set_times(np.arange(3000) / 30_000.5 + 3, segment_index=0)
    recording.shift_times(4.0, segment_index=1)
    recording.set_property("depth", np.arange(4, dtype="float64"))
    filtered = sp.bandpass_filter(recording)
    filtered.annotate(session="s1", n_trials=3)
    filtered.set_property("quality", np.array(["good", "noise", "good", "good"]))
    filtered.set_property("depth", np.arange(4, dtype="float64") * 2)
    assert_equal_recordings(load_from(share_recording(filtered), tmp_path / "mount"), filtered)


@pytest.mark.expects_warnings
def test_what_json_would_bend_stays_out_of_it_and_is_in_the_metadata(data: Path, tmp_path: Path) -> None:
    recording = write_binary(data)
    recording.set_property("pair", np.array([(1, 2.0)] * 4, dtype=[("a", "i4"), ("b", "f8")]))
    recording.set_property("mixed", np.array(["a", None, 3, 2.5], dtype=object))
    recording.annotate(curve=np.arange(3.0), code=print)
    link = share_recording(recording)
    loaded = load_from(link, tmp_path / "mount")
    assert "pair" not in loaded.get_property_keys()
    assert "code" not in loaded._annotations
    assert np.array_equal(loaded._annotations["curve"], [0, 1, 2])


def test_a_long_time_vector_is_in_the_metadata_and_not_in_the_json(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kacheryfs.ephys.sharing_json.MAX_TIMES", 2500)
    recording = write_binary(data)
    recording.set_times(np.arange(3000) / 30_000.5 + 3, segment_index=0)
    recording.set_times(np.arange(2000) / 30_000.5 + 9, segment_index=1)
    loaded = load_from(share_recording(recording), tmp_path / "mount")
    assert (loaded.has_time_vector(0), loaded.get_start_time(0)) == (False, 3.0)
    assert np.array_equal(loaded.get_times(1), recording.get_times(1))


# -- what goes in, and what doesn't ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["spikeglx", "open ephys", "neuroscope"])
def test_only_files_that_the_recording_reads_go_in(kind: str, data: Path) -> None:
    names = files_of(share_recording(KINDS[kind](data)))
    assert not [name for name in names if "notes_private" in name]
    if kind == "spikeglx":
        assert {"run1_g0/run1_g0_imec0/run1_g0_t0.imec0.ap.bin", "run1_g0/run1_g0_imec0/run1_g0_t0.imec0.ap.meta"} <= {
            *names
        }


def test_what_libraries_read_beside_the_data_stays_here(data: Path) -> None:
    """A home folder that is given as the recording's holds settings that libraries open, and programs."""
    (data / ".config").mkdir()
    others = [data / ".config" / "library.yaml", data / ".netrc", data / "sitecustomize.py", data / "notes.txt"]
    for path in others:
        path.write_text("nobody else's business")
    samples(100, 4).tofile(data / "rec.dat")
    opened = [str(path) for path in (*others, data / "rec.dat")]
    assert set(name_files([str(data)], opened).files.values()) == {str(data / "rec.dat"), str(data / "notes.txt")}
    assert set(name_files([str(data / "rec.dat")], opened[:3]).files.values()) == {str(data / "rec.dat")}


def test_a_zarr_goes_in_whole(data: Path) -> None:
    recording = KINDS["zarr"](data)
    on_disk = {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()}
    assert on_disk <= files_of(share_recording(recording)).keys()


@pytest.mark.parametrize("kind", KINDS)
def test_no_path_and_no_user_name_leaves_the_machine(
    kind: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(data.parent))
    monkeypatch.setenv("USER", "zebrafinch")
    recording = KINDS[kind](data)
    recording.annotate(origin=str(data / "x.dat"), note=f"copied from {data}/y.dat by hand")
    recording.set_property("file", np.array([str(data / "x.dat")] * recording.get_num_channels()))
    link = share_recording(recording)
    for secret in ("zebrafinch", str(tmp_path), "/home"):
        assert secret not in made_texts(link)
        assert not [name for name in files_of(link) if secret in name]
        assert secret not in link


def test_where_a_saved_recording_came_from_stays_here(data: Path, tmp_path: Path) -> None:
    source = write_binary(data)
    for saved in (
        source.save(format="zarr", folder=data / "saved.zarr", n_jobs=1, progress_bar=False),
        source.save(format="binary", folder=data / "saved", n_jobs=1, progress_bar=False),
    ):
        link = share_recording(saved)
        assert "zebrafinch" not in made_texts(link)
        assert "part0.dat" not in made_texts(link)
        assert_equal_recordings(load_from(link, tmp_path / f"mount{len(link)}"), saved)


def test_files_of_one_name_in_two_folders_keep_apart(data: Path, tmp_path: Path) -> None:
    for index, day in enumerate(("day1", "day2")):
        (data / day).mkdir()
        samples(1000, 4, index).tofile(data / day / "rec.dat")
    about = {"sampling_frequency": 30_000.0, "num_channels": 4, "dtype": "int16"}
    recording = si.concatenate_recordings([se.read_binary(data / day / "rec.dat", **about) for day in ("day1", "day2")])
    link = share_recording(recording)
    assert {"day1/rec.dat", "day2/rec.dat"} <= files_of(link).keys()
    assert_equal_recordings(load_from(link, tmp_path / "mount"), recording)


def test_folders_that_meet_only_above_the_home_get_numbers(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(data.parent))
    elsewhere = tmp_path / "scratch"
    elsewhere.mkdir()
    for index, folder in enumerate((data, elsewhere)):
        samples(1000, 4, index).tofile(folder / "rec.dat")
    about = {"sampling_frequency": 30_000.0, "num_channels": 4, "dtype": "int16"}
    recording = si.append_recordings([se.read_binary(folder / "rec.dat", **about) for folder in (data, elsewhere)])
    link = share_recording(recording)
    assert {"1/rec.dat", "2/rec.dat"} <= files_of(link).keys()
    assert_equal_recordings(load_from(link, tmp_path / "mount"), recording)


def test_a_file_that_is_called_as_ours_does_not_stand_in_the_way(data: Path, tmp_path: Path) -> None:
    samples(1000, 4).tofile(data / "recording.json")
    recording = se.read_binary(data / "recording.json", sampling_frequency=3e4, num_channels=4, dtype="int16")
    link = share_recording(recording)
    assert "files/recording.json" in files_of(link)
    assert_equal_recordings(load_from(link, tmp_path / "mount"), recording)


def test_a_recording_behind_symbolic_links_keeps_the_names_of_the_links(data: Path, tmp_path: Path) -> None:
    write_spikeglx(data / "raid", streams=("ap",))
    (data / "run").symlink_to(data / "raid" / "run1_g0")
    recording = se.read_spikeglx(data / "run", stream_id="imec0.ap")
    link = share_recording(recording)
    assert "run/run1_g0_imec0/run1_g0_t0.imec0.ap.bin" in files_of(link)
    assert len(description_of(link).binary) == 1
    assert_equal_recordings(load_from(link, tmp_path / "mount"), recording)


def test_a_path_to_a_file_that_is_gone_stays_here(data: Path) -> None:
    description = {"kwargs": {"model": str(data / "gone.h5"), "series": ["/acquisition/ElectricalSeries"]}}
    renamed = with_names(description, [], {})
    assert renamed["kwargs"] == {"model": "gone.h5", "series": ["/acquisition/ElectricalSeries"]}
    recording = write_binary(data)
    recording.name = str(data / "gone.dat")
    assert "zebrafinch" not in made_texts(share_recording(recording))


def test_a_place_that_spikeinterface_cannot_read_is_no_reason_to_refuse(data: Path, tmp_path: Path) -> None:
    """SpikeInterface 0.105 asks the parent of a decimated recording for more frames than it has."""
    recording = sp.decimate(si.select_segment_recording(write_binary(data), [0]), decimation_factor=7)
    loaded = load_from(share_recording(recording), tmp_path / "mount")
    assert np.array_equal(loaded.get_traces(end_frame=400), recording.get_traces(end_frame=400))


def test_a_step_that_load_recording_will_refuse_is_said(
    data: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kacheryfs.ephys import safety

    table = {path: row for path, row in safety.TABLE.items() if "CommonReference" not in path}
    monkeypatch.setattr(safety, "TABLE", table)
    share_recording(sp.common_reference(write_binary(data)))
    assert "load_recording will refuse this CommonReferenceRecording" in capfd.readouterr().err


def test_a_reader_that_load_recording_will_not_call_is_said(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    samples(1000, 10).astype("<u2").tofile(data / "rec.bin")
    about = {"nbHWAux": 1, "numberUserAUX": 1, "nbElectrodes": 4, "samplingFreq": 10_000, "nbADCLevels": 4096}
    about |= {"probeType": "p4", "voltageConverter": 2, "voltageAUXConverter": 1}
    (data / "metadata_rec.txt").write_text("".join(f"{key}={value}\n" for key, value in about.items()))
    link = share_recording(SinapsResearchPlatformRecordingExtractor(data / "rec.bin", stream_name="aux"))
    refused = "will refuse this SinapsResearchPlatformRecordingExtractor, as it evaluates its metadata file as Python"
    assert refused in capfd.readouterr().err
    with pytest.raises(ProofError, match="it evaluates its metadata file as Python"):
        load_recording(link)


# -- again ----------------------------------------------------------------------------------------------------------


def test_sharing_again_gives_the_same_link_and_reads_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = share_recording(write_spikeglx(data))
    read = []
    monkeypatch.setattr(reading, "read_original", lambda *args, **kwargs: read.append(args))
    assert share_recording(se.read_spikeglx(data / "run1_g0", stream_id="imec0.ap")) == first
    assert read == []


def test_an_unshared_recording_leaves_no_made_file(data: Path, tmp_path: Path) -> None:
    link = share_recording(write_binary(data))
    with open_catalog(load_settings({}, os.environ)) as catalog:
        assert catalog.shares()[0].place == str(data)
        catalog.unshare(link)
    assert not [path for path in (tmp_path / "lab" / "data" / "trees").rglob("*") if path.is_file()]


def test_the_label_is_the_files_name_unless_it_is_given(data: Path) -> None:
    recording = write_binary(data)
    assert share_recording(recording).endswith(".part0.dat")
    assert share_recording(recording, label="mouse 3").endswith(".mouse%203")
    assert description_of(share_recording(recording, label="mouse 3")).label == "mouse 3"


# -- what was loaded from a link --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_made_of_a_loaded_recording_is_shared_by_reference(kind: str, data: Path, tmp_path: Path) -> None:
    recording = give_probe(KINDS[kind](data)) if kind == "binary" else KINDS[kind](data)
    first = share_recording(recording)
    made = sp.common_reference(load_recording(first))
    second = share_recording(made, label="again")
    assert_equal_recordings(load_from(second, tmp_path / "mount"), made)
    assert_equal_recordings(load_recording(second), made, exact=True)
    theirs, ours = ({entry.sha1: entry.size_bytes for _, entry in tree_of(link).walk()} for link in (first, second))
    linked = {name for name in files_of(second) if name.startswith("linked/")}
    assert linked
    assert {
        entry.sha1 for names, entry in tree_of(second).walk() if names[0] == "linked"
    } <= theirs.keys() & ours.keys()
    assert len(description_of(second).binary) == len(description_of(first).binary)


def test_a_chain_of_files_and_links_is_shared(data: Path, tmp_path: Path) -> None:
    recording = write_binary(data)
    made = si.append_recordings([load_recording(share_recording(recording)), recording])
    link = share_recording(made)
    assert {"part0.dat", "part1.dat"} <= files_of(link).keys()
    assert_equal_recordings(load_from(link, tmp_path / "mount"), made)
    assert_equal_recordings(load_recording(link), made, exact=True)


def test_a_loaded_recording_can_be_shared_as_it_is(data: Path) -> None:
    loaded = load_recording(share_recording(write_spikeglx(data)))
    assert_equal_recordings(load_recording(share_recording(loaded)), loaded, exact=True)


# -- in memory ------------------------------------------------------------------------------------------------------


def numpy_recording() -> Any:
    recording = si.NumpyRecording([samples(3000, 4), samples(1000, 4)], 30_000.0)
    recording.annotate(curve=(1, 2))
    return recording


@pytest.mark.parametrize(
    "make", [numpy_recording, generated, lambda: sp.common_reference(numpy_recording())], ids=["numpy", "made", "chain"]
)
def test_a_recording_in_memory_is_saved_once_and_says_where(
    make: Callable[[], Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recording = make()
    link = share_recording(recording)
    (folder,) = (tmp_path / "lab" / "data" / "recordings").iterdir()
    said = capfd.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "lives in memory" in said[0]
    assert str(folder) in said[0]
    assert share_recording(make()) == link
    assert capfd.readouterr().err == ""
    loaded = load_from(link, tmp_path / "mount")
    for index in range(2):
        assert np.array_equal(loaded.get_traces(index), recording.get_traces(index))


def test_a_recording_in_memory_without_samples_is_told() -> None:
    nothing, some = np.zeros((0, 4), "<i2"), np.zeros((5, 4), "<i2")
    for segments in ([nothing], [nothing, nothing]):
        with pytest.raises(InputError, match="this NumpyRecording has no frames: there is nothing to share"):
            share_recording(si.NumpyRecording(segments, 30_000.0))
    with pytest.raises(InputError, match=r"its segment 1 has no frames.*select_segments"):
        share_recording(si.NumpyRecording([some, nothing], 30_000.0))
    with pytest.raises(InputError, match="this NumpyRecording has no channels"):
        share_recording(si.NumpyRecording([some[:, :0]], 30_000.0))


def test_an_empty_file_is_shared(data: Path) -> None:
    (data / "empty.dat").touch()
    loaded = load_recording(share_recording(se.read_binary(data / "empty.dat", 30_000.0, "int16", 4)))
    assert loaded.get_traces().shape == (0, 4)


def test_a_recording_in_memory_that_fits_nowhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="save it elsewhere"):
        share_recording(numpy_recording())


class Halved(ChannelSliceRecording):  # type: ignore[misc]
    """Nobody else has this class."""


def test_a_class_that_only_this_machine_has_is_saved(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recording = Halved(write_binary(data), channel_ids=["a", "b"])
    link = share_recording(recording)
    assert "saving it" in capfd.readouterr().err
    assert_equal_recordings(load_recording(link), recording, exact=True)


@pytest.mark.parametrize("module", ["sharing", "loading"])
def test_the_example_in_the_docstring_runs(module: str) -> None:
    done = doctest.testmod(import_module(f"kacheryfs.ephys.{module}"))
    assert done.attempted >= 4
    assert done.failed == 0


# -- what can't be shared -------------------------------------------------------------------------------------------


def test_a_file_that_was_changed_while_it_was_shared_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = write_binary(data)
    from kacheryfs.ephys import sharing

    compose = sharing.compose

    def write_and_compose(*args: Any, **kwargs: Any) -> Any:
        with (data / "part0.dat").open("ab") as file:
            file.write(b"more")
        return compose(*args, **kwargs)

    monkeypatch.setattr(sharing, "compose", write_and_compose)
    with pytest.raises(ChangedError, match=r"part0\.dat was changed while it was shared"):
        share_recording(recording)


def test_a_file_that_is_gone_or_another_one_is_told(data: Path) -> None:
    recording = write_binary(data)
    samples(3000, 4, seed=9).tofile(data / "new.dat")
    os.replace(data / "new.dat", data / "part0.dat")
    with pytest.raises(InputError, match="gives other traces"):
        share_recording(recording)
    (data / "part0.dat").unlink()
    with pytest.raises(InputError, match=r"part0\.dat, which is gone") as caught:
        share_recording(recording)
    assert "\n" not in str(caught.value)
    (data / "part1.dat").unlink()
    with pytest.raises(InputError, match="which is gone"):
        share_recording(sp.common_reference(recording))


def test_what_is_no_recording_is_refused(data: Path) -> None:
    with pytest.raises(InputError, match="not a str"):
        share_recording("rec.dat")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="holds a '/'"):
        share_recording(write_binary(data), label="a/b")
    for label in (7, np.zeros(3)):
        with pytest.raises(InputError, match="a label is text, not a "):
            share_recording(write_binary(data), label=label)  # type: ignore[arg-type]


@pytest.mark.expects_warnings
def test_what_has_no_form_is_named_in_the_log(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    recording = write_binary(data)
    recording.annotate(session="s1", model=object())
    share_recording(recording)
    assert len(caplog.messages) == 1
    assert "the annotation 'model': a object can't be written down" in caplog.text


def test_nothing_is_left_behind(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    share_recording(write_binary(data))
    assert list(temporary.iterdir()) == []


def test_the_tree_has_one_form(data: Path) -> None:
    tree = tree_of(share_recording(write_binary(data)))
    assert sorted(tree.files) == ["kacheryfs.json", "part0.dat", "part1.dat", "recording.json"]
    assert sorted(tree.dirs) == ["kacheryfs"]
