"""The demo's recordings: makes a Neuropixels-like one with known spikes, and opens it, or a user's own, by path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RATE_HZ = 30_000
N_CHANNELS = 384
DURATION_S = 20
"""462 MB: long enough that a second of it is a small part, short enough to be made in a few seconds."""
N_UNITS = 60
AP_GAIN = 500
UV_PER_BIT = 1.2 / 1024 / AP_GAIN * 1e6
"""Neuropixels 1.0: 10 bits over ±0.6 V."""
USUAL_CHANNELS = (1, 4, 8, 16, 32, 64, 128, 256, 384, 385)
SPIKES = "true_spikes.npz"


@dataclass(frozen=True, slots=True)
class RawFormat:
    """How to read a file that doesn't say it itself: time-major samples without a header."""

    n_channels: int | None
    rate_hz: float
    dtype: str


def make_recording(folder: Path, duration_s: int = DURATION_S) -> Path:
    """Write a SpikeGLX folder (``.ap.bin``, ``.ap.meta``) with its true spikes into ``folder``; returns it."""
    import probeinterface
    from spikeinterface.core import NpzSortingExtractor, generate_ground_truth_recording

    run = folder / "demo_g0"
    stem = run / "demo_g0_imec0" / "demo_g0_t0.imec0.ap"
    stem.parent.mkdir(parents=True)
    meta = stem.with_name(stem.name + ".meta")
    meta.write_text(meta_text(stem.name, duration_s), encoding="ascii")
    recording, sorting = generate_ground_truth_recording(
        durations=[float(duration_s)],
        sampling_frequency=float(RATE_HZ),
        num_channels=N_CHANNELS,
        num_units=N_UNITS,
        probe=probeinterface.read_spikeglx(meta),  # a probe by its name would need the internet
        generate_sorting_kwargs={"firing_rates": (2.0, 12.0), "refractory_period_ms": 4.0},
        noise_kwargs={"noise_levels": 8.0, "strategy": "tile_pregenerated"},
        generate_unit_locations_kwargs={"margin_um": 10.0, "minimum_z": 5.0, "maximum_z": 40.0, "minimum_distance": 20},
        seed=2026,
    )
    _write_frames(recording, stem.with_name(stem.name + ".bin"), duration_s)
    NpzSortingExtractor.write_sorting(sorting, run / SPIKES)
    return run


def _write_frames(recording: Any, path: Path, duration_s: int) -> None:
    """Write int16 frames of all channels and one of sync, a second at a time."""
    with open(path, "wb") as file:
        for start in range(0, duration_s * RATE_HZ, RATE_HZ):
            traces = recording.get_traces(start_frame=start, end_frame=start + RATE_HZ)
            frames = np.zeros((RATE_HZ, N_CHANNELS + 1), dtype="<i2")
            frames[:, :N_CHANNELS] = np.clip(np.rint(traces / UV_PER_BIT), -512, 511)
            file.write(frames.tobytes())


def meta_text(name: str, duration_s: int) -> str:
    """What SpikeGLX writes beside a recording, as far as readers look at it."""
    fields = {
        "acqApLfSy": f"{N_CHANNELS},0,1",
        "fileName": f"{name}.bin",
        "fileSizeBytes": duration_s * RATE_HZ * (N_CHANNELS + 1) * 2,
        "fileTimeSecs": duration_s,
        "firstSample": 0,
        "imAiRangeMax": 0.6,
        "imAiRangeMin": -0.6,
        "imDatPrb_pn": "PRB_1_4_0480_1",
        "imDatPrb_type": 0,
        "imMaxInt": 512,
        "imSampRate": RATE_HZ,
        "nSavedChans": N_CHANNELS + 1,
        "snsApLfSy": f"{N_CHANNELS},0,1",
        "snsSaveChanSubset": f"0:{N_CHANNELS}",
        "typeThis": "imec",
    }
    imro = f"~imroTbl=(0,{N_CHANNELS})" + "".join(f"({i} 0 0 {AP_GAIN} 250 1)" for i in range(N_CHANNELS))
    channels = [*(f"AP{i};{i}:{i}" for i in range(N_CHANNELS)), f"SY0;{N_CHANNELS}:{N_CHANNELS}"]
    names = f"~snsChanMap=({N_CHANNELS},0,1)" + "".join(f"({name})" for name in channels)
    return "\n".join([*(f"{key}={value}" for key, value in fields.items()), imro, names, ""])


