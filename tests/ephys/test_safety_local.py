"""Sharing a folder that somebody else made runs none of its code, and offers no file but its own."""

from __future__ import annotations

import json
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import spikeinterface.core as si
import zarr
from hostile_shares import N_CHANNELS, N_FRAMES, RATE_HZ, Canary
from running_peers import Peer

from kacheryfs.ephys.safety_local import check_saved_folder
from kacheryfs.errors import InputError


def save(folder: Path, save_format: str = "binary") -> Path:
    samples = np.random.default_rng(3).integers(-9, 9, (N_FRAMES, N_CHANNELS)).astype("<i2")
    recording = si.NumpyRecording([samples], RATE_HZ)
    recording.set_property("q", np.arange(N_CHANNELS))
    recording.save(format=save_format, folder=folder, progress_bar=False)
    return folder


def pickled_property(folder: Path, canary: Path) -> None:
    objects = np.array([Canary(canary)] + [None] * (N_CHANNELS - 1), dtype=object)
    np.save(folder / "properties/evil.npy", objects, allow_pickle=True)


def bare_pickle(folder: Path, canary: Path) -> None:
    import pickle

    (folder / "properties/evil.npy").write_bytes(pickle.dumps(Canary(canary)))


def foreign_file(folder: Path, canary: Path) -> None:
    described = json.loads((folder / "binary.json").read_text())
    described["kwargs"]["file_paths"] = [str(canary)]
    (folder / "binary.json").write_text(json.dumps(described))


def pickle_codec(folder: Path, canary: Path) -> None:
    group = zarr.open(str(folder), mode="r+")
    evil = group.create_dataset("properties/evil", shape=(1,), dtype=object, object_codec=numcodecs.Pickle())
    evil[0] = Canary(canary)


@pytest.mark.parametrize("attack", [pickled_property, bare_pickle, foreign_file, pickle_codec])
def test_a_folder_that_would_run_code_is_shared_as_files_alone(attack: object, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    folder = save(
        tmp_path / ("x.zarr" if attack is pickle_codec else "x"), "zarr" if attack is pickle_codec else "binary"
    )
    assert callable(attack)
    attack(folder, canary)
    with pytest.raises(InputError, match="is not opened"):
        check_saved_folder(folder)
    done = Peer(tmp_path / "peer").run("share", folder).success
    assert done.stdout.startswith(b"sha1dir://")
    assert "is not opened" in done.stderr
    assert not canary.exists()


def test_a_class_that_the_folder_names_is_not_looked_at(tmp_path: Path) -> None:
    folder, canary = save(tmp_path / "x"), tmp_path / "canary"
    described = json.loads((folder / "si_folder.json").read_text())
    described |= {"class": "posix.system", "kwargs": {"command": f"touch {canary}"}}
    (folder / "si_folder.json").write_text(json.dumps(described))
    Peer(tmp_path / "peer").run("share", folder)
    assert not canary.exists()


@pytest.mark.parametrize("save_format", ["binary", "zarr"])
def test_what_spikeinterface_saved_is_harmless(save_format: str, tmp_path: Path) -> None:
    check_saved_folder(save(tmp_path / ("x.zarr" if save_format == "zarr" else "x"), save_format))
