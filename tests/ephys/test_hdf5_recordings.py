"""Recordings of HDF5 formats, read by h5py on the fetcher's file object: and equal to what the stock reader gives."""

from __future__ import annotations

import pickle
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import spikeinterface.core as si
from hdf5_kinds import (
    HDF5_KINDS,
    MEAREC,
    N_FRAMES,
    PACKED,
    counts,
    write_3brain_4,
    write_maxwell,
    write_mcs,
    write_mearec,
)
from lab_pairs import LabPair
from shared_trees import assert_equal_recordings, description_of, lay_out

import kacheryfs as kfs
from kacheryfs.app.embedded import get_fetcher
from kacheryfs.ephys import remote_datasets
from kacheryfs.ephys.remote_datasets import DatasetSamples, Stored
from kacheryfs.ephys.sharing_hdf5 import LocalFile

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # neo and probeinterface, of what they read


@pytest.fixture
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabPair:
    monkeypatch.setenv("HOME", str(tmp_path))
    return LabPair(tmp_path / "labs", monkeypatch)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def share(labs: LabPair, recording: Any) -> str:
    with labs.at(labs.alice):
        return kfs.share_recording(recording)


# -- every format ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HDF5_KINDS)
def test_without_a_mount_it_is_what_the_stock_reader_gives(
    kind: str, labs: LabPair, data: Path, tmp_path: Path
) -> None:
    original = HDF5_KINDS[kind](data)
    link = share(labs, original)
    with labs.at(labs.alice):
        assert_equal_recordings(si.load(lay_out(link, tmp_path / "mount"), base_folder=True), original)
    with labs.at_bob_with_alice_serving():
        loaded = kfs.load_recording(link)
        assert type(loaded).__name__ == "RemoteHdf5Recording"
        assert_equal_recordings(loaded, original, exact=True)
        assert_equal_spans(loaded, original)
        assert_equal_recordings(pickle.loads(pickle.dumps(loaded)), original, exact=True)


def assert_equal_spans(loaded: Any, original: Any) -> None:
    ids = original.channel_ids
    choices = [None, *(some for some in (ids[2::-2], ids[1:3], ids[[-1]], ids[::3]) if len(some))]
    for start, stop in ((0, 1), (511, 1025), (1990, 2000), (700, 700)):
        for some in choices:
            span = {"start_frame": start, "end_frame": stop, "segment_index": 0, "channel_ids": some}
            assert np.array_equal(loaded.get_traces(**span), original.get_traces(**span))


def test_mearec_is_read_without_its_library(
    labs: LabPair, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "MEArec.py").write_text(MEAREC)
    monkeypatch.syspath_prepend(library)
    original = write_mearec(data)
    link = share(labs, original)
    monkeypatch.setitem(sys.modules, "MEArec", None)
    with labs.at_bob_with_alice_serving():
        loaded = kfs.load_recording(link)
        assert_equal_recordings(loaded, original, exact=True)
        assert_equal_spans(loaded, original)


def test_a_chain_over_it_is_shared_again_by_reference(labs: LabPair, data: Path, tmp_path: Path) -> None:
    for kind in ("mcs", "3brain upside down", "nix"):
        folder = data / kind
        folder.mkdir()
        first = share(labs, HDF5_KINDS[kind](folder))
        with labs.at(labs.alice):
            loaded = kfs.load_recording(first)
            made = loaded.select_channels(loaded.channel_ids[[2, 0]])
            second = kfs.share_recording(made, label="again")
            assert_equal_recordings(kfs.load_recording(second), made, exact=True)
            assert description_of(second).binary[0].is_hdf5
            assert_equal_recordings(si.load(lay_out(second, tmp_path / f"mount {kind}"), base_folder=True), made)


# -- threads and processes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mcs", "nix"])
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_processes_of_spikeinterface_read_it_side_by_side(
    kind: str, context: str, labs: LabPair, data: Path, tmp_path: Path
) -> None:
    original = si.select_segment_recording(HDF5_KINDS[kind](data), [0])
    link = share(labs, original)
    with labs.at_bob_with_alice_serving():
        loaded = kfs.load_recording(link)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 on: a fork of a process with threads
            saved = loaded.save(
                folder=tmp_path / "out", n_jobs=2, mp_context=context, chunk_size=500, progress_bar=False
            )
        assert np.array_equal(saved.get_traces(), original.get_traces())


