"""A shared recording, loaded in another lab without a mount, is the original: between two processes, over HTTP."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spikeinterface.core as si
import spikeinterface.extractors as se
import spikeinterface.preprocessing as sp
from hostile_shares import describe, write_description, write_nwb
from lab_pairs import LabPair

import kacheryfs as kfs
from kacheryfs.app.embedded import get_fetcher
from kacheryfs.ephys.remote_samples import Samples

REAL_INPUTS = Path(__file__).resolve().parents[3] / "shared" / "data"
"""Beside the repository; not part of it."""
LOCUST = REAL_INPUTS / "locust" / "locust_trial_01.raw"
RATE_HZ = 10_000.0
N_CHANNELS, N_FRAMES = 8, 20_000


@pytest.fixture
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabPair:
    return LabPair(tmp_path / "labs", monkeypatch)


def share(labs: LabPair, recording: Any) -> str:
    with labs.at(labs.alice), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kfs.share_recording(recording)


def assert_same(loaded: Any, original: Any) -> None:
    assert loaded.get_dtype() == original.get_dtype()
    assert loaded.channel_ids.dtype == original.channel_ids.dtype
    assert loaded.channel_ids.tolist() == original.channel_ids.tolist()
    assert loaded.sampling_frequency == original.sampling_frequency
    assert loaded._annotations == original._annotations
    assert set(loaded.get_property_keys()) == set(original.get_property_keys())
    for key in original.get_property_keys():
        ours, theirs = loaded.get_property(key), original.get_property(key)
        assert ours.dtype == theirs.dtype, key
        assert np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"), key
    assert loaded.has_probe() == original.has_probe()
    if original.has_probe():
        ours, theirs = loaded.get_probegroup().to_dict(array_as_list=True), original.get_probegroup().to_dict(True)
        assert ours == theirs
    assert loaded.get_num_segments() == original.get_num_segments()
    for segment in range(original.get_num_segments()):
        assert_same_segment(loaded, original, segment)


def assert_same_segment(loaded: Any, original: Any, segment: int) -> None:
    n_frames = original.get_num_samples(segment)
    assert loaded.get_num_samples(segment) == n_frames
    assert np.array_equal(loaded.get_times(segment), original.get_times(segment))
    some = original.channel_ids[[2, 0]]
    for start, stop, ids in ((0, n_frames, None), (n_frames // 3, n_frames // 3 + 90, None), (100, 400, some)):
        span = {"start_frame": start, "end_frame": stop, "segment_index": segment, "channel_ids": ids}
        assert np.array_equal(loaded.get_traces(**span), original.get_traces(**span))


# -- recordings ------------------------------------------------------------------------------------------------------


def make_binary(folder: Path, *, n_segments: int = 1, order: str = "C") -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(4)
    paths = []
    for index in range(n_segments):
        path = folder / f"seg{index}.dat"
        path.write_bytes(b"HEAD" + rng.integers(-500, 500, (N_FRAMES + index, N_CHANNELS), dtype="<i2").tobytes())
        paths.append(path)
    recording = se.read_binary(
        paths, RATE_HZ, "int16", N_CHANNELS, file_offset=4, gain_to_uV=0.195, offset_to_uV=-3.0, is_filtered=False
    )
    recording.set_dummy_probe_from_locations(np.array([[0.0, 20.0 * i] for i in range(N_CHANNELS)]))
    recording.set_property("inter_sample_shift", np.arange(N_CHANNELS) / N_CHANNELS)
    recording.set_property("brain_area", np.array([f"CA{i}" for i in range(N_CHANNELS)]))
    recording.annotate(experiment={"rat": 7, "notes": ["a", None]})
    return recording


def make_saved(folder: Path, save_format: str) -> Any:
    where = folder / ("saved.zarr" if save_format == "zarr" else "saved")
    return make_binary(folder).save(format=save_format, folder=where, progress_bar=False)


def make_chain(folder: Path) -> Any:
    recording = sp.common_reference(sp.phase_shift(sp.bandpass_filter(make_binary(folder), freq_max=4000)))
    return si.concatenate_recordings([recording, recording.frame_slice(100, 900)]).select_channels([5, 1, 2])


def make_timed(folder: Path) -> Any:
    recording = make_binary(folder)
    recording.set_times(np.cumsum(np.random.default_rng(1).random(N_FRAMES)) + 3.5)
    return recording


def make_shifted(folder: Path) -> Any:
    recording = make_binary(folder, n_segments=2)
    recording.shift_times(12.25, segment_index=1)
    return recording


def make_aggregate(folder: Path) -> Any:
    one = make_binary(folder / "one")
    other = make_binary(folder / "two").rename_channels([f"x{i}" for i in range(N_CHANNELS)])
    return si.aggregate_channels([one.rename_channels([f"y{i}" for i in range(N_CHANNELS)]), other])


def make_nwb(folder: Path) -> Any:
    folder.mkdir(parents=True)
    return se.read_nwb_recording(write_nwb(folder / "x.nwb", n_frames=5000))


def make_silenced(folder: Path) -> Any:
    return sp.silence_periods(make_binary(folder), list_periods=[[[100, 200], [300, 350]]])


RECORDINGS: dict[str, Callable[[Path], Any]] = {
    "binary": make_binary,
    "several segments": lambda folder: make_binary(folder, n_segments=3),
    "binary folder": lambda folder: make_saved(folder, "binary"),
    "zarr": lambda folder: make_saved(folder, "zarr"),
    "nwb": make_nwb,
    "filtered nwb": lambda folder: sp.bandpass_filter(make_nwb(folder), freq_min=300, freq_max=450),
    "chain": make_chain,
    "times": make_timed,
    "shifted times": make_shifted,
    "aggregate": make_aggregate,
    "renamed channels": lambda folder: make_binary(folder).rename_channels([f"{i}#AP" for i in range(N_CHANNELS)]),
    "appended": lambda folder: si.append_recordings([make_binary(folder / "1"), make_binary(folder / "2")]),
    "whitened": lambda folder: sp.whiten(make_binary(folder), dtype="float32", seed=0),
    "z-scored": lambda folder: sp.zscore(make_binary(folder), seed=0),
    "silenced": make_silenced,
    "halved rate": lambda folder: sp.decimate(sp.rectify(sp.scale(make_binary(folder), gain=2.0)), 2),
}


@pytest.mark.parametrize("kind", RECORDINGS)
def test_a_loaded_recording_is_the_original(kind: str, labs: LabPair, tmp_path: Path) -> None:
    original = RECORDINGS[kind](tmp_path / "data")
    link = share(labs, original)
    with labs.at_bob_with_alice_serving():
        loaded = kfs.load_recording(link)
        assert_same(loaded, original)
        if kind != "whitened":  # SpikeInterface's own pickle makes its float32 matrix one of float64
            assert_same(pickle.loads(pickle.dumps(loaded)), original)


def test_the_real_locust_recording_is_the_original(labs: LabPair) -> None:
    if not LOCUST.exists():
        pytest.skip("the real locust recording (shared/data beside the repository) is absent")
    original = sp.bandpass_filter(se.read_binary(LOCUST, 15_000.0, "int16", 4, gain_to_uV=1.0, offset_to_uV=0.0))
    link = share(labs, original)
    with labs.at_bob_with_alice_serving():
        assert_same(kfs.load_recording(link), original)


@pytest.mark.parametrize("spelling", ["{}", "  {}\n", "{}/", "{}/recording.json", "{}/kacheryfs.json"])
def test_any_spelling_of_the_link_loads(spelling: str, labs: LabPair, tmp_path: Path) -> None:
    original = make_binary(tmp_path / "data")
    link = spelling.format(share(labs, original))
    with labs.at(labs.alice):
        assert_same(kfs.load_recording(link), original)
        assert_same(kfs.load_recording(link.replace("://", ":/")), original)


def test_a_folder_that_holds_saved_recordings_gives_each(labs: LabPair, tmp_path: Path) -> None:
    """Plain `kacheryfs share` of what SpikeInterface saved, without share_recording."""
    saved = {name: make_saved(tmp_path / "data", name) for name in ("binary", "zarr")}
    nwb = make_nwb(tmp_path / "data" / "nwb")
    link = labs.alice.get("share", tmp_path / "data")
    with labs.at_bob_with_alice_serving():
        for name, path in (("binary", "saved"), ("zarr", "saved.zarr")):
            assert_same(kfs.load_recording(f"{link}/{path}"), saved[name])
        assert_same(kfs.load_recording(f"{link}/nwb/x.nwb"), nwb)


# -- what is fetched -------------------------------------------------------------------------------------------------


def stored_bytes(labs: LabPair) -> int:
    return sum(path.stat().st_blocks * 512 for path in labs.bob.folder.rglob("*") if path.is_file())


def test_opening_reads_nothing_of_the_samples(labs: LabPair, tmp_path: Path) -> None:
    """385 channels, 17 s: of 393 MB opening and 90 frames take less than 1.5, and a second of 23.1 MB less than 26."""
    path = tmp_path / "large.dat"
    with path.open("wb") as file:
        file.truncate(385 * 510_000 * 2)
        file.seek(385 * 2 * 300_000)
        file.write(np.arange(385 * 90, dtype="<u2").tobytes())
    original = se.read_binary(path, 30_000.0, "int16", 385, gain_to_uV=2.34, offset_to_uV=0.0)
    link = share(labs, sp.common_reference(original))
    with labs.at_bob_with_alice_serving():
        loaded = kfs.load_recording(link)
        assert loaded.get_num_samples() == 510_000
        assert stored_bytes(labs) < 400_000
        assert loaded.get_traces(start_frame=300_000, end_frame=300_090).shape == (90, 385)
        assert stored_bytes(labs) < 1_500_000
        assert loaded.get_traces(start_frame=0, end_frame=30_000).shape == (30_000, 385)
        assert stored_bytes(labs) < 26_000_000, "a second of 23.1 MB, and nothing ahead of it"


# -- other processes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["chain", "binary folder", "zarr", "nwb"])
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_processes_of_spikeinterface_read_it_side_by_side(
    kind: str, context: str, labs: LabPair, tmp_path: Path
) -> None:
    original = RECORDINGS[kind](tmp_path / "data")
    link = share(labs, original)
    with labs.at_bob_with_alice_serving():
        loaded = kfs.load_recording(link)
        chunks = {"chunk_size": 3000, "progress_bar": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 on: a fork of a process with threads
            saved = loaded.save(folder=tmp_path / "out", n_jobs=2, mp_context=context, **chunks)
        expected = original.save(format="memory", sharedmem=False, n_jobs=1, **chunks)
        assert np.array_equal(saved.get_traces(), expected.get_traces())


def test_a_loaded_recording_is_written_as_json_and_loads_from_it(labs: LabPair, tmp_path: Path) -> None:
    original = make_chain(tmp_path / "data")
    link = share(labs, original)
    with labs.at(labs.alice):
        kfs.load_recording(link).dump(tmp_path / "loaded.json")
        assert np.array_equal(si.load(tmp_path / "loaded.json").get_traces(), original.get_traces())


def test_a_program_that_ends_with_an_open_nwb_file_ends_well(labs: LabPair, tmp_path: Path) -> None:
    """HDF5 would ask a Python that is gone, and crash."""
    link = share(labs, make_nwb(tmp_path / "data"))
    program = "import sys, kacheryfs as kfs; r = kfs.load_recording(sys.argv[1]); print(r.get_traces().shape)"
    done = subprocess.run(
        [sys.executable, "-c", program, link],
        env={**os.environ, **labs.alice.environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "(5000, 4)\n"), done.stderr


# -- what goes wrong -------------------------------------------------------------------------------------------------


def impatient(labs: LabPair) -> None:
    labs.monkeypatch.setenv("KACHERYFS_READ_TIMEOUT", "1")
    labs.monkeypatch.setenv("KACHERYFS_LOOKUP_TIMEOUT", "1")


@pytest.mark.parametrize("kind", ["binary", "nwb", "zarr"])
@pytest.mark.expects_warnings
def test_a_lost_peer_is_an_error_that_names_it(kind: str, labs: LabPair, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    if kind == "nwb":
        folder.mkdir()
        original = se.read_nwb_recording(write_nwb(folder / "x.nwb", n_frames=400_000))
    else:
        original = RECORDINGS[kind](folder)
    link = share(labs, original)
    impatient(labs)
    with labs.alice.serving() as url:
        labs.bob.get("peer", "add", url)
        labs.monkeypatch.setenv("KACHERYFS_DIR", str(labs.bob.folder))
        loaded = kfs.load_recording(link)
    try:
        with pytest.raises(kfs.KacheryError, match=url.removeprefix("http://")):
            loaded.get_traces(start_frame=original.get_num_frames() - 3000)
    finally:
        get_fetcher().close()


@pytest.mark.expects_warnings
@pytest.mark.parametrize("harm", ["changed", "deleted", "shortened"])
def test_an_original_that_is_gone_is_an_error_on_both_sides(harm: str, labs: LabPair, tmp_path: Path) -> None:
    link = share(labs, make_binary(tmp_path / "data"))
    path = tmp_path / "data" / "seg0.dat"
    data = path.read_bytes()
    path.unlink()
    if harm != "deleted":
        path.write_bytes(bytes(len(data)) if harm == "changed" else data[:1000])
    impatient(labs)
    with labs.at(labs.alice):
        ours = kfs.load_recording(link)
        with pytest.raises(kfs.KacheryError) as caught:
            ours.get_traces()
        assert "\n" not in str(caught.value)
    with labs.at_bob_with_alice_serving():
        theirs = kfs.load_recording(link)
        with pytest.raises(kfs.KacheryError) as caught:
            theirs.get_traces()
        assert "\n" not in str(caught.value)


def test_a_link_to_something_else_says_what_to_do(labs: LabPair, tmp_path: Path) -> None:
    folder = tmp_path / "glx"
    folder.mkdir()
    (folder / "p2_g0_t0.imec0.ap.meta").write_text("fileName=x\n")
    (folder / "notes.txt").write_text("hello, this is no recording")
    glx, plain = labs.alice.get("share", folder), labs.alice.get("share", folder / "notes.txt")
    with labs.at(labs.alice):
        with pytest.raises(kfs.InputError, match=r"plain SpikeGLX folder.*share_recording"):
            kfs.load_recording(glx)
        with pytest.raises(kfs.InputError, match="one file and no recording"):
            kfs.load_recording(plain)
        with pytest.raises(kfs.NotFoundError, match="not in the folder"):
            kfs.load_recording(f"{glx}/nothing")
        with pytest.raises(kfs.LinkError):
            kfs.load_recording("/data/recording")
        with pytest.raises(kfs.LinkError, match=r"a link is text.*not a PosixPath"):
            kfs.load_recording(folder)  # type: ignore[arg-type]


# -- what needs the mount --------------------------------------------------------------------------------------------


def test_without_a_mount_the_error_says_that_one_would_do(labs: LabPair, tmp_path: Path) -> None:
    name = "spikeinterface.extractors.neoextractors.spikeglx.SpikeGLXRecordingExtractor"
    folder = write_description(tmp_path / "data", describe(name, {"folder_path": ".", "stream_id": "imec0.ap"}))
    link = labs.alice.get("share", folder)
    with labs.at(labs.alice), pytest.raises(kfs.MountError, match=r"SpikeGLXRecordingExtractor.*kacheryfs mount"):
        kfs.load_recording(link)


@pytest.mark.kernel
def test_with_a_mount_spikeinterfaces_own_reader_reads_below_it(labs: LabPair, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    samples = np.random.default_rng(2).integers(-90, 90, (1000, 4), dtype="<i2")
    dimensions = np.array([-4, 2, 2, 4, 1000], "<i4")
    (folder / "raw.mda").write_bytes(dimensions.tobytes() + samples.tobytes())
    (folder / "params.json").write_text('{"samplerate": 10000}')
    np.savetxt(folder / "geom.csv", np.arange(8).reshape(4, 2) * 20.0, delimiter=",")
    original = se.read_mda_recording(folder)
    name = "spikeinterface.extractors.mdaextractors.MdaRecordingExtractor"
    write_description(folder, describe(name, {"folder_path": "."}))
    link = labs.alice.get("share", folder)
    mountpoint = tmp_path / "mnt"
    with labs.at_bob_with_alice_serving(), labs.bob.mounted(mountpoint):
        loaded = kfs.load_recording(link)
        assert type(loaded).__name__ == "MdaRecordingExtractor"
        assert str(mountpoint) in loaded._kwargs["folder_path"]
        assert np.array_equal(loaded.get_traces(), original.get_traces())
        del loaded


# -- samples ---------------------------------------------------------------------------------------------------------


class _Memory:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.n_read = 0

    def pread_into(self, offset: int, buffer: memoryview) -> int:
        found = self.data[offset : offset + len(buffer)]
        buffer[: len(found)] = found
        self.n_read += len(found)
        return len(found)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("columns", [None, [0], [4, 1, 1], list(range(5)), []])
@pytest.mark.parametrize("span", [(0, 100), (7, 8), (50, 50), (90, 500), (-5, 3)])
def test_samples_are_those_of_the_array(order: Any, columns: list[int] | None, span: tuple[int, int]) -> None:
    array = np.arange(500, dtype=">i4").reshape(100, 5)
    file = _Memory(b"x" * 11 + array.tobytes(order=order))
    samples = Samples(array.dtype, 5, 100, 11, order)
    found = samples.read(file, *span, columns)
    expected = array[max(span[0], 0) : span[1]]
    assert np.array_equal(found, expected if columns is None else expected[:, columns])
    if order == "F":
        assert file.n_read == found.nbytes, "a channel by itself brings no other along"


def test_the_first_channel_that_fails_ends_the_read() -> None:
    with pytest.raises(kfs.ProofError, match="shorter"):
        Samples(np.dtype("<i2"), 50, 100, order="F").read(_Memory(bytes(2000)), 0, 100, None)


def test_a_file_that_is_too_short_is_an_error() -> None:
    with pytest.raises(kfs.ProofError, match="shorter"):
        Samples(np.dtype("<i2"), 2, 100).read(_Memory(bytes(10)), 0, 100, None)


def test_large_spans_are_read_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kacheryfs.ephys.remote_samples.CHUNK_BYTES", 64)
    array = np.arange(500, dtype="<i2").reshape(100, 5)
    samples = Samples(array.dtype, 5, 100)
    for columns in (None, [3, 0]):
        expected = array if columns is None else array[:, columns]
        assert np.array_equal(samples.read(_Memory(array.tobytes()), 0, 100, columns), expected)
