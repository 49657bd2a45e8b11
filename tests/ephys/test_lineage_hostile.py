"""Damaged and hostile objects and files of the lineage: each is refused in one line, and nothing of it runs."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from lab_pairs import LabPair
from lineage_formats import (
    N_CHANNELS,
    N_FRAMES,
    RATE_HZ,
    SharedFiles,
    bin_object,
    mda_bytes,
    samples,
    write_h5_sorting,
    write_nwb,
)

import kacheryfs as kfs
from kacheryfs.app.embedded import get_fetcher
from kacheryfs.ephys.lineage import load_lineage_recording
from kacheryfs.ephys.lineage_sortings import load_lineage_sorting

PARAMS = {"samplerate": RATE_HZ}
IDS = list(range(N_CHANNELS))
TIMES, LABELS = np.array([1, 2, 3]), np.array([1, 1, 2])


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


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SharedFiles]:
    """Files of this very peer: what is wrong with them doesn't depend on the way that they came."""
    labs = LabPair(tmp_path, monkeypatch)
    with labs.at(labs.alice):
        yield SharedFiles(labs.alice, tmp_path / "files")


def refusal(load: Callable[[Any, object], object], value: object, error: type[Exception] = kfs.ProofError) -> str:
    """Return the one line that a value is refused with."""
    with pytest.raises(error) as caught:
        load(get_fetcher(), value)
    assert isinstance(caught.value, kfs.KacheryError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def recording_refusal(value: object, error: type[Exception] = kfs.ProofError) -> str:
    return refusal(load_lineage_recording, value, error)


def sorting_refusal(value: object, error: type[Exception] = kfs.ProofError) -> str:
    return refusal(load_lineage_sorting, value, error)


def mda(link: str, **changes: object) -> dict[str, Any]:
    return {"recording_format": "mda", "data": {"raw": link, "geom": None, "params": PARAMS, **changes}}


def firings(link: str) -> dict[str, Any]:
    return {"sorting_format": "mda", "data": {"firings": link, "samplerate": RATE_HZ}}


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def test_a_flat_file_of_the_wrong_size_is_refused(files: SharedFiles) -> None:
    data = samples().tobytes()
    short, ragged, empty = files.add(
        {"short.dat": data[: -2 * N_CHANNELS], "ragged.dat": data + b"1", "empty.dat": b""}
    )
    assert f"{N_FRAMES} frames of {N_CHANNELS} × <i2" in recording_refusal(bin_object(short, IDS, IDS))
    assert "ragged.dat has" in recording_refusal(bin_object(ragged, IDS, IDS))
    assert "empty.dat has 0 bytes" in recording_refusal(bin_object(empty, IDS, IDS))
    huge = bin_object(short, IDS, IDS, num_frames=1 << 50)
    assert "doesn't fit" in recording_refusal(huge)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (struct.pack("<5i", -4, 2, 2, -6, -5000), "has the dimensions -6 × -5000"),
        (struct.pack("<5i", -4, 2, 2, 6, 5001) + samples().tobytes(), "where its header tells of 60032"),
        (struct.pack("<3i2q", -4, 2, -2, 6, 1 << 40), "where its header tells of"),
        (struct.pack("<3i2q", -4, 2, -2, 1 << 62, 1 << 62), "has the dimensions"),
        (struct.pack("<3i", -4, 2, 2_000_000_000) + b"\0" * 1000, "of 2000000000 dimensions"),
        (struct.pack("<5i", -1, 8, 2, 6, 5) + b"\0" * 240, "has the code -1"),
        (struct.pack("<5i", -4, 4, 2, 6, 5) + b"\0" * 60, "entries have 4 bytes"),
        (mda_bytes(np.zeros((2, 3, 4), "<i2")), "3 dimensions"),
        (mda_bytes(np.zeros((0, 3), "<i2")), "dimensions"),
        (b"", "ends within the header"),
    ],
)
def test_an_mda_file_with_a_damaged_or_hostile_header_is_refused(data: bytes, reason: str, files: SharedFiles) -> None:
    (link,) = files.add({"raw.mda": data})
    assert reason in recording_refusal(mda(link))
    sorting_refusal(firings(link))


