"""A shared recording is loaded from a mount by stock SpikeInterface, in a process that knows nothing of kacheryfs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spikeinterface as si
import spikeinterface.extractors as se
import spikeinterface.preprocessing as sp
from system_labs import Lab, MakeLab, Mount
from test_system_spikeinterface import LOCUST, LOCUST_FORMAT, META, write_plain_meta, write_spikeglx, write_tetrode

pytestmark = pytest.mark.kernel

STOCK = """
import hashlib, json, sys
import numpy as np
import spikeinterface as si
recording = si.load(sys.argv[1], base_folder=True)
assert not [name for name in sys.modules if name.startswith("kacheryfs")]
digests = []
for index in range(recording.get_num_segments()):
    n_frames = recording.get_num_samples(index)
    for start in range(0, n_frames, 10_000):
        traces = recording.get_traces(segment_index=index, start_frame=start, end_frame=min(start + 10_000, n_frames))
        digests.append(hashlib.sha1(np.ascontiguousarray(traces).tobytes()).hexdigest())
about = {
    "digests": digests,
    "ids": recording.channel_ids.tolist(),
    "gains": recording.get_channel_gains().tolist() if recording.has_scaleable_traces() else None,
    "locations": recording.get_channel_locations().tolist() if recording.has_probe() else None,
    "starts": [recording.get_start_time(index) for index in range(recording.get_num_segments())],
    "keys": sorted(recording.get_property_keys()),
}
print(json.dumps(about))
"""
SHARE = """
import sys
import spikeinterface as si, spikeinterface.preprocessing as sp
import kacheryfs as kfs
recording = si.load(sys.argv[1], base_folder=True)
print(kfs.share_recording(sp.common_reference(recording), label="again"))
"""


def run(lab: Lab, program: str, *args: str | Path) -> str:
    argv = [sys.executable, "-W", "ignore", "-c", program, *map(str, args)]
    done = subprocess.run(argv, env=lab.environment, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def share_recording(lab: Lab, recording: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    from kacheryfs.ephys.sharing import share_recording as share

    monkeypatch.setenv("KACHERYFS_DIR", lab.environment["KACHERYFS_DIR"])
    link = share(recording)
    monkeypatch.delenv("KACHERYFS_DIR")
    return link


def about(recording: Any) -> dict[str, Any]:
    """Return what STOCK prints, of a recording in this process."""
    digests = []
    for index in range(recording.get_num_segments()):
        traces = recording.get_traces(segment_index=index)
        digests += [
            hashlib.sha1(np.ascontiguousarray(traces[start : start + 10_000]).tobytes()).hexdigest()
            for start in range(0, len(traces), 10_000)
        ]
    return {
        "digests": digests,
        "ids": recording.channel_ids.tolist(),
        "gains": recording.get_channel_gains().tolist() if recording.has_scaleable_traces() else None,
        "locations": recording.get_channel_locations().tolist() if recording.has_probe() else None,
        "starts": [recording.get_start_time(index) for index in range(recording.get_num_segments())],
        "keys": sorted(recording.get_property_keys()),
    }


def recording_json(mount: Mount, link: str) -> Path:
    """Return the path that the README tells: sha1dir/H/recording.json."""
    return mount / f"sha1dir/{link.removeprefix('sha1dir://')[:40]}/recording.json"


@pytest.fixture(params=["real", "generated"])
def spikeglx(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "generated":
        return write_spikeglx(tmp_path / "p2_g0_imec0", write_plain_meta(tmp_path / "plain.meta"))
    if not META.exists():
        pytest.skip("the real SpikeGLX metadata (shared/data beside the repository) are absent")
    return write_spikeglx(tmp_path / "p2_g0_imec0", META)


@pytest.fixture(params=["real", "generated"])
def tetrode(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "generated":
        return write_tetrode(tmp_path / "tetrode.raw")
    if not LOCUST.exists():
        pytest.skip("the real locust recording (shared/data beside the repository) is absent")
    return LOCUST


def test_stock_spikeinterface_loads_a_spikeglx_recording(
    spikeglx: Path, make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, recording = make_lab("alice"), se.read_spikeglx(spikeglx, stream_id="imec0.ap")
    link = share_recording(alice, recording, monkeypatch)
    bob = make_lab("bob")
    mount = bob.mount(alice.serve())
    assert json.loads(run(bob, STOCK, recording_json(mount, link))) == about(recording)
    names = sorted(name for _, _, names in os.walk(recording_json(mount, link).parent) for name in names)
    assert [name for name in names if not name.endswith((".json", ".npz"))] == [
        "p2_g0_t0.imec0.ap.bin",
        "p2_g0_t0.imec0.ap.meta",
    ]


def test_stock_spikeinterface_loads_a_chain_over_a_tetrode(
    tetrode: Path, make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = se.read_binary(tetrode, **LOCUST_FORMAT)
    recording = sp.common_reference(recording.frame_slice(1000, 91_000).select_channels([2, 0, 1]))
    alice = make_lab("alice")
    link = share_recording(alice, recording, monkeypatch)
    bob = make_lab("bob")
    mount = bob.mount(alice.serve())
    assert json.loads(run(bob, STOCK, recording_json(mount, link))) == about(recording)


def test_what_is_made_of_a_recording_in_a_mount_is_shared_by_reference(
    make_lab: MakeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tree that is made names the files that it was given, by digest; nothing of them is fetched whole."""
    path = write_tetrode(tmp_path / "tetrode.raw")
    recording = se.read_binary(path, **LOCUST_FORMAT)
    alice, bob, carol = make_lab("alice"), make_lab("bob"), make_lab("carol")
    link = share_recording(alice, recording, monkeypatch)
    alice_serves = alice.serve()
    mount = bob.mount(alice_serves)
    again = run(bob, SHARE, recording_json(mount, link))
    assert again.endswith(".again")
    assert sum(share["total_bytes"] for share in bob.json("shares")) > path.stat().st_size
    carols = carol.mount(alice_serves, bob.serve())
    assert json.loads(run(carol, STOCK, recording_json(carols, again))) == about(sp.common_reference(recording))


def test_a_zarr_recording_is_loaded_from_a_mount(
    make_lab: MakeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = si.generate_recording(num_channels=4, durations=[0.5, 0.2], seed=1)
    saved = recording.save(format="zarr", folder=tmp_path / "saved.zarr", n_jobs=1, progress_bar=False)
    alice, bob = make_lab("alice"), make_lab("bob")
    link = share_recording(alice, saved, monkeypatch)
    mount = bob.mount(alice.serve())
    assert json.loads(run(bob, STOCK, recording_json(mount, link))) == about(saved)
