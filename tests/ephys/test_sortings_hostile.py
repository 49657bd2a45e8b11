"""What a stranger made of a sorting is refused in one line, and nothing of it runs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab_pairs import LabPair
from sorting_kinds import made_sorting

import kacheryfs as kfs
from kacheryfs.ephys.made import share_parts
from kacheryfs.ephys.sortings_describing import encode_sorting
from kacheryfs.ephys.sortings_files import make_sorting_files

Files = dict[tuple[str, ...], Any]


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


@pytest.fixture(autouse=True)
def _at_alice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    labs = LabPair(tmp_path, monkeypatch)
    with labs.at(labs.alice):
        yield


def honest_files() -> Files:
    made = make_sorting_files(made_sorting())
    return {**made.files, ("kacheryfs.json",): encode_sorting(made.description, "sorting")}


def refusal(files: Files) -> str:
    """Return the one line that a share of these files is refused with."""
    with pytest.raises(kfs.KacheryError) as caught:
        kfs.load_sorting(share_parts(files, "bad"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def described(change: Callable[[dict[str, Any]], object]) -> Files:
    files = honest_files()
    value = json.loads(files[("kacheryfs.json",)])
    change(value)
    return files | {("kacheryfs.json",): json.dumps(value).encode()}


def spikes(change: Callable[[Any], object]) -> Files:
    files = honest_files()
    vector = np.load(io.BytesIO(files[("spikes.npy",)]))
    change(vector)
    return files | {("spikes.npy",): npy(vector)}


def test_the_honest_files_load() -> None:
    assert kfs.load_sorting(share_parts(honest_files(), "good")).get_num_units() == 4


DESCRIPTIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "names a shared recording, no sorting: use load_recording": lambda v: v.update(format="kacheryfs-recording"),
    "names no shared sorting": lambda v: v.update(format="somebody's"),
    "has version 2, this kacheryfs knows 1": lambda v: v.update(version=2),
    "the unknown key 'pickle'": lambda v: v.update(pickle="x"),
    "lacks 'segments'": lambda v: v.pop("segments"),
    "0 segments are out of bounds": lambda v: v.update(segments=[]),
    "a sampling frequency of 0.0 Hz": lambda v: v.update(sampling_frequency=0),
    "more than the": lambda v: v.update(n_spikes=1 << 40),
    "is no vector of 7 spikes": lambda v: v.update(n_spikes=7),
    "a unit id is given twice": lambda v: v["unit_ids"]["$array"].update(values=[1, 1, 2, 3]),
    "no list of ids": lambda v: v["unit_ids"]["$array"].update(shape=[2, 2]),
    "neither integers nor texts": lambda v: v["unit_ids"]["$array"].update(dtype="<f8"),
    "shape doesn't fit": lambda v: v["unit_ids"]["$array"].update(shape=[1 << 40]),
    "'$eval' is no kind of value": lambda v: v["annotations"].update(x={"$eval": "1"}),
    "is no file of a property": lambda v: v["properties"].update(snr="../snr.npy"),
    "two properties have one file": lambda v: v["properties"].update(snr="quality.npy"),
    "properties/gone.npy is missing": lambda v: v["properties"].update(snr="gone.npy"),
    "Infinity": lambda v: v["segments"][0].update(t_start=float("inf")),
    "not a number": lambda v: v["segments"][0].update(t_start="soon"),
}


@pytest.mark.parametrize("reason", DESCRIPTIONS)
def test_a_wrong_description_is_refused(reason: str) -> None:
    assert reason in refusal(described(DESCRIPTIONS[reason]))


def _set(name: str, index: int, value: int) -> Callable[[Any], object]:
    def change(vector: Any) -> None:
        vector[name][index] = value

    return change


def _shuffled(vector: Any) -> None:
    vector[:] = vector[::-1].copy()


SPIKES: dict[str, Callable[[Any], object]] = {
    "a sample index out of range": _set("sample_index", 0, -1),
    "a unit index out of range: not from 0 to 3": _set("unit_index", 5, 4),
    "a segment index out of range: not from 0 to 1": _set("segment_index", -1, 2),
    "not sorted by segment and sample": _shuffled,
}


@pytest.mark.parametrize("reason", SPIKES)
def test_spikes_that_no_sorting_has_are_refused(reason: str) -> None:
    assert reason in refusal(spikes(SPIKES[reason]))


def test_object_arrays_are_refused_and_their_pickles_never_run(canary: Canary) -> None:
    pickled = npy(np.array([canary] * 4, dtype=object))
    for path in (("spikes.npy",), ("properties", "quality.npy")):
        assert "loaded by running code: refused" in refusal(honest_files() | {path: pickled})


def test_objects_inside_of_a_structured_array_are_refused(canary: Canary) -> None:
    rows = np.array([(1, canary)] * 4, dtype=[("a", "i4"), ("b", "O")])
    assert "loaded by running code" in refusal(honest_files() | {("properties", "quality.npy"): npy(rows)})


LIES = (b"'shape': (9,)  ", b"'shape': (-4,) ", b"'shape': (1<<60)", b"'shape': (7e9,)", b"'shape': exit() ")


@pytest.mark.parametrize("lie", LIES)
def test_a_header_is_not_believed(lie: bytes) -> None:
    told = b"'shape': (4,), }"
    data = npy(np.arange(4.0)).replace(told + b" " * 8, (lie + b", }").ljust(len(told) + 8))
    assert lie in data
    assert "properties/snr.npy" in refusal(honest_files() | {("properties", "snr.npy"): data})


def test_what_is_no_array_or_too_short_is_refused() -> None:
    for data in (b"", b"not numpy", npy(np.arange(4.0))[:-1], npy(np.arange(4.0)) + b"x", b"\x93NUMPY\x01\x00\xff\xff"):
        assert "properties/snr.npy" in refusal(honest_files() | {("properties", "snr.npy"): data})


def test_items_of_no_bytes_are_refused() -> None:
    data = npy(np.zeros(0, dtype="<U1")).replace(b"<U1", b"<U0").replace(b"(0,)", b"(9,)")
    assert "items of no bytes" in refusal(honest_files() | {("properties", "quality.npy"): data})


def test_a_property_of_another_length_is_refused() -> None:
    assert "not one value for each" in refusal(honest_files() | {("properties", "snr.npy"): npy(np.arange(5.0))})


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        "[1, 2, 3, 4]",
        '{"$array": {"dtype": "O", "shape": [4], "values": [1]}}',
        '{"$array": {"dtype": "O", "shape": [1], "values": [{"$dict": [[[], 1]]}]}}',
        '{"$array": {"dtype": "O", "shape": [-1], "values": []}}',
        '{"$array": {"dtype": "V8", "shape": [0], "values": []}}',
        '{"$array": {"dtype": "<U999999999", "shape": [1], "values": ["x"]}}',
        '{"$array": {"dtype": "<U200000", "shape": [4], "values": ["x", "y", "z", ""]}}',
        '{"$array": {"dtype": "i1", "shape": [1], "values": [1000]}}',
        '{"$array": {"dtype": "<U1", "shape": [1], "values": ["long"]}}',
        '{"$array": {"dtype": "O", "shape": [1], "values": [{"$int": "' + "9" * 1000 + '"}]}}',
        '{"$array": {"dtype": "O", "shape": [1], "values": [{"$datetime": "soon"}]}}',
        "[" * 5000,
        "{",
    ],
)
def test_values_that_nobody_writes_are_refused(text: str) -> None:
    files = described(lambda v: v["properties"].update(snr="snr.json"))
    assert "snr.json" in refusal(files | {("properties", "snr.json"): text.encode()})


def test_a_link_to_a_file_or_to_any_folder_is_no_sorting() -> None:
    folder = share_parts({("a", "x.npz"): b"hello"}, "folder")
    with pytest.raises(kfs.KacheryError):
        kfs.load_sorting(f"{folder}/a/x.npz")
    with pytest.raises(kfs.InputError, match=r"no shared sorting: .*share_sorting"):
        kfs.load_sorting(share_parts({("readme",): b"hello"}, "folder"))
    with pytest.raises(kfs.LinkError):
        kfs.load_sorting("https://example.org/sorting")