def test_params_and_positions_that_are_none_are_refused(files: SharedFiles) -> None:
    raw, text, rate = files.add(
        {"raw.mda": mda_bytes(samples().T), "geom.csv": b"x,y\n1,2", "params.json": b'{"samplerate": -1}'}
    )
    assert "of params.json is a number, not a rate" in recording_refusal(mda(raw, params=rate))
    assert "geom.csv is not lines of numbers" in recording_refusal(mda(raw, geom=text))
    assert "geom.csv is not JSON" in recording_refusal(mda(raw, params=text))
    assert "is not JSON" in recording_refusal(raw)


def test_a_part_that_the_recording_hasnt_got_is_refused(files: SharedFiles) -> None:
    (link,) = files.add({"raw.dat": samples().tobytes()})
    whole = bin_object(link, IDS, IDS)
    for data, reason in (
        ({"channel_ids": [0, 77]}, "the channel '77'"),
        ({"group": 3}, "the group"),
        ({"start_frame": 0, "end_frame": N_FRAMES + 1}, f"of a recording that has {N_FRAMES}"),
        ({"start_frame": N_FRAMES + 1}, f"of a recording that has {N_FRAMES}"),
    ):
        assert reason in recording_refusal({"recording_format": "subrecording", "data": {"recording": whole, **data}})


def test_a_filter_that_lets_nothing_pass_is_refused(files: SharedFiles) -> None:
    (link,) = files.add({"raw.dat": samples().tobytes()})
    for low, high in ((RATE_HZ, 0), (0.001, 6000), (0, 0.01)):
        band = {"type": "bandpass_filter", "freq_min": low, "freq_max": high}
        recording_refusal({"recording": bin_object(link, IDS, IDS), "filters": [band]})


def test_objects_that_name_each_other_by_links_without_end_are_refused(files: SharedFiles) -> None:
    link = files.add_object({"path": "sha1://" + "0" * 40}, "0.json")
    for step in range(1, 20):
        link = files.add_object({"path": link}, f"{step}.json")
    assert "more than 16 links" in recording_refusal(link)
    assert "more than 16 links" in sorting_refusal(link)


def test_what_nobody_has_and_what_a_tree_lacks_is_not_found(files: SharedFiles, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "notes.txt").write_text("no recording")
    (study,) = files.share(tmp_path / "study")
    assert "not in the folder" in recording_refusal(bin_object(f"{study}/raw.dat", IDS, IDS), kfs.NotFoundError)
    assert "names a folder" in recording_refusal(bin_object(study, IDS, IDS), kfs.InputError)
    assert "has no raw.mda" in recording_refusal(study, kfs.InputError)
    assert "names a folder" in sorting_refusal(study, kfs.InputError)
    missing = "sha1://" + "0" * 40
    recording_refusal(bin_object(missing, IDS, IDS), kfs.KacheryError)
    sorting_refusal(firings(missing), kfs.KacheryError)


def test_an_object_that_is_too_long_is_not_read(files: SharedFiles) -> None:
    (link,) = files.add({"long.json": b" " * (17 * 1024 * 1024)})
    assert "at most 16777216 are read" in recording_refusal(link, kfs.InputError)


