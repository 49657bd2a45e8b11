"""SpikeInterface opens recordings below the mount by path, and gives the traces that it gives of the local files."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spikeinterface.extractors as se
from system_content import sha1_of
from system_labs import Lab, MakeLab, Mount

pytestmark = pytest.mark.kernel

REAL_INPUTS = Path(__file__).resolve().parents[3] / "shared" / "data"
"""Beside the repository; not part of it."""
LOCUST = REAL_INPUTS / "locust" / "locust_trial_01.raw"
LOCUST_FORMAT = {"sampling_frequency": 15_000.0, "num_channels": 4, "dtype": "int16"}
META = REAL_INPUTS / "spikeglx" / "p2_g0_t0.imec0.ap.meta"

N_CHANNELS = 385
N_FRAMES = 30_000
RATE_HZ = 30_000

READER = """
import hashlib, sys
import spikeinterface.extractors as se
path, kind, start, stop = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if kind == "spikeglx":
    recording = se.read_spikeglx(path, stream_id="imec0.ap")
else:
    recording = se.read_binary(path, sampling_frequency=15000.0, num_channels=4, dtype="int16")
print("open", flush=True)
sys.stdin.readline()
digest = hashlib.sha1()
for first in range(start, stop, 3000):
    last = min(first + 3000, stop)
    digest.update(recording.get_traces(start_frame=first, end_frame=last, segment_index=0).tobytes())
