"""What a stranger made of an analyzer is refused in one line, and nothing of it runs."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analyzer_kinds import EXTENSIONS, made_analyzer
from lab_pairs import LabPair

import kacheryfs as kfs
from kacheryfs.app.embedded import get_fetcher, request_of
from kacheryfs.core.link import parse_link
from kacheryfs.ephys.made import share_parts

pytest.importorskip("pandas", reason="SpikeInterface keeps metrics in pandas' tables")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:spikeinterface")
Files = dict[tuple[str, ...], Any]
FEW = {name: EXTENSIONS[name] for name in ("random_spikes", "templates", "noise_levels", "quality_metrics")}
FEW["quality_metrics"] = {"metric_names": ["num_spikes"]}
TEMPLATES = ("extensions", "templates")


class Canary:
    """Leaves a file behind when somebody unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    path = tmp_path / "code ran"
    yield Canary(path)
    assert not path.exists()


@pytest.fixture(scope="module")
def analyzers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {
        storage: made_analyzer(tmp_path_factory.mktemp(storage), storage, FEW) for storage in ("binary_folder", "zarr")
    }


@pytest.fixture(autouse=True)
def _at_alice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    labs = LabPair(tmp_path, monkeypatch)
    with labs.at(labs.alice):
        yield


@pytest.fixture
def honest(analyzers: dict[str, Any]) -> Files:
    """Return the files of a shared binary folder."""
    return files_of(analyzers["binary_folder"])


@pytest.fixture
def honest_zarr(analyzers: dict[str, Any]) -> Files:
    return files_of(analyzers["zarr"])


def files_of(analyzer: Any) -> Files:
    fetcher = get_fetcher()
    tree = fetcher.get_tree(parse_link(kfs.share_analyzer(analyzer, with_recording=False)).sha1)
    return {names: fetcher.read_small(request_of(entry), 1 << 30) for names, entry in tree.walk()}