@pytest.mark.parametrize(
    ("times", "labels", "reason"),
    [
        (npy(TIMES), npy(LABELS[:2]), "3 times for 2 labels"),
        (npy(np.array([1.0, np.nan, 3.0])), npy(LABELS), "can be counted with"),
        (npy(np.array([1.0, np.inf, 3.0])), npy(LABELS), "can be counted with"),
        (npy(np.array([1e300, 2.0, 3.0])), npy(LABELS), "can be counted with"),
        (npy(np.array([1, 2, 1 << 63], dtype="uint64")), npy(LABELS), "can be counted with"),
        (npy(-TIMES), npy(LABELS), "at frame -3, before the recording"),
        (npy(TIMES), npy(np.array([1.5, 1, 2])), "not all whole numbers"),
        (npy(TIMES), npy(np.array(["a", "b", "c"])), "not numbers"),
        (npy(TIMES), npy(np.array([True, False, True])), "not numbers"),
        (npy(TIMES)[:-1], npy(LABELS), "its header tells of"),
        (npy(TIMES).replace(b"(3,)", b"(9,)"), npy(LABELS), "its header tells of"),
        (npy(TIMES).replace(b"<i8", b"|O8"), npy(LABELS), "npy"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b"(" * 70_000, npy(LABELS), "no npy file"),
        (b"nothing", npy(LABELS), "no npy file"),
    ],
)
def test_arrays_that_are_no_spikes_are_refused(times: bytes, labels: bytes, reason: str, files: SharedFiles) -> None:
    links = files.add({"times.npy": times, "labels.npy": labels})
    data = {"times_npy_uri": links[0], "labels_npy_uri": links[1], "samplerate": RATE_HZ}
    assert reason in sorting_refusal({"sorting_format": "npy1", "data": data})


def test_a_pickle_in_an_npy_or_npz_never_runs(files: SharedFiles, canary: Canary) -> None:
    pickled = npy(np.array([canary], dtype=object))
    rate = npy(np.float64(RATE_HZ))
    in_npz = npz({"spike_indexes.npy": pickled, "spike_labels.npy": npy(LABELS), "sampling_frequency.npy": rate})
    times, packed = files.add({"times.npy": pickled, "sorting.npz": in_npz})
    data = {"times_npy_uri": times, "labels_npy_uri": times, "samplerate": RATE_HZ}
    assert "running code" in sorting_refusal({"sorting_format": "npy1", "data": data})
    assert "running code" in sorting_refusal({"sorting_format": "npy2", "data": {"npz_uri": packed}})


