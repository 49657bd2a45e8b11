"""The program that opens a recording anew from its description and tells which files that opened.

It runs in a process of its own, since an audit hook can't be taken away again. It speaks lines of JSON: a description
and its leaves come in, ``{"opened", "digests"}`` goes out; then the path of a ``recording.json`` comes in, loaded as
stock SpikeInterface does, and ``{"digests"}`` goes out. An ``{"error"}`` ends it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

SAMPLED_FRAMES = 64
"""Frames that are read at the start, the middle and the end of each segment."""


def sample_spans(n_frames: int) -> list[tuple[int, int]]:
    """Return where a segment is sampled, as half-open spans of frames."""
    starts = sorted({0, max(0, n_frames // 2 - SAMPLED_FRAMES // 2), max(0, n_frames - SAMPLED_FRAMES)})
    return [(start, min(start + SAMPLED_FRAMES, n_frames)) for start in starts]


def sample_digests(recording: Any) -> Iterator[str]:
    """Yield the digest of the traces at each sampled place, with their shape and dtype."""
    import numpy as np

    for segment_index in range(recording.get_num_segments()):
        n_frames = recording.get_num_samples(segment_index)
        yield f"{n_frames} frames"
        for start, stop in sample_spans(n_frames) if n_frames else []:
            traces = recording.get_traces(segment_index=segment_index, start_frame=start, end_frame=stop)
            data = np.ascontiguousarray(traces)
            yield f"{data.shape} {data.dtype.str} {hashlib.sha1(data.tobytes()).hexdigest()}"


def main() -> None:
    """Answer stdin's lines on what was stdout; libraries that print are kept off it."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    opened: set[str] = set()
    sys.addaudithook(lambda event, args: _note(opened, event, args))
    try:
        _replay(json.loads(sys.stdin.readline()), opened, answers)
        path = sys.stdin.readline().rstrip("\n")
        if path:
            _load(json.loads(path), answers)
    except Exception as exc:  # whatever a reader of files raises is told to who asked
        _put(answers, {"error": f"{type(exc).__name__}: {exc}"})


def _note(opened: set[str], event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(args[0], (str, bytes)) and not (args[2] or 0) & (os.O_WRONLY | os.O_CREAT):
        opened.add(os.path.abspath(os.fsdecode(args[0])))


def _replay(asked: dict[str, Any], opened: set[str], answers: Any) -> None:
    from spikeinterface.core.base import BaseExtractor

    opened.clear()  # of what importing opened
    for leaf in asked["leaves"]:
        list(sample_digests(BaseExtractor.from_dict(leaf)))
    digests = list(sample_digests(BaseExtractor.from_dict(asked["description"])))
    _put(answers, {"opened": sorted(opened), "digests": digests})


def _load(path: str, answers: Any) -> None:
    import spikeinterface

    _put(answers, {"digests": list(sample_digests(spikeinterface.load(path, base_folder=True)))})


def _put(answers: Any, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()
