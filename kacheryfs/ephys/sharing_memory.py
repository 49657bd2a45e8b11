"""A recording that lives in memory is written to disk before it is shared: below the data folder, under its digest.

The digest is of its traces and of what else it knows, so the same recording is found again and not written twice.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from ..core.model import Blake3
from ..errors import InputError
from .metadata import encode_metadata, metadata_of

FOLDER = "recordings"
NAME = "recording"
"""What the folder is called in the tree; the digest stands above it."""
_CHUNK_BYTES = 64 * 1024 * 1024


def save_recording(recording: Any, data_dir: Path, what: str) -> Any:
    """Write a recording as SpikeInterface's binary folder, if it isn't there, and return it as read from there.

    Says on stderr where. InputError: it can't be read, has nothing to save, or the disk has no room for it.
    """
    import spikeinterface

    _require_samples(recording, what)
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    n_bytes = sum(_segment_bytes(recording, index) for index in range(recording.get_num_segments()))
    folder = data_dir / FOLDER / _digest(recording).hex[:32] / NAME
    if not folder.is_dir():
        _require_space(data_dir, n_bytes, what)
        _say(f"{what} lives in memory: saving it ({n_bytes / 1e6:,.1f} MB) to {folder}")
        _write(recording, folder)
    saved = spikeinterface.load(folder)
    recording.copy_metadata(saved)  # JSON bent some of it
    return saved


def _say(text: str) -> None:
    print(f"kacheryfs: {text}", file=sys.stderr, flush=True)


def _segment_bytes(recording: Any, segment_index: int) -> int:
    n_frames = int(recording.get_num_samples(segment_index))
    return n_frames * int(recording.get_num_channels()) * int(np.dtype(recording.dtype).itemsize)


def _digest(recording: Any) -> Blake3:
    digest = blake3(encode_metadata(metadata_of(recording)))
    digest.update(f"{np.dtype(recording.dtype).str} {recording.sampling_frequency!r}".encode())
    for segment_index in range(recording.get_num_segments()):
        digest.update(f"{recording.get_num_samples(segment_index)} frames".encode())
        for traces in _chunks(recording, segment_index):
            digest.update(np.ascontiguousarray(traces).tobytes())
    return Blake3(digest.digest())


def _chunks(recording: Any, segment_index: int) -> Iterator[Any]:
    n_frames = recording.get_num_samples(segment_index)
    frame_bytes = max(1, recording.get_num_channels() * np.dtype(recording.dtype).itemsize)
    step = max(1, _CHUNK_BYTES // frame_bytes)
    for start in range(0, n_frames, step):
        stop = min(start + step, n_frames)
        yield recording.get_traces(segment_index=segment_index, start_frame=start, end_frame=stop)


def _require_samples(recording: Any, what: str) -> None:
    """Refuse what SpikeInterface can't save: it maps each segment's file, and an empty one can't be mapped."""
    empty = [index for index in range(recording.get_num_segments()) if not _segment_bytes(recording, index)]
    if not recording.get_num_channels():
        raise InputError(f"{what} has no channels: there is nothing to share")
    if len(empty) == recording.get_num_segments():
        raise InputError(f"{what} has no frames: there is nothing to share")
    if empty:
        raise InputError(
            f"{what} lives in memory, and its segment {empty[0]} has no frames, so that SpikeInterface can't save it: "
            "share the others, recording.select_segments([…])"
        )


def _require_space(folder: Path, n_bytes: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if n_bytes > 0.95 * free:
        raise InputError(
            f"{what} lives in memory, and saving it takes {n_bytes / 1e9:,.1f} GB where {folder} has "
            f"{free / 1e9:,.1f}: save it elsewhere with recording.save(folder=…), and share what that returns"
        )


def _write(recording: Any, folder: Path) -> None:
    """Write beside the folder and rename, so that what stands there is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as above:
        new = Path(above) / "new"
        recording.save(format="binary", folder=new, n_jobs=1, progress_bar=False, verbose=False)
        try:
            os.rename(new, folder)
        except OSError:
            if not folder.is_dir():  # else another process was quicker
                raise