print(digest.hexdigest())
"""


def traces_of(recording: Any, start: int, stop: int) -> Any:
    return recording.get_traces(start_frame=start, end_frame=stop, segment_index=0)


def digest_of(recording: Any, start: int, stop: int) -> str:
    return sha1_of(traces_of(recording, start, stop).tobytes())


def read_in_two_processes(mount: Mount, path: Path, kind: str, spans: list[tuple[int, int]]) -> list[str]:
    """Return the digest of each span's traces, read by processes that begin together."""
    start = mount.lab.running.start
    readers = [
        start(
            [sys.executable, "-c", READER, str(path), kind, *map(str, span)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for span in spans
    ]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"open\n"
    for reader in readers:
        assert reader.stdin is not None
        reader.stdin.write(b"go\n")
        reader.stdin.flush()
    return [reader.communicate(timeout=60)[0].decode().strip() for reader in readers]


def mounted(alice: Lab, bob: Lab) -> Mount:
    return bob.mount(alice.serve())


# -- read_binary on sha1/H ------------------------------------------------------------------------------------------


def write_tetrode(path: Path) -> Path:
    """Write the real recording's generated twin: its format and a third of its length."""
    rng = np.random.default_rng(11)
    path.parent.mkdir(parents=True, exist_ok=True)
    rng.normal(0, 200, (150_000, 4)).astype("<i2").tofile(path)
    return path


@pytest.fixture(params=["real", "generated"])
def tetrode(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "generated":
        return write_tetrode(tmp_path / "tetrode.raw")
    if not LOCUST.exists():
        pytest.skip("the real locust recording (shared/data beside the repository) is absent")
    return LOCUST


def test_read_binary_of_a_digest_gives_the_local_traces_in_two_processes_at_once(
    tetrode: Path, make_lab: MakeLab
) -> None:
    alice = make_lab("alice")
    alice.share(tetrode)
    mount = mounted(alice, make_lab("bob"))
    path = mount / f"sha1/{sha1_of(tetrode.read_bytes())}"
    local, remote = (se.read_binary(file, **LOCUST_FORMAT) for file in (tetrode, path))
    n_frames = local.get_num_samples(segment_index=0)
    assert remote.get_num_samples(segment_index=0) == n_frames
    assert np.array_equal(traces_of(remote, 100_000, 115_000), traces_of(local, 100_000, 115_000))
    spans = [(0, n_frames), (50_000, n_frames)]
    digests = read_in_two_processes(mount, path, "binary", spans)
    assert digests == [digest_of(local, *span) for span in spans]


# -- read_spikeglx on sha1dir/H -------------------------------------------------------------------------------------


def write_spikeglx(folder: Path, meta: Path) -> Path:
    """Write a folder as SpikeGLX does: generated int16 samples, and the metadata of a real probe set to match."""
    folder.mkdir(parents=True)
    name = "p2_g0_t0.imec0.ap"
    samples = np.random.default_rng(5).integers(-400, 400, (N_FRAMES, N_CHANNELS), dtype="<i2")
    samples[:, -1] = 0  # the sync channel
    samples.tofile(folder / f"{name}.bin")
    changes = {
        "fileSizeBytes": str(samples.nbytes),
        "fileTimeSecs": str(N_FRAMES / RATE_HZ),
        "fileName": f"D:/p2_g0/p2_g0_imec0/{name}.bin",
        "fileSHA1": sha1_of(samples.tobytes()).upper(),
    }
    lines = (line.partition("=") for line in meta.read_text().splitlines())
    (folder / f"{name}.meta").write_text("".join(f"{key}={changes.get(key, value)}\n" for key, _, value in lines))
    return folder


def write_plain_meta(path: Path) -> Path:
    """Write the least that names a Neuropixels 1.0 stream: for where the real metadata is absent."""
    channels = "".join(f"({i} 0 0 500 250 1)" for i in range(384))
    channel_map = "".join(f"(AP{i};{i}:{i})" for i in range(384))
    sites = "".join(f"({i % 2}:{i % 2}:{i // 2}:1)" for i in range(384))
    fields = {
        "acqApLfSy": "384,384,1",
        "appVersion": "20190327",
        "fileCreateTime": "2020-01-01T00:00:00",
        "fileName": "",
        "fileSHA1": "",
        "fileSizeBytes": "",
        "fileTimeSecs": "",
        "firstSample": "0",
        "gateMode": "Immediate",
        "imAiRangeMax": "0.6",
        "imAiRangeMin": "-0.6",
        "imDatPrb_port": "1",
        "imDatPrb_slot": "2",
        "imDatPrb_pn": "NP1010",
        "imDatPrb_type": "0",
        "imDatPrb_sn": "1",
        "imSampRate": str(RATE_HZ),
        "nSavedChans": str(N_CHANNELS),
        "snsApLfSy": "384,0,1",
        "snsSaveChanSubset": "all",
        "typeThis": "imec",
        "~imroTbl": f"(0,384){channels}",
        "~snsChanMap": f"(384,384,1){channel_map}(SY0;384:384)",
        "~snsShankMap": f"(1,2,480){sites}",
    }
    path.write_text("".join(f"{key}={value}\n" for key, value in fields.items()))
    return path


@pytest.fixture(params=["real", "generated"])
def spikeglx(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "generated":
        return write_spikeglx(tmp_path / "p2_g0_imec0", write_plain_meta(tmp_path / "plain.meta"))
    if not META.exists():
        pytest.skip("the real SpikeGLX metadata (shared/data beside the repository) are absent")
    return write_spikeglx(tmp_path / "p2_g0_imec0", META)


def test_read_spikeglx_of_a_shared_folder_gives_the_local_traces_in_two_processes_at_once(
    spikeglx: Path, make_lab: MakeLab
) -> None:
    alice = make_lab("alice")
    link = alice.share(spikeglx)
    mount = mounted(alice, make_lab("bob"))
    path = mount / f"sha1dir/{link.removeprefix('sha1dir://')[:40]}"
    local, remote = (se.read_spikeglx(folder, stream_id="imec0.ap") for folder in (spikeglx, path))
    assert remote.get_num_channels() == 384
    assert np.array_equal(remote.get_channel_locations(), local.get_channel_locations())
    assert np.array_equal(traces_of(remote, 12_345, 15_345), traces_of(local, 12_345, 15_345))
    spans = [(0, N_FRAMES), (10_000, 29_999)]
    digests = read_in_two_processes(mount, path, "spikeglx", spans)
    assert digests == [digest_of(local, *span) for span in spans]


def test_a_zarr_folder_reads_as_the_local_one(make_lab: MakeLab, tmp_path: Path) -> None:
    """Zarr is many small files, and lives by dot files."""
    import spikeinterface.core as si

    recording = si.generate_recording(num_channels=4, durations=[2.0], seed=1)
    with contextlib.redirect_stdout(sys.stderr):
        recording.save(format="zarr", folder=tmp_path / "rec.zarr", chunk_duration="0.25s", verbose=False)
    alice = make_lab("alice")
    link = alice.share(tmp_path / "rec.zarr")
    path = mounted(alice, make_lab("bob")).at(link)
    copy = shutil.copytree(path, tmp_path / "copy.zarr")
    for folder in (Path(f"{path.parent}/{path.name}"), copy):
        remote = si.load(folder)
        assert np.array_equal(traces_of(remote, 0, 20_000), traces_of(recording, 0, 20_000))
