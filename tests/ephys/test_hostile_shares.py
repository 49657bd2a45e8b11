"""Loading what a stranger sent runs none of their code and reads no file of the reader: each attack, made for real."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numcodecs
import numpy as np
import pytest
import spikeinterface.core as si
import zarr
from hostile_shares import (
    BINARY,
    BINARY_FOLDER,
    N_CHANNELS,
    N_FRAMES,
    NWB,
    RATE_HZ,
    ZARR,
    Canary,
    HostileLab,
    describe,
    describe_binary,
    hostile_lab,
    layout,
    on_top,
    write_described,
    write_description,
    write_nwb,
    write_samples,
)

import kacheryfs as kfs
from kacheryfs.ephys.safety import TABLE


@pytest.fixture(scope="module")
def whole_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileLab]:
    with hostile_lab(tmp_path_factory.mktemp("hostile")) as lab:
        yield lab


@pytest.fixture
def lab(whole_lab: HostileLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileLab]:
    monkeypatch.setenv("KACHERYFS_DIR", str(whole_lab.folder / "reader"))  # the suite's conftest takes it away
    yield whole_lab
    assert not whole_lab.canary.exists(), "a stranger's code ran"


def refusal(lab: HostileLab, folder: Path) -> str:
    """Return the one line that a shared folder is refused with."""
    with pytest.raises(kfs.KacheryError) as caught:
        kfs.load_recording(lab.share(folder))
    line = str(caught.value)
    assert "\n" not in line
    return line


def loads(lab: HostileLab, folder: Path) -> Any:
    return kfs.load_recording(lab.share(folder))


# -- the control: what these shares differ from, by one thing each ---------------------------------------------------


def test_an_honest_share_loads(lab: HostileLab, tmp_path: Path) -> None:
    recording = loads(lab, write_description(tmp_path / "honest", on_top(describe_binary())))
    samples = np.fromfile(tmp_path / "honest/r.dat", "<i2").reshape(N_FRAMES, N_CHANNELS)
    assert np.array_equal(recording.get_traces(), np.abs(samples))


# -- classes ---------------------------------------------------------------------------------------------------------

CODE = {
    "os.system": {"command": "touch CANARY"},
    "posix.system": {"command": "touch CANARY"},
    "subprocess.check_call": {"args": "touch CANARY", "shell": True},
    "builtins.exec": {"source": "open('CANARY', 'w')"},
    "builtins.eval": {"source": "open('CANARY', 'w')"},
    "runpy.run_path": {"path_name": "evil.py"},
    "pickle.loads": {"data": "cos\nsystem\n"},
    "spikeinterface.core.core_tools.read_python": {"path": "evil.py"},
    "spikeinterface.core.loading.load": {"file_or_folder_or_dict": "evil.pkl"},
    "spikeinterface.core.base.pickle.loads": {},
    "spikeinterface.core.core_tools.os.system": {"command": "touch CANARY"},
    "spikeinterface.core.node_pipeline.exec": {},
    "evil.Recording": {},
    "": {},
}
NOT_HARMLESS = {
    "spikeinterface.preprocessing.deepinterpolation.deepinterpolation.DeepInterpolatedRecording": "model",
    "spikeinterface.extractors.phykilosortextractors.PhySortingExtractor": "params.py",
    "spikeinterface.extractors.phykilosortextractors.KiloSortSortingExtractor": "params.py",
    "spikeinterface.extractors.shybridextractors.SHYBRIDRecordingExtractor": "YAML",
    "spikeinterface.extractors.iblextractors.IblRecordingExtractor": "server",
    "spikeinterface.core.generate.MockRecording": "known to be harmless",
    "spikeinterface.core.numpyextractors.SharedMemoryRecording": "known to be harmless",
    "spikeinterface.extractors.neoextractors.neobaseextractor.NeoBaseRecordingExtractor": "known to be harmless",
    "spikeinterface.core.binaryrecordingextractor.BinDatRecordingExtractor": "known to be harmless",
    "spikeinterface.core.BinaryRecordingExtractor": "known to be harmless",
    f"{BINARY} ": "known to be harmless",
    BINARY.replace("e", "\u0435"): "known to be harmless",
    "kacheryfs.ephys.remote.RemoteBinaryRecording": "known to be harmless",
}


@pytest.mark.parametrize("name", CODE)
def test_a_class_that_is_code_is_refused(name: str, lab: HostileLab, tmp_path: Path) -> None:
    kwargs = json.loads(json.dumps(CODE[name]).replace("CANARY", str(lab.canary)))
    folder = write_description(tmp_path / "share", describe(name, kwargs))
    (folder / "evil.py").write_text(f"open({str(lab.canary)!r}, 'w').write('ran')")
    (folder / "evil.pkl").write_bytes(b"not even a pickle")
    assert "known to be harmless" in (line := refusal(lab, folder)) or "it executes" in line or "it loads" in line


@pytest.mark.parametrize("name", NOT_HARMLESS)
def test_a_class_that_is_not_known_to_be_harmless_is_refused(name: str, lab: HostileLab, tmp_path: Path) -> None:
    assert NOT_HARMLESS[name] in refusal(lab, write_description(tmp_path / "share", describe(name)))


def test_read_python_runs_its_file_where_stock_spikeinterface_loads_it(lab: HostileLab, tmp_path: Path) -> None:
    """The attack is real: this is why a prefix test would not do."""
    folder = write_description(tmp_path / "share", describe("spikeinterface.core.core_tools.read_python"))
    (folder / "evil.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'stock')!r}).write_text('ran')")
    described = describe("spikeinterface.core.core_tools.read_python", {"path": str(folder / "evil.py")})
    described["relative_paths"] = False
    with pytest.raises(AttributeError):  # after it ran: what it returns is no recording
        si.load(described)
    assert (tmp_path / "stock").exists()
    assert "it executes the file that it reads" in refusal(lab, folder)


@pytest.mark.parametrize(
    "hide",
    [
        lambda evil: on_top(evil),
        lambda evil: on_top(on_top(on_top(evil))),
        lambda evil: describe(
            "spikeinterface.core.segmentutils.ConcatenateSegmentRecording",
            {"recording_list": [describe_binary(), evil]},
        ),
        lambda evil: describe(
            "spikeinterface.core.channelsaggregationrecording.ChannelsAggregationRecording",
            {"recording_list_or_dict": {"a": describe_binary(), "b": evil}},
        ),
        lambda evil: describe(
            "spikeinterface.core.operatorrecordings.AddRecordings",
            {"recording1": describe_binary(), "recording2": evil},
        ),
    ],
)
def test_a_class_is_refused_however_deep_it_stands(hide: Callable[[Any], Any], lab: HostileLab, tmp_path: Path) -> None:
    evil = describe("posix.system", {"command": f"touch {lab.canary}"})
    assert "'posix.system' is not built" in refusal(lab, write_description(tmp_path / "share", hide(evil)))


@pytest.mark.parametrize(
    "described",
    [
        describe_binary(gain_to_uV=describe("posix.system")),
        describe_binary(channel_ids=[describe("posix.system")] * N_CHANNELS),
        on_top(describe_binary(), p=describe_binary()),
        describe_binary() | {"properties": {"p": [describe("posix.system")] * N_CHANNELS}},
    ],
)
def test_a_recording_may_stand_only_where_one_belongs(described: Any, lab: HostileLab, tmp_path: Path) -> None:
    assert "Recording" in refusal(lab, write_description(tmp_path / "share", described))


@pytest.mark.parametrize("name", ["sinapsrecordingextractors.SinapsResearchPlatformRecordingExtractor"])
def test_a_reader_that_evaluates_its_files_is_not_built(name: str, lab: HostileLab, tmp_path: Path) -> None:
    folder = tmp_path / "share"
    write_description(folder, describe(f"spikeinterface.extractors.{name}", {"file_path": "r.dat"}))
    assert "evaluates its metadata file as Python" in refusal(lab, folder)


def test_a_reader_that_downloads_a_library_is_not_built(lab: HostileLab, tmp_path: Path) -> None:
    name = "spikeinterface.extractors.neoextractors.plexon2.Plexon2RecordingExtractor"
    folder = write_description(tmp_path / "share", describe(name, {"file_path": "r.dat"}))
    assert "downloads a library" in refusal(lab, folder)


# -- addresses and paths ---------------------------------------------------------------------------------------------

ADDRESSES = {
    "s3://bucket/r.dat": "remote address",
    "https://example.org/r.dat": "remote address",
    "http://127.0.0.1:1/r.dat": "remote address",
    "file:///etc/passwd": "remote address",
    "sha1://" + "0" * 40: "remote address",
    "zip::s3:bucket/r.dat": "remote address",
    "gcs:bucket/r.dat": "remote address",
    "/etc/passwd": "absolute path",
    "//etc/passwd": "absolute path",
    "~/secret.dat": "absolute path",
    "~root/secret.dat": "absolute path",
    "C:\\secret.dat": "absolute path",
    "C:/secret.dat": "absolute path",
    "\\\\server\\share\\r.dat": "absolute path",
    "sub\\..\\..\\r.dat": "absolute path",
    "../outside.dat": "'..'",
    "sub/../../outside.dat": "'..'",
    "./.././outside.dat": "'..'",
    "r.dat/..": "'..'",
    "outside.dat": "not in the shared folder",
    "r.dat\0.txt": "NUL",
    "evil.pkl": "pickle",
    "sub": "not a file",
    "": "not a file",
    ".": "not a file",
}


@pytest.mark.parametrize("path", ADDRESSES)
def test_a_path_that_leaves_the_share_is_refused(path: str, lab: HostileLab, tmp_path: Path) -> None:
    write_samples(tmp_path, "outside.dat")
    folder = write_description(tmp_path / "share", describe_binary(file_paths=[path]))
    write_samples(folder / "sub")
    line = refusal(lab, folder)
    assert ADDRESSES[path] in line
    assert "'file_paths' of BinaryRecordingExtractor" in line


@pytest.mark.parametrize(
    "arguments",
    [
        {"stream_mode": "remfile"},
        {"stream_mode": "fsspec", "cache": True},
        {"stream_cache_path": "x"},
        {"storage_options": {"anon": True}},
        {"file_path": "https://example.org/x.nwb"},
    ],
)
def test_an_nwb_file_from_elsewhere_is_refused(arguments: dict[str, Any], lab: HostileLab, tmp_path: Path) -> None:
    folder = write_description(tmp_path / "share", describe(NWB, {"file_path": "x.nwb", **arguments}))
    write_nwb(folder / "x.nwb")
    assert "remote address" in refusal(lab, folder)


def test_zarr_storage_options_are_refused(lab: HostileLab, tmp_path: Path) -> None:
    options = {"folder_path": "z.zarr", "storage_options": {"endpoint_url": "http://127.0.0.1:1"}}
    folder = write_description(tmp_path / "share", describe(ZARR, options))
    (folder / "z.zarr").mkdir()
    (folder / "z.zarr" / ".zgroup").write_text("{}")
    assert "remote address" in refusal(lab, folder)


def test_a_symbolic_link_that_leaves_the_share_is_not_followed(lab: HostileLab, tmp_path: Path) -> None:
    write_samples(tmp_path / "private")
    folder = write_description(tmp_path / "share", describe_binary(file_paths=["linked/r.dat"]))
    (folder / "linked").symlink_to(tmp_path / "private")
    (folder / "link.dat").symlink_to(tmp_path / "private/r.dat")
    assert "not in the shared folder" in refusal(lab, folder)


def test_the_names_beside_an_mda_file_can_not_lead_out(lab: HostileLab, tmp_path: Path) -> None:
    name = "spikeinterface.extractors.mdaextractors.MdaRecordingExtractor"
    for raw in ("../../raw.mda", "/etc/passwd", "..", "sub/raw.mda"):
        folder = write_description(
            tmp_path / "share", describe(name, {"folder_path": ".", "raw_fname": raw, "geom_fname": "geom.csv"})
        )
        assert "lead out of the shared folder" in refusal(lab, folder)
        shutil.rmtree(folder)


# -- arguments -------------------------------------------------------------------------------------------------------

ARGUMENTS: dict[str, tuple[Any, str]] = {
    "objects": (describe_binary(dtype="O"), "number type"),
    "objects by name": (describe_binary(dtype="object"), "number type"),
    "records": (describe_binary(dtype="i4,O"), "number type"),
    "void": (describe_binary(dtype="V8"), "number type"),
    "NaN": (describe_binary(sampling_frequency=float("nan")), "finite"),
    "infinity": (describe_binary(sampling_frequency=float("inf")), "finite"),
    "NaN in a list": (describe_binary(gain_to_uV=[1.0, float("nan"), 1.0, 1.0]), "finite"),
    "no rate": (describe_binary(sampling_frequency=0), "refused"),
    "negative rate": (describe_binary(sampling_frequency=-1.0), "refused"),
    "too many channels": (describe_binary(num_channels=1 << 40), "0 to 100000"),
    "no channels": (describe_binary(num_channels=0, channel_ids=[]), "refused"),
    "other channels": (describe_binary(channel_ids=[1, 2]), "refused"),
    "negative offset": (describe_binary(file_offset=-4), "refused"),
    "unknown argument": (describe_binary(callback="os.system"), "may not be given"),
    "ids that are objects": (describe_binary(channel_ids=[{}, {}, {}, {}]), "id"),
    "processes": (
        on_top(
            describe_binary(), "detect_bad_channels.DetectAndRemoveBadChannelsRecording", job_kwargs={"n_jobs": 999}
        ),
        "how many processes",
    ),
    "a model to load": (
        on_top(describe_binary(), "detect_bad_channels.DetectAndRemoveBadChannelsRecording", method="neural_net"),
        "none of",
    ),
    "an estimator by name": (
        on_top(
            describe_binary(), "whiten.WhitenRecording", regularize=True, regularize_kwargs={"method": "__import__"}
        ),
        "none of",
    ),
    "a filter that never ends": (
        on_top(describe_binary(), "filter.FilterRecording", filter_order=1_000_000),
        "0 to 64",
    ),
    "a channel that isn't there": (
        describe("spikeinterface.core.channelslice.ChannelSliceRecording")
        | {"kwargs": {"recording": describe_binary(), "channel_ids": ["ghost"]}},
        "can't be built",
    ),
    "frames that aren't there": (
        describe("spikeinterface.core.frameslicerecording.FrameSliceRecording")
        | {"kwargs": {"recording": describe_binary(), "start_frame": 10, "end_frame": 1 << 50}},
        "can't be built",
    ),
    "unknown key": (describe_binary() | {"__reduce__": "os.system"}, "does not know"),
    "no class": ({"kwargs": {}}, "not the name of a class"),
    "class that is a list": (describe_binary() | {"class": ["os", "system"]}, "not the name of a class"),
    "kwargs that are a list": (describe_binary() | {"kwargs": []}, "not an object"),
    "a list": ([], "not an object"),
    "a number": (7, "not an object"),
    "null": (None, "not an object"),
    "probe with too few contacts": (
        describe_binary() | {"probegroup": si.generate_recording(num_channels=2, durations=[0.1]).get_probegroup()},
        "2 contacts for 4 channels",
    ),
    "probe that is none": (describe_binary() | {"probegroup": {"probes": [{"ndim": "x"}]}}, "probe can't be one"),
    "probes that are none": (describe_binary() | {"probegroup": {"probes": {}}}, "not a list of probes"),
    "times of another length": (
        describe_binary()
        | {"times_kwargs": [{"sampling_frequency": RATE_HZ, "t_start": None, "time_vector": [0.0, 1.0]}]},
        "has 2 times",
    ),
    "times that are none": (
        describe_binary() | {"times_kwargs": [{"sampling_frequency": RATE_HZ, "t_start": "x", "time_vector": None}]},
        "finite",
    ),
    "times of more segments": (describe_binary() | {"times_kwargs": []}, "0 segments"),
    "property of another length": (describe_binary() | {"properties": {"p": [1, 2]}}, "not one value for each"),
    "property with objects": (describe_binary() | {"properties": {"p": [{}, {}, {}, {}]}}, "objects"),
    "property with ragged rows": (describe_binary() | {"properties": {"p": [[1], [1, 2], [], [1]]}}, "lengths"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_an_argument_that_can_not_be_is_refused(case: str, lab: HostileLab, tmp_path: Path) -> None:
    described, reason = ARGUMENTS[case]
    if isinstance(described, dict) and hasattr(described.get("probegroup"), "to_dict"):
        described = described | {"probegroup": described["probegroup"].to_dict(array_as_list=True)}
    assert reason in refusal(lab, write_description(tmp_path / "share", described))


JSONS = {
    "deep": ("[" * 100_000 + "]" * 100_000, "nested"),
    "deep in order": ('{"a":' * 900 + "1" + "}" * 900, "nested"),
    "a chain without end": (json.dumps(describe_binary()), "on top of each other"),
    "twice": (json.dumps(describe_binary())[:-1] + ', "class": "posix.system"}', "given twice"),
    "large number": (
        json.dumps(describe_binary(file_offset=0)).replace('"file_offset": 0', f'"file_offset": {"9" * 5000}'),
        "digits",
    ),
    "no JSON": ("import os", "not JSON"),
    "not text": ("\udc80", "not JSON"),
    "empty": ("", "not JSON"),
    "too many values": ("[" + "0," * 2_600_000 + "0]", "values"),
}


@pytest.mark.parametrize("case", JSONS)
def test_json_that_is_out_of_bounds_is_refused(case: str, lab: HostileLab, tmp_path: Path) -> None:
    text, reason = JSONS[case]
    if case == "a chain without end":
        for _ in range(90):
            text = json.dumps(on_top("INNER")).replace('"INNER"', text)
    folder = write_description(tmp_path / "share", "{}")
    (folder / "recording.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert reason in refusal(lab, folder)


# -- pickles ---------------------------------------------------------------------------------------------------------


def save_binary_folder(folder: Path) -> Path:
    rng = np.random.default_rng(3)
    recording = si.NumpyRecording([rng.integers(-9, 9, (N_FRAMES, N_CHANNELS)).astype("<i2")], RATE_HZ)
    recording.save(format="binary", folder=folder, progress_bar=False)
    return folder


def test_a_pickle_beside_a_recording_is_never_opened(lab: HostileLab, tmp_path: Path) -> None:
    import pickle

    folder = save_binary_folder(tmp_path / "share")
    for name in ("provenance.pkl", "cached.pkl", "si_folder.pkl"):
        (folder / name).write_bytes(pickle.dumps(Canary(lab.canary)))
    assert loads(lab, folder).get_num_frames() == N_FRAMES


def test_a_folder_with_a_pickle_alone_holds_no_recording(lab: HostileLab, tmp_path: Path) -> None:
    import pickle

    (tmp_path / "share").mkdir()
    (tmp_path / "share/cached.pkl").write_bytes(pickle.dumps(Canary(lab.canary)))
    assert "holds no recording" in refusal(lab, tmp_path / "share")


def test_a_property_that_is_a_pickle_is_refused_which_stock_spikeinterface_runs(
    lab: HostileLab, tmp_path: Path
) -> None:
    folder = save_binary_folder(tmp_path / "share")
    (folder / "properties").mkdir(exist_ok=True)
    for canary in (tmp_path / "stock", lab.canary):
        objects = np.array([Canary(canary)] + [None] * (N_CHANNELS - 1), dtype=object)
        np.save(folder / "properties/evil.npy", objects, allow_pickle=True)
        if canary != lab.canary:
            si.load(folder)
            assert canary.exists()
    assert "holds objects" in refusal(lab, folder)


def test_times_that_are_a_pickle_are_refused(lab: HostileLab, tmp_path: Path) -> None:
    folder = save_binary_folder(tmp_path / "share")
    np.save(folder / "times_cached_seg0.npy", np.array([Canary(lab.canary)] * N_FRAMES, dtype=object))
    assert "holds objects" in refusal(lab, folder)


def test_metadata_that_are_a_pickle_are_refused(lab: HostileLab, tmp_path: Path) -> None:
    folder = write_described(tmp_path / "share", metadata="evil.npz")
    evil = np.array([Canary(lab.canary)], dtype=object)
    np.savez(folder / "evil.npz", about=evil, channel_ids=evil)
    assert "metadata is refused" in refusal(lab, folder)


@pytest.mark.parametrize("change", ["class", "absolute", "..", "dtype"])
def test_what_a_binary_folder_says_of_itself_is_checked(change: str, lab: HostileLab, tmp_path: Path) -> None:
    write_samples(tmp_path, "private.dat")
    folder = save_binary_folder(tmp_path / "share")
    described = json.loads((folder / "binary.json").read_text())
    changes: dict[str, Any] = {
        "absolute": {"file_paths": [str(tmp_path / "private.dat")]},
        "..": {"file_paths": ["../private.dat"]},
        "dtype": {"dtype": "O"},
    }
    described["kwargs"].update(changes.get(change, {}))
    if change == "class":
        described["class"] = "evil.BinaryRecordingExtractor"
    (folder / "binary.json").write_text(json.dumps(described))
    above = write_description(tmp_path / "above", describe(BINARY_FOLDER, {"folder_path": "share"}))
    shutil.copytree(folder, above / "share")
    for shared in (folder, above):
        assert "binary.json is refused" in refusal(lab, shared)


# -- zarr ------------------------------------------------------------------------------------------------------------


def save_zarr(folder: Path) -> Path:
    rng = np.random.default_rng(3)
    recording = si.NumpyRecording([rng.integers(-9, 9, (N_FRAMES, N_CHANNELS)).astype("<i2")], RATE_HZ)
    recording.set_property("q", np.arange(N_CHANNELS))
    recording.save(format="zarr", folder=folder, progress_bar=False)
    return folder


@pytest.mark.parametrize("is_consolidated", [True, False])
@pytest.mark.parametrize("array", ["properties/evil", "channel_ids", "traces_seg0"])
def test_a_pickle_codec_is_refused_which_older_numcodecs_runs(
    array: str, is_consolidated: bool, lab: HostileLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)  # as before 0.15.2
    folder = save_zarr(tmp_path / "z.zarr")
    for canary in (tmp_path / "stock", lab.canary):
        group = zarr.open(str(folder), mode="r+")
        if array in group:
            del group[array]
        shape = (N_FRAMES, N_CHANNELS) if array == "traces_seg0" else (N_CHANNELS,)
        evil = group.create_dataset(array, shape=shape, chunks=shape, dtype=object, object_codec=numcodecs.Pickle())
        objects = np.empty(shape, dtype=object)
        objects[...] = 0
        objects.flat[0] = Canary(canary)
        evil[...] = objects
        (folder / ".zmetadata").unlink(missing_ok=True)
        if is_consolidated:
            zarr.consolidate_metadata(str(folder))
        if canary != lab.canary and array != "traces_seg0":
            with contextlib.suppress(Exception):  # what it has unpickled is no recording
                si.load(folder)
            assert canary.exists()
    assert "pickle" in refusal(lab, folder)


def test_consolidated_metadata_can_not_hide_a_codec(lab: HostileLab, tmp_path: Path) -> None:
    folder = save_zarr(tmp_path / "z.zarr")
    zarr.consolidate_metadata(str(folder))
    metadata = json.loads((folder / ".zmetadata").read_text())
    metadata["metadata"]["channel_ids/.zarray"]["filters"] = [{"id": "pickle"}]
    (folder / ".zmetadata").write_text(json.dumps(metadata))
    assert "codec 'pickle'" in refusal(lab, folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"compressor": {"id": "pickle"}}, "pickle"),
        ({"filters": [{"id": "my-codec"}]}, "my-codec"),
        ({"filters": [{"id": ["pickle"]}]}, "no name"),
        ({"filters": {"id": "pickle"}}, "not a list"),
        ({"dtype": "|O"}, "objects"),
        ({"dtype": [["a", "|O"]]}, "objects"),
        ({"dtype": "nonsense"}, "no dtype"),
        ({"shape": "many"}, "no zarr folder"),
    ],
)
def test_array_metadata_are_checked(changes: dict[str, Any], reason: str, lab: HostileLab, tmp_path: Path) -> None:
    folder = save_zarr(tmp_path / "z.zarr")
    (folder / ".zmetadata").unlink(missing_ok=True)
    path = folder / "channel_ids/.zarray"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    line = refusal(lab, folder)
    assert reason in line or "holds no recording" in line


# -- HDF5 ------------------------------------------------------------------------------------------------------------


def external_link(file: Any, secret: Path) -> None:
    del file["acquisition/series/data"]
    file["acquisition/series/data"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "/secret")


def external_storage(file: Any, secret: Path) -> None:
    del file["acquisition/series/data"]
    shape = (N_FRAMES, N_CHANNELS)
    data = file["acquisition/series"].create_dataset("data", shape, "<i2", external=[(str(secret), 0, N_FRAMES * 8)])
    data.attrs["conversion"] = 1e-6


def virtual_dataset(file: Any, secret: Path) -> None:
    del file["acquisition/series/data"]
    layout = h5py.VirtualLayout((N_FRAMES, N_CHANNELS), "<i2")
    layout[:] = h5py.VirtualSource(str(secret.with_suffix(".h5")), "secret", (N_FRAMES, N_CHANNELS))
    file["acquisition/series"].create_virtual_dataset("data", layout).attrs["conversion"] = 1e-6


def group_elsewhere(file: Any, secret: Path) -> None:
    file["deep/er"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "/")


@pytest.mark.parametrize("attack", [external_link, external_storage, virtual_dataset, group_elsewhere])
def test_an_hdf5_file_that_reaches_into_the_readers_files_is_refused(
    attack: Callable[[Any, Path], None], lab: HostileLab, tmp_path: Path
) -> None:
    secret = write_samples(tmp_path, "secret.dat")
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["secret"] = np.fromfile(secret, "<i2").reshape(N_FRAMES, N_CHANNELS)
    folder = write_description(tmp_path / "share", describe(NWB, {"file_path": "x.nwb"}))
    write_nwb(folder / "x.nwb")
    with h5py.File(folder / "x.nwb", "r+") as file:
        attack(file, secret)
    assert "other file" in (line := refusal(lab, folder)) or "another file" in line
    assert "another file" in (line := refusal_of_link(lab, f"{lab.share(folder)}/x.nwb")) or "other file" in line


def refusal_of_link(lab: HostileLab, link: str) -> str:
    with pytest.raises(kfs.KacheryError) as caught:
        kfs.load_recording(link)
    return str(caught.value)


def test_hdf5_links_inside_of_the_file_are_followed(lab: HostileLab, tmp_path: Path) -> None:
    folder = write_description(tmp_path / "share", describe(NWB, {"file_path": "x.nwb"}))
    write_nwb(folder / "x.nwb")
    with h5py.File(folder / "x.nwb", "r+") as file:
        file["soft"] = h5py.SoftLink("/acquisition/series/data")
        file["circle"] = file["/"]
        file["soft circle"] = h5py.SoftLink("/acquisition")
        file["nowhere"] = h5py.SoftLink("/nowhere")
        for level in range(60):  # 2 ** 60 paths
            file.require_group(f"maze{level}")["a"] = file.require_group(f"maze{level + 1}")
            file[f"maze{level}"]["b"] = file[f"maze{level + 1}"]
    assert loads(lab, folder).get_num_frames() == N_FRAMES


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "flipped"])
def test_a_damaged_hdf5_file_is_an_error_in_one_line(damage: str, lab: HostileLab, tmp_path: Path) -> None:
    folder = write_description(tmp_path / "share", describe(NWB, {"file_path": "x.nwb"}))
    data = write_nwb(folder / "x.nwb").read_bytes()
    changed = {
        "cut": data[: len(data) // 2],
        "garbage": data[:8] + bytes(1000),
        "empty": b"",
        "flipped": data[:96] + bytes(255 - byte for byte in data[96:800]) + data[800:],
    }
    (folder / "x.nwb").write_bytes(changed[damage])
    assert refusal(lab, folder)


# -- readers that need a path ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", [external_link, external_storage, virtual_dataset, group_elsewhere])
def test_an_hdf5_file_is_looked_at_before_a_reader_gets_its_path(
    attack: Callable[[Any, Path], None], lab: HostileLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = "kacheryfs.ephys.loading_leaves.get_mountpoint"
    monkeypatch.setattr(mounts, lambda *_: tmp_path)  # as if one ran
    name = "spikeinterface.extractors.neoextractors.biocam.BiocamRecordingExtractor"
    folder = write_description(tmp_path / "share", describe(name, {"file_path": "x.brw"}))
    write_nwb(folder / "x.brw")
    with h5py.File(folder / "x.brw", "r+") as file:
        attack(file, write_samples(tmp_path, "secret.dat"))
    assert "other file" in refusal(lab, folder)


def test_no_plugin_is_downloaded_whatever_a_description_says() -> None:
    row = TABLE["spikeinterface.extractors.neoextractors.maxwell.MaxwellRecordingExtractor"]
    assert row.forced == {"install_maxwell_plugin": False}


def test_an_open_ephys_folder_can_not_name_folders_outside(lab: HostileLab, tmp_path: Path) -> None:
    from kacheryfs.app.embedded import get_fetcher
    from kacheryfs.core.link import TreeLink, parse_link
    from kacheryfs.ephys.loading_folder import Folder
    from kacheryfs.ephys.loading_leaves import check_open_ephys

    for name in ("../../../private/", "/etc/", "http://example.org/", "a\\..\\.."):
        folder = tmp_path / "oe" / "recording1"
        folder.mkdir(parents=True)
        (folder / "structure.oebin").write_text(
            json.dumps({"continuous": [{"folder_name": name}], "GUI version": "0.6"})
        )
        link = parse_link(lab.share(tmp_path / "oe"))
        assert isinstance(link, TreeLink)
        fetcher = get_fetcher()
        with pytest.raises(kfs.ProofError, match="a stream's folder"):
            check_open_ephys(Folder(fetcher, link, fetcher.get_tree(link.sha1)))
        shutil.rmtree(tmp_path / "oe")


# -- kacheryfs.json --------------------------------------------------------------------------------------------------


def test_an_honest_layout_loads(lab: HostileLab, tmp_path: Path) -> None:
    recording = loads(lab, write_described(tmp_path / "share", layout()))
    assert type(recording).__name__ == "RemoteBinaryRecording"
    assert recording.get_traces().shape == (N_FRAMES, N_CHANNELS)


LAYOUTS: dict[str, tuple[dict[str, Any], str]] = {
    "a file that isn't there": (layout(segment={"file": "ghost.dat"}), "missing"),
    "a path out": (layout(segment={"file": "../r.dat"}), "refused"),
    "an absolute path": (layout(segment={"file": "/etc/passwd"}), "refused"),
    "more frames than the file has": (layout(segment={"n_frames": N_FRAMES + 1}), "tells of"),
    "frames beyond counting": (layout(segment={"n_frames": 1 << 52}), "tells of"),
    "negative frames": (layout(segment={"n_frames": -1}), "bounds"),
    "an offset behind the end": (layout(segment={"offset_bytes": 8}), "tells of"),
    "objects": (layout(dtype="|O"), "flat samples"),
    "a column that isn't there": (layout(columns=[0, 1, 2, 9]), "column"),
    "no leaf": (layout(at=["kwargs", "recording"]), "no leaf"),
    "metadata that aren't there": (layout(metadata="ghost.npz"), "missing"),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_a_layout_that_can_not_be_is_refused(case: str, lab: HostileLab, tmp_path: Path) -> None:
    value, reason = LAYOUTS[case]
    assert reason in refusal(lab, write_described(tmp_path / "share", value))


def test_a_layout_does_not_make_a_class_harmless(lab: HostileLab, tmp_path: Path) -> None:
    evil = describe("posix.system", {"command": f"touch {lab.canary}"})
    assert "'posix.system' is not built" in refusal(lab, write_described(tmp_path / "s", layout(), recording=evil))


def test_a_recording_that_loads_as_something_else_is_refused(lab: HostileLab, tmp_path: Path) -> None:
    wrong = {"sampling_frequency": RATE_HZ, "n_channels": 9, "dtype": "int16", "n_frames": [7], "duration_s": 1.0}
    assert "was shared with 9" in refusal(lab, write_described(tmp_path / "share", layout(), summary=wrong))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 2}, "update"),
        ({"format": "kacheryfs-sorting"}, "use load_sorting"),
        ({"format": "kacheryfs-analyzer"}, "use load_analyzer"),
        ({"format": "evil"}, "describe"),
        ({"code": "import os"}, "unknown key"),
        ({"binary": {}}, "list"),
    ],
)
def test_a_description_of_something_else_is_refused(
    changes: dict[str, Any], reason: str, lab: HostileLab, tmp_path: Path
) -> None:
    assert reason in refusal(lab, write_described(tmp_path / "share", layout(), **changes))
