"""`prefetch --time` of what share_recording shares: those seconds load and read when nobody serves any more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab_pairs import LabPair

import kacheryfs as kfs

si = pytest.importorskip("spikeinterface.core")

RATE_HZ, N_SECONDS, N_CHANNELS = 20_000, 30, 32
READ = """
import sys
import kacheryfs as kfs
recording = kfs.load_recording(sys.argv[1])
sys.stdout.buffer.write(recording.get_traces(start_frame=200_000, end_frame=220_000).tobytes())
"""


def make(folder: Path, format: str) -> Any:
    """Save a recording of noise, which doesn't compress: 38 MB."""
    samples = np.random.default_rng(5).integers(-2000, 2000, (N_SECONDS * RATE_HZ, N_CHANNELS), "<i2")
    recording = si.NumpyRecording([samples], RATE_HZ)
    return recording.save(folder=folder / f"{format}.rec", format=format, verbose=False, chunk_duration="1s")


def present_bytes(pair: LabPair) -> int:
    return sum(file["present_bytes"] for file in pair.bob.get_json("cache", "list"))


@pytest.mark.parametrize("format", ["binary", "zarr"])
def test_some_seconds_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    pair = LabPair(tmp_path, monkeypatch)
    recording = make(tmp_path, format)
    with pair.at(pair.alice):
        link = kfs.share_recording(recording)
    with pair.alice.serving() as url:
        pair.bob.get("peer", "add", url)
        assert pair.bob.get_json("prefetch", "--time", "10:11", link)["incomplete"] == []
    assert present_bytes(pair) < recording.get_total_memory_size() / 4
    environment = pair.bob.environment | {"KACHERYFS_READ_TIMEOUT": "1", "KACHERYFS_LOOKUP_TIMEOUT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", READ, link], env=environment, capture_output=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == recording.get_traces(start_frame=200_000, end_frame=220_000).tobytes()