@pytest.mark.parametrize("kind", ["mcs", "mcs, one after the other", "nix"])
def test_threads_read_it_side_by_side(kind: str, labs: LabPair, data: Path) -> None:
    original = HDF5_KINDS[kind](data)
    expected = original.get_traces(segment_index=0)
    link = share(labs, original)
    wrong: list[object] = []

    def read(recording: Any, seed: int) -> None:
        try:
            for start in np.random.default_rng(seed).integers(0, N_FRAMES - 100, 40):
                found = recording.get_traces(start_frame=start, end_frame=start + 100, segment_index=0)
                if not np.array_equal(found, expected[start : start + 100]):
                    wrong.append(start)
        except BaseException as exc:
            wrong.append(exc)

    with labs.at_bob_with_alice_serving():
        recordings = [kfs.load_recording(link), kfs.load_recording(link)]
        threads = [threading.Thread(target=read, args=(recordings[seed % 2], seed)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert wrong == []


# -- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.expects_warnings
@pytest.mark.parametrize("how", [{"chunks": (4, 4096)} | PACKED, {}], ids=["packed", "one after the other"])
def test_a_lost_peer_is_an_error_that_names_it(how: dict[str, Any], labs: LabPair, data: Path) -> None:
    original = write_mcs(data, n_frames=400_000, **how)
    link = share(labs, original)
    for name in ("READ", "LOOKUP"):
        labs.monkeypatch.setenv(f"KACHERYFS_{name}_TIMEOUT", "1")
    with labs.alice.serving() as url:
        labs.bob.get("peer", "add", url)
        labs.monkeypatch.setenv("KACHERYFS_DIR", str(labs.bob.folder))
        loaded = kfs.load_recording(link)
    try:
        with pytest.raises(kfs.KacheryError, match=url.removeprefix("http://")):
            loaded.get_traces(start_frame=200_000, end_frame=203_000)
    finally:
        get_fetcher().close()


def test_a_filter_that_is_missing_here_is_named(labs: LabPair, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = share(labs, write_maxwell(data, chunks=(4, 300), **PACKED))
    monkeypatch.setattr("h5py.h5z.filter_avail", lambda number: number != h5py.h5z.FILTER_DEFLATE)
    with labs.at(labs.alice), pytest.raises(kfs.InputError, match=r"HDF5 filter 1 .*deflate.* HDF5_PLUGIN_PATH"):
        kfs.load_recording(link)


def test_3brains_events_are_read_through_a_mount_alone_and_both_sides_say_so(
    labs: LabPair, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    original = write_3brain_4(data, is_sparse=True)
    assert original.get_traces(start_frame=300, end_frame=302)[:, 1].tolist() == [2000, 2001]
    link = share(labs, original)
    assert "load_recording will need a mount for this BiocamRecordingExtractor" in capfd.readouterr().err
    with labs.at(labs.alice):
        assert_equal_recordings(si.load(lay_out(link, tmp_path / "mount"), base_folder=True), original)
        with pytest.raises(kfs.MountError, match=r"BiocamRecordingExtractor.*kacheryfs mount"):
            kfs.load_recording(link)


def test_maxwells_plugin_is_not_fetched_for_a_share(labs: LabPair, data: Path) -> None:
    """Its reader would download and load a library unless it is told not to, in the replay and from a mount."""
    link = share(labs, write_maxwell(data))
    with labs.at(labs.alice):
        described = (lay_out(link, data / "mount")).read_text()
    assert '"install_maxwell_plugin":false' in described


def test_a_file_of_another_format_by_itself_says_what_to_do(labs: LabPair, data: Path) -> None:
    write_mcs(data)
    link = labs.alice.get("share", data / "rec.h5")
    with labs.at(labs.alice), pytest.raises(kfs.KacheryError, match="share_recording"):
        kfs.load_recording(link)


# -- samples ---------------------------------------------------------------------------------------------------------

SHAPES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "by frame": (lambda samples: samples, "C"),
    "by channel": (lambda samples: samples.T, "F"),
    "in a row": (lambda samples: samples.ravel(), "C"),
}
CHUNKS = [None, 7, 64]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[h5py.File]:
    with h5py.File(tmp_path / "x.h5", "w") as opened:
        yield opened


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("columns", [None, [0], [8, 1, 1], list(range(9)), []])
@pytest.mark.parametrize("span", [(0, 100), (7, 8), (50, 50), (90, 500), (-5, 3)])
def test_samples_are_those_of_the_array(
    shape: str,
    chunk: int | None,
    columns: list[int] | None,
    span: tuple[int, int],
    file: h5py.File,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_datasets, "PIECE_BYTES", 500)
    array = np.arange(900, dtype=">u2").reshape(100, 9)
    arrange, order = SHAPES[shape]
    stored = arrange(array)
    chunks = (
        None if chunk is None else tuple(min(chunk // (2 if axis else 1), n) for axis, n in enumerate(stored.shape))
    )
    dataset = file.create_dataset("x", data=stored, chunks=chunks)
    file.flush()
    with LocalFile(file.filename) as local:
        one = Stored.of(dataset, local, 9, order)  # type: ignore[arg-type]
        assert (one.flat is None) == (chunk is not None)
        samples = DatasetSamples((one,), np.dtype("<i2"), 9, 100, -1, 4096)
        found = samples.read(*span, columns)
    expected = (4096 - array.astype("<i2"))[max(span[0], 0) : span[1]]
    assert found.dtype == np.dtype("<i2")
    assert np.array_equal(found, expected if columns is None else expected[:, columns])


def test_whole_numbers_wrap_around_as_in_the_readers(file: h5py.File) -> None:
    dataset = file.create_dataset("x", data=np.array([0, 1, 32768, 65535], "<u2"), chunks=(2,))
    samples = DatasetSamples((Stored(dataset, None, 1, "C"),), np.dtype("<i2"), 1, 4, 1, -32768)  # type: ignore[arg-type]
    assert samples.read(0, 4, None)[:, 0].tolist() == [-32768, -32767, 0, 32767]


def test_each_chunk_is_unpacked_once(file: h5py.File, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two channels at the ends of 32, in chunks of four: two of the eight rows of chunks, and nothing between them."""
    dataset = file.create_dataset("x", data=counts(1000, 32).T, chunks=(4, 100), **PACKED)
    stored = Stored.of(dataset, None, 32, "F")  # type: ignore[arg-type]
    loaded: list[tuple[int, int, int, int]] = []
    load = Stored._load
    monkeypatch.setattr(remote_datasets, "PIECE_BYTES", 4 * 2 * 450)
    monkeypatch.setattr(Stored, "_load", lambda self, *span: loaded.append(span) or load(self, *span))
    assert np.array_equal(stored.read(50, 950, [31, 0]), counts(1000, 32)[50:950, [31, 0]])
    assert loaded == [
        (start, stop, column, column + 1) for column in (0, 31) for start, stop in ((50, 400), (400, 800), (800, 950))
    ]