def shared_path_of(file: Path) -> Path:
    """Return what must be shared so that ``file`` can be opened: SpikeGLX needs the whole folder."""
    return file.parent if file.suffix == ".bin" and file.with_suffix(".meta").exists() else file


def open_recording(path: Path, raw: RawFormat) -> Any:
    """Open what lies at ``path`` with SpikeInterface; ValueError says what it would need."""
    import spikeinterface.extractors as extractors

    if path.is_dir():
        streams, _ = extractors.get_neo_streams("spikeglx", path)
        stream = next((stream for stream in streams if stream.endswith(".ap")), None)
        if stream is None:
            raise ValueError(f"{path} has no SpikeGLX recording (.ap.bin and .ap.meta) in it")
        return extractors.read_spikeglx(path, stream_id=stream)
    if ".nwb" in path.name:
        return extractors.read_nwb_recording(path)
    from spikeinterface.core import read_binary

    n_channels = raw.n_channels or guess_channels(path, raw)
    return read_binary(path, sampling_frequency=raw.rate_hz, dtype=raw.dtype, num_channels=n_channels)


def guess_channels(path: Path, raw: RawFormat) -> int:
    """Return the number of channels, of the usual ones that fill the file, at which neighbours in time agree best."""
    n_bytes = path.stat().st_size
    fitting = [n for n in USUAL_CHANNELS if n_bytes % (n * np.dtype(raw.dtype).itemsize) == 0]
    samples = np.fromfile(path, raw.dtype, count=500_000).astype(np.float64)
    samples -= samples.mean()
    fitting = [n for n in fitting if n < len(samples)]
    return max(fitting, key=lambda n: float(samples[n:] @ samples[:-n]) / (len(samples) - n), default=1)


def find_spikes(path: Path, start_frame: int, end_frame: int) -> np.ndarray | None:
    """Return the frames of the true spikes that lie beside a made recording, None for others."""
    if not path.is_dir() or not (path / SPIKES).exists():
        return None
    from spikeinterface.extractors import read_npz_sorting

    frames = read_npz_sorting(path / SPIKES).to_spike_vector()["sample_index"]
    return np.asarray(frames[(frames >= start_frame) & (frames < end_frame)])


def plot(recording: Any, traces: np.ndarray, start_frame: int, spikes: np.ndarray | None, png: Path) -> None:
    """Plot up to 48 channels of ``traces`` (frames × channels, as stored), one above the other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    step = max(traces.shape[1] // 48, 1)
    shown = traces[:, ::step].astype(np.float32)
    shown -= np.median(shown, axis=0)
    spacing = 8 * float(np.median(np.std(shown, axis=0)) or 1.0)
    seconds = (start_frame + np.arange(len(shown))) / recording.sampling_frequency
    figure, axes = pyplot.subplots(figsize=(14, 9), layout="constrained")
    axes.plot(seconds, shown + spacing * np.arange(shown.shape[1]), color="black", linewidth=0.3)
    if spikes is not None:
        level = np.full(len(spikes), -2 * spacing)
        axes.plot(spikes / recording.sampling_frequency, level, "|", color="crimson", markersize=10)
    axes.set(xlabel="time (s)", yticks=[], xlim=(seconds[0], seconds[-1]))
    marks = f"; red: {len(spikes)} known spikes" if spikes is not None else ""
    axes.set_title(f"{shown.shape[1]} of {traces.shape[1]} channels, read through kacheryfs{marks}")
    figure.savefig(png, dpi=110)