def refusal(files: Files) -> str:
    """Return the one line that a share of these files is refused with."""
    with pytest.raises(kfs.KacheryError) as caught:
        kfs.load_analyzer(share_parts(files, "bad"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def described(files: Files, change: Callable[[dict[str, Any]], object]) -> Files:
    value = json.loads(files[("kacheryfs.json",)])
    change(value)
    return files | {("kacheryfs.json",): json.dumps(value).encode()}


def test_the_honest_files_load(honest: Files, honest_zarr: Files) -> None:
    for files in (honest, honest_zarr):
        assert sorted(kfs.load_analyzer(share_parts(files, "good")).extensions) == sorted(FEW)


DESCRIPTIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "names a shared sorting, no analyzer: use load_sorting": lambda v: v.update(format="kacheryfs-sorting"),
    "has version 9, this kacheryfs knows 1": lambda v: v.update(version=9),
    "the unknown key 'model'": lambda v: v.update(model="x.pkl"),
    "neither binary_folder nor zarr": lambda v: v.update(storage="pickle"),
    "not those of an analyzer": lambda v: v["settings"].update(peak_mode="exec"),
    "neither true nor false": lambda v: v["settings"].update(return_in_uV="yes"),
    "'recording' is no link": lambda v: v.update(recording="/etc/passwd"),
    "no link of a shared recording": lambda v: v.update(recording=f"sha1://{'0' * 40}/x.json"),
    "not those of a recording": lambda v: v["recording_attributes"].update(file_path="/etc/passwd"),
    "not the number of 'channel_ids'": lambda v: v["recording_attributes"].update(num_channels=7),
    "has not one number for each segment": lambda v: v["recording_attributes"].update(num_samples=[1]),
    "not a positive number": lambda v: v["recording_attributes"].update(sampling_frequency="fast"),
    "no list of extensions' names": lambda v: v.update(extensions=["../../etc"]),
    "'$call' is no kind of value": lambda v: v["recording_attributes"].update(properties={"$call": "os.system"}),
    "the probe can't be one": lambda v: v["probegroup"].update(probes=[{"ndim": "x"}]),
    "the probe has 6 contacts for 5 channels": lambda v: _fewer_channels(v["recording_attributes"]),
    "is no vector of 1 spikes": lambda v: v["sorting"].update(n_spikes=1),
    "the folder extensions/waveforms is missing": lambda v: v["extensions"].append("waveforms"),
}


def _fewer_channels(attributes: dict[str, Any]) -> None:
    array = attributes["channel_ids"]["$array"]
    array["values"].pop()
    array["shape"] = [5]
    attributes["num_channels"] = 5


@pytest.mark.parametrize("reason", DESCRIPTIONS)
def test_a_wrong_description_is_refused(reason: str, honest: Files) -> None:
    files = described(honest, DESCRIPTIONS[reason])
    if "5 channels" in reason:
        mask = np.ones((4, 5), dtype=bool)
        files[("sparsity_mask.npy",)] = npy(mask)
    assert reason in refusal(files)


@pytest.mark.parametrize("name", ["model.pkl", "recording.pickle"])
def test_a_pickle_anywhere_is_refused_and_never_run(name: str, honest: Files, canary: Canary) -> None:
    for folder in ((), TEMPLATES, ("sorting",), ("elsewhere",)):
        bad = honest | {(*folder, name): pickle.dumps(canary)}
        assert f"{name} is a pickle, and loading a pickle runs code: refused" in refusal(bad)


def test_object_arrays_are_refused_and_never_run(honest: Files, canary: Canary) -> None:
    pickled = npy(np.array([canary] * 4, dtype=object))
    for path in ((*TEMPLATES, "average.npy"), ("sparsity_mask.npy",), ("sorting", "spikes.npy")):
        assert "holds objects, which are loaded by running code: refused" in refusal(honest | {path: pickled})


def test_descriptions_for_stock_are_not_even_read(honest: Files, canary: Canary) -> None:
    script = f"import pathlib; pathlib.Path({str(canary.path)!r}).touch()".encode()
    evil = {"class": "spikeinterface.core.core_tools.read_python", "kwargs": {"path": "evil.py"}, "version": "0"}
    evil |= {"annotations": {}, "properties": {}, "relative_paths": True, "module": "spikeinterface"}
    names = [("recording.json",), ("sorting_provenance.json",), ("sorting", "provenance.json"), ("si_folder.json",)]
    files = honest | {("evil.py",): script} | {name: json.dumps(evil).encode() for name in names}
    loaded = kfs.load_analyzer(share_parts(files, "evil"))
    assert not loaded.has_recording()
    assert loaded.get_sorting_provenance() is None


def test_a_mask_of_another_shape_is_refused(honest: Files) -> None:
    for mask in (np.ones((4, 7), bool), np.ones((4, 6))):
        assert "is no mask of 4 units and 6 channels" in refusal(honest | {("sparsity_mask.npy",): npy(mask)})


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"a": 1, "a": 2}', b"[" * 9999])
def test_parameters_that_are_none_are_refused(data: bytes, honest: Files) -> None:
    assert "params.json" in refusal(honest | {(*TEMPLATES, "params.json"): data})


def test_a_table_that_is_none_is_refused(honest: Files) -> None:
    bad = honest | {("extensions", "quality_metrics", "metrics.csv"): b'a,b\n"1,2\n3'}
    assert "the extension 'quality_metrics' is damaged" in refusal(bad)


