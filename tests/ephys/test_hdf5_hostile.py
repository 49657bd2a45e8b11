"""HDF5 recordings that somebody made to read the reader's own files, or that aren't what their share says: refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hostile_shares import N_CHANNELS, N_FRAMES, HostileLab, describe, hostile_lab, layout, write_described

import kacheryfs as kfs

MCS = "spikeinterface.extractors.mcsh5extractors.MCSH5RecordingExtractor"
SECRET = np.arange(N_FRAMES * N_CHANNELS, dtype="<i2").reshape(N_FRAMES, N_CHANNELS)
Write = Callable[[h5py.File, Path], object]


@pytest.fixture(scope="module")
def whole_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileLab]:
    with hostile_lab(tmp_path_factory.mktemp("hostile")) as lab:
        yield lab


@pytest.fixture
def lab(whole_lab: HostileLab, monkeypatch: pytest.MonkeyPatch) -> HostileLab:
    monkeypatch.setenv("KACHERYFS_DIR", str(whole_lab.folder / "reader"))
    return whole_lab


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the reader's, with another beside it that holds nothing but samples."""
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = SECRET
    SECRET.tofile(tmp_path / "secret.bin")
    return tmp_path / "secret.h5"


def write(folder: Path, fill: Write, secret: Path, **segment: Any) -> Path:
    """Write a share of one HDF5 file, with a layout that is right for an honest one but for ``segment``."""
    honest = {"file": "x.h5", "datasets": ["/x"], "sign": 1, "added": 0, "offset_bytes": None} | segment
    described = layout(segment=honest)
    (place,) = described["segments"]
    if place["offset_bytes"] is None:
        del place["offset_bytes"]
    write_described(folder, described, recording=describe(MCS, {"file_path": "x.h5"}))
    with h5py.File(folder / "x.h5", "w") as file:
        fill(file, secret)
    return folder


def write_honest(file: h5py.File, _: Path) -> None:
    file.create_dataset("x", data=SECRET, chunks=(100, 2), compression="gzip")


def refusal(lab: HostileLab, folder: Path) -> str:
    with pytest.raises(kfs.KacheryError) as caught:
        kfs.load_recording(lab.share(folder))
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_an_honest_file_loads(lab: HostileLab, secret: Path, tmp_path: Path) -> None:
    loaded = kfs.load_recording(lab.share(write(tmp_path / "share", write_honest, secret)))
    assert np.array_equal(loaded.get_traces(), SECRET)


def test_an_honest_soft_link_is_followed(lab: HostileLab, secret: Path, tmp_path: Path) -> None:
    def fill(file: h5py.File, _: Path) -> None:
        file.create_dataset("there/y", data=SECRET, chunks=(100, 2))
        file["x"] = h5py.SoftLink("/there/y")

    assert np.array_equal(kfs.load_recording(lab.share(write(tmp_path / "s", fill, secret))).get_traces(), SECRET)


# -- out of the file -------------------------------------------------------------------------------------------------


def _external_link(file: h5py.File, secret: Path) -> None:
    file["x"] = h5py.ExternalLink(str(secret), "/x")


def _unused_external_link(file: h5py.File, secret: Path) -> None:
    write_honest(file, secret)
    file["deep/inside"] = h5py.ExternalLink(str(secret), "/x")


def _soft_link_to_an_external_one(file: h5py.File, secret: Path) -> None:
    file["y"] = h5py.ExternalLink(str(secret), "/")
    file["x"] = h5py.SoftLink("/y/x")