def test_an_npz_that_is_damaged_or_claims_too_much_is_refused(files: SharedFiles) -> None:
    rate, times, labels = npy(np.float64(RATE_HZ)), npy(TIMES), npy(LABELS)
    whole = {"spike_indexes.npy": times, "spike_labels.npy": labels, "sampling_frequency.npy": rate}
    good = npz(whole)
    cases = {
        "no zip": (b"no zip", "no npz file"),
        "cut": (good[: len(good) // 2], "no npz file"),
        "missing": (npz({"spike_indexes.npy": times}), "has no 'spike_labels'"),
        "rate": (npz({**whole, "sampling_frequency.npy": npy(np.float64(-1))}), "no rate in Hz"),
        "rates": (npz({**whole, "sampling_frequency.npy": times}), "no rate in Hz"),
        "crc": (good.replace(b"spike_labels", b"spike_lables", 1), "no npz file"),
        "bomb": (npz({**whole, "spike_indexes.npy": times[:64] + b"\0" * 50_000_000}), "npy"),
        "many": (npz({**whole, **{f"{index}": b"" for index in range(1001)}}), "more than 1000 files"),
    }
    links = files.add({f"{name}.npz": data for name, (data, _) in cases.items()})
    for link, (_, reason) in zip(links, cases.values(), strict=True):
        assert reason in sorting_refusal({"sorting_format": "npy2", "data": {"npz_uri": link}})


def test_a_member_that_lies_about_its_size_is_not_unpacked(files: SharedFiles) -> None:
    data = bytearray(npz({"spike_indexes.npy": b"\0" * 300_000_000}))
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 100)
    (link,) = files.add({"bomb.npz": bytes(data)})
    sorting_refusal({"sorting_format": "npy2", "data": {"npz_uri": link}})


def test_firings_that_are_none_are_refused(files: SharedFiles) -> None:
    two, flat, labels = files.add(
        {
            "two.mda": mda_bytes(np.zeros((2, 4))),
            "flat.mda": mda_bytes(np.zeros(4)),
            "labels.mda": mda_bytes(np.array([[0.0], [1.0], [1.5]])),
        }
    )
    assert "two.mda is 2 × 4; firings are 3 × spikes" in sorting_refusal(firings(two))
    assert "flat.mda is 4;" in sorting_refusal(firings(flat))
    assert "not all whole numbers" in sorting_refusal(firings(labels))


def test_a_merge_of_units_that_are_not_there_is_refused(files: SharedFiles) -> None:
    (link,) = files.add({"firings.mda": mda_bytes(np.array([[0.0], [1.0], [1.0]]))})
    curated = {"sorting_format": "curated", "data": {"sorting": firings(link), "merge_groups": [[1, 2]]}}
    assert "names the unit '2'" in sorting_refusal(curated)


def test_hdf5_that_is_damaged_or_reaches_out_of_itself_is_refused(files: SharedFiles, tmp_path: Path) -> None:
    def make(name: str, change: Callable[[Any], None]) -> Path:
        path = tmp_path / name
        write_h5_sorting(path, {1: [1, 2], 2: [3]})
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    def negative(file: Any) -> None:
        file["unit_spike_trains/1"][0] = -5

    def external(file: Any) -> None:
        del file["unit_spike_trains/1"]
        file["unit_spike_trains/1"] = h5py.ExternalLink("/etc/hostname", "/x")

    def elsewhere(file: Any) -> None:
        del file["unit_ids"]
        file.create_dataset("unit_ids", (2,), "i4", external=[("/etc/hostname", 0, 8)])

    def texts(file: Any) -> None:
        del file["unit_ids"]
        file["unit_ids"] = ["a", "b"]

    def huge(file: Any) -> None:
        del file["unit_ids"]
        file.create_dataset("unit_ids", (1 << 40,), "i4", chunks=(1024,))

    def missing(file: Any) -> None:
        del file["unit_spike_trains/2"]

    def twice(file: Any) -> None:
        file["unit_ids"][:] = [1, 1]

    def rate(file: Any) -> None:
        file["sampling_frequency"][:] = -1

    cases = {
        negative: "before the recording",
        external: "link to another file",
        elsewhere: "lie in another file",
        texts: "holds no numbers",
        huge: "bytes that are read",
        missing: "has no 'unit_spike_trains/2'",
        twice: "names a unit twice",
        rate: "no rate in Hz",
    }
    paths = [make(f"{change.__name__}.h5", change) for change in cases]
    for link, reason in zip(files.share(*paths), cases.values(), strict=True):
        assert reason in sorting_refusal({"sorting_format": "h5_v1", "data": {"h5_path": link}})
    data = paths[0].read_bytes()
    for name, damaged in (
        ("cut.h5", data[: len(data) // 2]),
        ("no.h5", b"nothing"),
        ("zeros.h5", data[:100] + bytes(900)),
    ):
        (link,) = files.add({name: damaged})
        sorting_refusal({"sorting_format": "h5_v1", "data": {"h5_path": link}})


def test_nwb_that_is_no_recording_or_no_sorting_is_refused(files: SharedFiles, tmp_path: Path) -> None:
    write_nwb(tmp_path / "two.nwb", {"a": samples(), "b": samples()})
    write_nwb(tmp_path / "index.nwb", {"a": samples()}, trains_s={1: [0.1, 0.2], 2: [0.3]})
    with h5py.File(tmp_path / "index.nwb", "r+") as file:
        file["units/spike_times_index"][:] = [3, 2]
    write_nwb(tmp_path / "early.nwb", {"a": samples()}, trains_s={1: [0.1]}, start_s=5.0)
    (tmp_path / "no.nwb").write_bytes(b"nothing")
    names = ("two.nwb", "index.nwb", "early.nwb", "no.nwb")
    two, index, early, no = files.share(*(tmp_path / name for name in names))
    missing = {"recording_format": "nwb", "data": {"path": two, "electrical_series_name": "c"}}
    assert "no electrical series 'c'" in recording_refusal(missing, kfs.InputError)
    recording_refusal(two, kfs.InputError)
    assert "no HDF5 file" in recording_refusal(no)
    assert "has no units" in sorting_refusal(two)
    assert "spike_times_index" in sorting_refusal(index)
    assert "before the recording" in sorting_refusal(early)