def test_an_extension_larger_than_the_memory_is_not_begun(honest: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kacheryfs.ephys.analyzers_reading.memory_bytes", lambda: 10_000)
    assert "more than this machine's memory: load_analyzer(link, load_extensions=False) leaves it out" in refusal(
        honest
    )


@pytest.mark.expects_warnings
def test_an_extension_that_nobody_knows_is_left_out_and_said(honest: Files, caplog: pytest.LogCaptureFixture) -> None:
    files = {(names[0], "evil_extension", *names[2:]): honest[names] for names in honest if names[:2] == TEMPLATES}
    bad = described(honest | files, lambda v: v["extensions"].append("evil_extension"))
    assert sorted(kfs.load_analyzer(share_parts(bad, "bad")).extensions) == sorted(FEW)
    assert "'evil_extension' is not known to this SpikeInterface: it is left out" in caplog.text


def test_spikes_out_of_range_are_refused(honest: Files) -> None:
    spikes = np.load(io.BytesIO(honest[("sorting", "spikes.npy")]))
    spikes["unit_index"][3] = 99
    assert "a unit index out of range" in refusal(honest | {("sorting", "spikes.npy"): npy(spikes)})


ARRAY = ("extensions", "templates", "average", ".zarray")


@pytest.mark.parametrize("consolidated", [True, False])
def test_a_zarr_that_names_the_codec_pickle_is_refused_and_never_run(
    consolidated: bool, honest_zarr: Files, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("numcodecs.pickles.ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    about = {"chunks": [1], "compressor": None, "dtype": "|O", "fill_value": 0, "order": "C", "shape": [1]}
    about |= {"zarr_format": 2, "filters": [{"id": "pickle", "protocol": 5}]}
    chunk = pickle.dumps(np.array([canary], dtype=object))
    bad = {names: data for names, data in honest_zarr.items() if names[:3] != ARRAY[:3]}
    bad |= {ARRAY: json.dumps(about).encode(), (*ARRAY[:3], "0"): chunk}
    if consolidated:
        metadata = json.loads(bad[(".zmetadata",)])
        metadata["metadata"]["/".join(ARRAY)] = about
        bad[(".zmetadata",)] = json.dumps(metadata).encode()
    else:
        del bad[(".zmetadata",)]
    assert "pickle" in refusal(bad)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"filters": [{"id": "msgpack2"}]}, "msgpack2"),
        ({"dtype": "|O", "filters": None}, "objects"),
        ({"compressor": {"id": 7}}, "codec"),
        ({"shape": [1 << 40, 1 << 40]}, "damaged"),
        ({"dtype": "<q99"}, "dtype"),
    ],
)
def test_arrays_of_a_zarr_that_are_none_are_refused(change: Any, reason: str, honest_zarr: Files) -> None:
    bad = dict(honest_zarr)
    metadata = json.loads(bad[(".zmetadata",)])
    about = json.loads(bad[ARRAY]) | change
    metadata["metadata"]["/".join(ARRAY)] = about
    bad |= {ARRAY: json.dumps(about).encode(), (".zmetadata",): json.dumps(metadata).encode()}
    assert reason in refusal(bad)


def test_texts_of_a_zarr_that_would_fill_the_memory_are_not_unpacked(honest_zarr: Files) -> None:
    names = ("extensions", "quality_metrics", "runtime_s", "0")
    bomb = bytearray(honest_zarr[names])
    bomb[4:8] = (1 << 31).to_bytes(4, "little")
    assert "'runtime_s' has texts of 2147483648 bytes" in refusal(honest_zarr | {names: bytes(bomb)})


def test_objects_that_a_zarr_calls_so_are_refused(honest_zarr: Files) -> None:
    bad = dict(honest_zarr)
    metadata = json.loads(bad[(".zmetadata",)])
    metadata["metadata"]["/".join((*ARRAY[:3], ".zattrs"))] = {"object": True}
    assert "'average' holds objects" in refusal(bad | {(".zmetadata",): json.dumps(metadata).encode()})


def test_a_folder_that_is_no_analyzer_is_one_line() -> None:
    with pytest.raises(kfs.InputError, match=r"is no shared analyzer: .* by share_analyzer"):
        kfs.load_analyzer(share_parts({("readme",): b"hello"}, "folder"))
    with pytest.raises(kfs.InputError, match="names a file: a shared analyzer is a folder"):
        kfs.load_analyzer(f"sha1://{'0' * 40}/x.json")