def _external_storage(file: h5py.File, secret: Path) -> None:
    where = [(str(secret.with_suffix(".bin")), 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("x", SECRET.shape, SECRET.dtype, external=where)


def _virtual(file: h5py.File, secret: Path) -> None:
    whole = h5py.VirtualLayout(SECRET.shape, SECRET.dtype)
    whole[:] = h5py.VirtualSource(str(secret), "x", SECRET.shape)
    file.create_virtual_dataset("x", whole)


OUT: dict[str, tuple[Write, str]] = {
    "an external link": (_external_link, "is a link to another file"),
    "an external link that nobody follows": (_unused_external_link, "is a link to another file"),
    "a soft link to an external one": (_soft_link_to_an_external_one, "is a link to another file"),
    "external storage": (_external_storage, "has its values in another file"),
    "a virtual dataset": (_virtual, "is put together from other files"),
}


@pytest.mark.parametrize("case", OUT)
def test_a_file_that_reads_the_readers_own_is_refused(case: str, lab: HostileLab, secret: Path, tmp_path: Path) -> None:
    fill, reason = OUT[case]
    folder = write(tmp_path / "share", fill, secret)
    with h5py.File(folder / "x.h5") as file:
        assert np.array_equal(file["x"][:], SECRET), "the attack is real: h5py alone would read it"
    assert reason in refusal(lab, folder)


# -- not what the share says -----------------------------------------------------------------------------------------


def _holding(**options: Any) -> Write:
    return lambda file, _: file.create_dataset("x", **options)


def _text(file: h5py.File, _: Path) -> None:
    file.create_dataset("x", data=np.full(SECRET.shape, "x", object), dtype=h5py.string_dtype())


def _unknown_filter(file: h5py.File, _: Path) -> None:
    packing = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    packing.set_chunk((100, 2))
    packing.set_filter(400, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple(SECRET.shape)
    h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_INT16, space, packing)


OTHERS: dict[str, tuple[Write, str]] = {
    "nothing": (lambda file, _: None, "has no dataset '/x'"),
    "a group": (lambda file, _: file.create_group("x"), "has no dataset '/x'"),
    "a link to nothing": (lambda file, _: file.__setitem__("x", h5py.SoftLink("/y")), "has no dataset '/x'"),
    "links in a circle": (
        lambda file, _: file.__setitem__("x", h5py.SoftLink("/x")),
        "is damaged: Special link traversal failed",
    ),
    "a number": (_holding(data=3), "not one of 4 columns"),
    "an empty one": (_holding(data=h5py.Empty("<i2")), "not one of 4 columns"),
    "three dimensions": (_holding(data=SECRET[None]), "not one of 4 columns"),
    "other columns": (_holding(data=SECRET[:, :3]), "not one of 4 columns"),
    "by channel": (_holding(data=SECRET.T), "not one of 4 columns"),
    "fewer frames": (_holding(data=SECRET[:-1]), f"has {N_FRAMES - 1} frames, but its description tells of"),
    "fewer frames in a row": (_holding(data=SECRET.ravel()[:-1]), f"has {N_FRAMES - 1} frames"),
    "fractions": (_holding(data=SECRET.astype("<f4")), "float32, of which no int16"),
    "records": (_holding(data=np.zeros(SECRET.shape, "i4,f8")), "of which no int16"),
    "references": (_holding(shape=SECRET.shape, dtype=h5py.ref_dtype), "of which no int16"),
    "texts": (_text, "of which no int16"),
    "huge chunks": (_holding(shape=(1 << 28, 4), dtype="<i2", chunks=(1 << 27, 4)), "chunks have 1,074 MB"),
    "an unknown filter": (_unknown_filter, "HDF5 filter 400"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_dataset_that_is_not_what_the_share_says_is_refused(
    case: str, lab: HostileLab, secret: Path, tmp_path: Path
) -> None:
    fill, reason = OTHERS[case]
    assert reason in refusal(lab, write(tmp_path / "share", fill, secret))


SEGMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "a relative path": ({"datasets": ["x"]}, "no paths in an HDF5 file"),
    "a NUL": ({"datasets": ["/x\0"]}, "no paths in an HDF5 file"),
    "a long path": ({"datasets": ["/" + "x" * 2000]}, "no paths in an HDF5 file"),
    "no dataset": ({"datasets": []}, "no paths in an HDF5 file"),
    "a dataset that is a number": ({"datasets": [3]}, "not text"),
    "datasets that are no list": ({"datasets": "/x"}, "not a list"),
    "other datasets than columns": ({"datasets": ["/x", "/x"]}, "2 datasets don't hold 4 columns"),
    "negative frames": ({"n_frames": -1}, "bounds"),
    "frames beyond counting": ({"n_frames": 1 << 52}, "tells of"),
    "a sign that is none": ({"sign": 3}, "neither 1 nor -1"),
    "a sign that is a truth": ({"sign": True}, "neither 1 nor -1"),
    "a fraction that is added": ({"added": 0.5}, "not an integer"),
    "a number beyond counting": ({"added": (1 << 53) + 1}, "bounds"),
    "an order that is none": ({"order": "K"}, "neither C nor F"),
    "a flat file, too": ({"offset_bytes": 0}, "unknown key 'offset_bytes'"),
    "a path out": ({"file": "../secret.h5"}, "refused"),
    "a file that isn't there": ({"file": "ghost.h5"}, "missing"),
    "a file that is no HDF5": ({"file": "r.dat"}, "is no HDF5 file"),
}


@pytest.mark.parametrize("case", SEGMENTS)
def test_a_segment_that_can_not_be_is_refused(case: str, lab: HostileLab, secret: Path, tmp_path: Path) -> None:
    changes, reason = SEGMENTS[case]
    assert reason in refusal(lab, write(tmp_path / "share", write_honest, secret, **changes))


def test_flat_segments_and_those_of_hdf5_do_not_mix(lab: HostileLab, secret: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "share", write_honest, secret)
    flat, (packed,) = layout(), layout(segment={"datasets": ["/x"], "sign": 1, "added": 0})["segments"]
    del packed["offset_bytes"]
    write_described(folder, flat | {"segments": [*flat["segments"], packed]})
    assert "lacks 'datasets'" in refusal(lab, folder)


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_is_a_proof_error_or_other_samples(
    seed: int, lab: HostileLab, secret: Path, tmp_path: Path
) -> None:
    """Whatever stands in the file: an error of ours in one line, and never a crash."""
    rng = np.random.default_rng(seed)
    for index in range(15):
        folder = write(tmp_path / f"share{index}", write_honest, secret)
        data = bytearray((folder / "x.h5").read_bytes())
        for place in rng.integers(8, len(data), 30):
            data[place] = rng.integers(256)
        (folder / "x.h5").write_bytes(data[: rng.integers(500, len(data) + 1)] if index % 3 == 0 else data)
        with contextlib.suppress(kfs.KacheryError):
            kfs.load_recording(lab.share(folder)).get_traces()
