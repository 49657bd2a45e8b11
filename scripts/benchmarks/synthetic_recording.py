"""A SpikeGLX folder of any length, written fast: noise of six bits beside metadata that fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from demo_recording import N_CHANNELS, RATE_HZ, meta_text

FRAME_BYTES = 2 * (N_CHANNELS + 1)
REAL_META = Path(__file__).resolve().parents[3] / "shared" / "data" / "spikeglx" / "p2_g0_t0.imec0.ap.meta"
"""A real Neuropixels 1.0 probe's, beside the repository; not part of it."""
_NAME = "bench_g0_t0.imec0.ap"


def write_recording(folder: Path, duration_s: int, seed: int = 0) -> Path:
    """Write ``.ap.bin`` and ``.ap.meta`` of 384 channels and one of sync at 30 kHz; return the ``.ap.bin``."""
    folder.mkdir(parents=True)
    path = folder / f"{_NAME}.bin"
    generator = np.random.Generator(np.random.SFC64(seed))
    with path.open("wb") as file:
        for _ in range(duration_s):
            file.write(_second(generator))
    path.with_suffix(".meta").write_text(_meta(duration_s))
    return path


def _second(generator: np.random.Generator) -> bytes:
    words = generator.integers(0, 1 << 64, RATE_HZ * FRAME_BYTES // 8, dtype=np.uint64)
    frames = words.view("<i2").reshape(RATE_HZ, N_CHANNELS + 1)
    frames >>= 10  # -32 to 31: of the size of noise
    frames[:, -1] = 0
    return frames.tobytes()


def _meta(duration_s: int) -> str:
    if not REAL_META.exists():
        return meta_text(_NAME, duration_s)
    changes = {
        "fileName": f"{_NAME}.bin",
        "fileSizeBytes": duration_s * RATE_HZ * FRAME_BYTES,
        "fileTimeSecs": duration_s,
        "imSampRate": RATE_HZ,
    }
    lines = (line.partition("=") for line in REAL_META.read_text().splitlines())
    return "".join(f"{key}={changes.get(key, value)}\n" for key, _, value in lines)
