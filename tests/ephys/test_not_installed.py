"""Without h5py what doesn't stand in HDF5 is shared and loaded; for the rest the error says what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hdf5_kinds import write_mcs
from lab_pairs import LabPair
from recording_kinds import write_binary_folder, write_nwb

import kacheryfs as kfs

HINT = "pip install 'kacheryfs[spikeinterface]'"
SHARE_AND_LOAD = """
import sys
import numpy as np, spikeinterface.core as si, kacheryfs as kfs
original = si.load(sys.argv[1])
loaded = kfs.load_recording(kfs.share_recording(original))
np.testing.assert_array_equal(loaded.get_traces(segment_index=0), original.get_traces(segment_index=0))
"""
LOAD = """
import sys
import kacheryfs as kfs
for link in sys.argv[1:]:
    try:
        kfs.load_recording(link)
    except kfs.InputError as exc:
        print(exc)
"""


@pytest.fixture
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabPair:
    monkeypatch.setenv("HOME", str(tmp_path))
    return LabPair(tmp_path / "labs", monkeypatch)


def run_without(module: str, labs: LabPair, program: str, *arguments: str | Path) -> list[str]:
    """Run a program at alice's, where a module isn't installed; returns the lines that it printed."""
    absent = labs.folder / "absent"
    absent.mkdir(parents=True, exist_ok=True)
    (absent / f"{module}.py").write_text(f"raise ModuleNotFoundError('No module named {module}', name='{module}')\n")
    places = [str(absent), str(Path(kfs.__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**labs.alice.environment, "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_flat_recording_needs_no_h5py(labs: LabPair, tmp_path: Path) -> None:
    write_binary_folder(tmp_path)
    (folder,) = (path.parent for path in tmp_path.rglob("binary.json"))
    assert run_without("h5py", labs, SHARE_AND_LOAD, folder) == []


def test_what_else_is_shared_and_loaded_is_imported_without_h5py(labs: LabPair) -> None:
    rooms = "analyzers, collections, datasets, lineage, lineage_sortings, sortings"
    assert run_without("h5py", labs, f"from kacheryfs.ephys import {rooms}") == []


@pytest.mark.filterwarnings("ignore::UserWarning")  # neo, of what it reads
def test_without_h5py_loading_from_hdf5_says_what_to_install(labs: LabPair, tmp_path: Path) -> None:
    originals: list[Any] = [write_mcs(tmp_path), write_nwb(tmp_path)]
    with labs.at(labs.alice):
        links = [kfs.share_recording(original) for original in originals]
    lines = run_without("h5py", labs, LOAD, *links)
    assert len(lines) == len(links)
    assert all("h5py" in line and HINT in line for line in lines)


def test_without_spikeinterface_the_name_itself_says_what_to_install(labs: LabPair) -> None:
    (line,) = run_without("spikeinterface", labs, LOAD, "sha1dir://" + 40 * "0")
    assert line == f"kacheryfs.load_recording needs spikeinterface: {HINT}"
