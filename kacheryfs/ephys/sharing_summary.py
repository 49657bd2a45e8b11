"""What a list shows of a recording."""

from __future__ import annotations

from typing import Any

import numpy as np

from .layouts import Summary
from .scrubbing import scrub_text

_NAMES = ("model_name", "description", "part_number")
"""What probeinterface calls a probe, the most telling first."""


def summarize(recording: Any) -> Summary:
    """Return a recording's rate, channels, dtype, length and probe."""
    n_frames = tuple(int(recording.get_num_samples(index)) for index in range(recording.get_num_segments()))
    rate_hz = float(recording.sampling_frequency)
    n_channels, dtype = int(recording.get_num_channels()), str(np.dtype(recording.dtype))
    return Summary(rate_hz, n_channels, dtype, n_frames, sum(n_frames) / rate_hz, _name_probes(recording))


def _name_probes(recording: Any) -> str | None:
    if not recording.has_probe():
        return None
    names = dict.fromkeys(_name_probe(probe) for probe in recording.get_probes())
    return ", ".join(names)[:1000] or None


def _name_probe(probe: Any) -> str:
    named = [str(probe.annotations[key]) for key in _NAMES if probe.annotations.get(key)]
    manufacturer = str(probe.annotations.get("manufacturer") or "")
    name = " ".join(filter(None, [manufacturer, *named[:1]])) or f"{probe.get_contact_count()} contacts"
    return scrub_text(name)
