"""A user with a recording's link: shares it, or opens it elsewhere and draws its first second. A process of its own.

``load LINK PNG`` goes by ``kfs.load_recording`` without a mount, ``stock DESCRIPTION PNG`` by SpikeInterface alone,
through a mount: both import what they need, print "ready", and time from the call that opens to the picture's file.
``share FOLDER`` prints the link of a SpikeGLX folder.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from .reader import wait_for_start

mpl.use("Agg")

STREAM = "imec0.ap"
N_DRAWN_POINTS = 1500
"""Of each trace: more than a picture of 1,000 pixels shows."""


def share(folder: str) -> str:
    import spikeinterface.extractors as extractors

    import kacheryfs as kfs

    return kfs.share_recording(extractors.read_spikeglx(folder, stream_id=STREAM))


def draw(open_recording: Callable[[], Any], png: str) -> dict[str, object]:
    """Open, get the first second of every channel, draw all of it; seconds of the whole."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 12))  # fonts are found before the clock starts
    wait_for_start()
    start = time.perf_counter()
    recording = open_recording()
    n_frames = int(recording.get_sampling_frequency())
    traces = recording.get_traces(start_frame=0, end_frame=n_frames)
    opened_and_read_s = time.perf_counter() - start
    _plot(axes, np.asarray(traces))
    figure.savefig(png, dpi=100)
    seconds = time.perf_counter() - start
    assert traces.shape == (n_frames, recording.get_num_channels())
    checksum = int(np.asarray(traces).astype(np.int64).sum())
    return {"seconds": [seconds, opened_and_read_s], "n_bytes": traces.nbytes, "starts": [checksum]}


def _plot(axes: Any, traces: np.ndarray) -> None:
    """Draw the lowest and highest value of each short stretch, as a viewer does: every sample counts."""
    n_stretches = N_DRAWN_POINTS // 2
    length = len(traces) // n_stretches
    stretches = traces[: n_stretches * length].reshape(n_stretches, length, -1)
    ends = np.stack([stretches.min(axis=1), stretches.max(axis=1)], axis=1).reshape(2 * n_stretches, -1)
    times = np.arange(len(ends)) * length / 2
    axes.plot(times, ends + 100.0 * np.arange(ends.shape[1]), color="black", linewidth=0.2)


def load(link: str, png: str) -> dict[str, object]:
    import kacheryfs as kfs

    open_recording = kfs.load_recording  # SpikeInterface is imported here
    return draw(lambda: open_recording(link), png)


def stock(description: str, png: str) -> dict[str, object]:
    import spikeinterface.full as si

    return draw(lambda: si.load(Path(description), base_folder=True), png)


_HOW: dict[str, Callable[..., object]] = {"share": share, "load": load, "stock": stock}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("how", choices=list(_HOW))
    parser.add_argument("arguments", nargs="+")
    options = parser.parse_args()
    found = _HOW[options.how](*options.arguments)
    print(found if isinstance(found, str) else json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
