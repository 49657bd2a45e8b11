#!/usr/bin/env python
"""Make the three recordings of recipe.toml by integer arithmetic alone, so that every machine makes the same bytes.

Usage: make_recordings.py FOLDER

Four channels (a tetrode) at 15,000 Hz, each with noise and three units that fire at known frames; the true spikes are
written as MDA firings (3 × N float64: channel, frame, unit), as SpikeInterface reads them.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np

RATE_HZ = 15_000
N_CHANNELS = 4
N_UNITS = 3
SECONDS = {"rest": 4, "odour": 6, "recovery": 3}
"""The recordings, and how long each is."""
SPIKE = np.array([0, -6, -30, -92, -160, -128, -40, 32, 58, 50, 34, 20, 10, 4, 0], dtype=np.int64)
"""A spike's shape in samples; a unit scales it by channel."""
GAINS = np.array([[9, 4, 2, 1], [1, 8, 5, 2], [2, 1, 4, 10]], dtype=np.int64)
NOISE = 40
"""The noise of a sample is the sum of four draws from -NOISE to NOISE."""
_MASK = (1 << 64) - 1


class Draws:
    """Pseudo-random integers: SplitMix64 on a counter, the same on every machine and in every version of numpy."""

    def __init__(self, seed: int) -> None:
        self._next = (seed * 0x9E3779B97F4A7C15) & _MASK

    def take(self, count: int) -> np.ndarray:
        """Return ``count`` draws, uniform over 64 bits."""
        steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = steps + np.uint64(self._next)  # arrays wrap around without a warning
        self._next = (self._next + count * 0x9E3779B97F4A7C15) & _MASK
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    def below(self, limit: int, count: int) -> np.ndarray:
        """Return ``count`` integers from 0 up to ``limit``, not included."""
        return (self.take(count) % np.uint64(limit)).astype(np.int64)


def make_recording(seed: int, seconds: int) -> tuple[np.ndarray, np.ndarray]:
    """Return traces (frames × channels, int16) and true spikes (N × 2: frame, unit)."""
    draws, n_frames = Draws(seed), RATE_HZ * seconds
    traces = np.zeros((n_frames, N_CHANNELS), dtype=np.int64)
    for _ in range(4):
        traces += draws.below(2 * NOISE + 1, traces.size).reshape(traces.shape) - NOISE
    spikes = [(frame, unit) for unit in range(N_UNITS) for frame in fire(draws, n_frames)]
    for frame, unit in spikes:
        traces[frame - 4 : frame - 4 + len(SPIKE)] += SPIKE[:, None] * GAINS[unit] // 4
    return np.clip(traces, -32768, 32767).astype("<i2"), np.array(sorted(spikes), dtype=np.int64)


def fire(draws: Draws, n_frames: int) -> list[int]:
    """Return the frames at which one unit fires: 75 to 2,325 frames (5 to 155 ms) apart."""
    frames = 75 + np.cumsum(75 + draws.below(2251, n_frames // 75))
    return [int(frame) for frame in frames if frame < n_frames - len(SPIKE)]


def write_firings(path: Path, spikes: np.ndarray) -> None:
    """Write an MDA file of float64, 3 × N, column by column."""
    header = struct.pack("<5i", -7, 8, 2, 3, len(spikes))
    columns = np.stack([np.zeros(len(spikes), dtype=np.int64), spikes[:, 0], spikes[:, 1] + 1], axis=1)
    path.write_bytes(header + columns.astype("<f8").tobytes())


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: make_recordings.py FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, seconds) in enumerate(SECONDS.items(), 1):
        traces, spikes = make_recording(seed, seconds)
        (folder / f"{name}.raw").write_bytes(traces.tobytes())
        write_firings(folder / f"{name}.firings.mda", spikes)
        print(f"{folder / name}.raw: {seconds} s, {len(spikes)} spikes")


if __name__ == "__main__":
    main()
