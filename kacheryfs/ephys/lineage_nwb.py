"""NWB files as the lineage read them: an electrical series by its bare name, and the units with their spike times."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from spikeinterface.core import BaseRecording

from ..app.embedded import get_fetcher
from ..errors import InputError, KacheryError, ProofError
from .hdf5_library import h5py
from .lineage_arrays import Array
from .lineage_hdf5 import read_attribute, read_numbers, reading_hdf5, take_dataset
from .lineage_spikes import Spikes, check_frames, whole_numbers
from .remote_nwb import RemoteNwbRecording

if TYPE_CHECKING:
    from ..app.embedded import RemoteFile
    from .remote_source import Source

N_TIMESTAMPS = 1000
"""So many are looked at for the rate of a series that has times instead of one."""


def load_nwb_recording(source: Source, series_name: str | None) -> BaseRecording:
    """Return the electrical series of that name, or the only one, with gains, offsets and positions."""
    what = f"the NWB file sha1 {source.request.sha1.short}"
    path = _find_path(source, series_name, what)
    try:
        return RemoteNwbRecording(source.to_json(), electrical_series_path=path)
    except KacheryError:
        raise
    except Exception as exc:  # SpikeInterface's extractor raises whatever a file that is no NWB leads it to
        reason = " ".join(str(exc).split())[:300]
        raise InputError(f"{what} can't be read as a recording: {type(exc).__name__}: {reason}") from exc


def _find_path(source: Source, name: str | None, what: str) -> str:
    """Return the path of a series; what was acquired comes first, since the lineage looked there alone."""
    with get_fetcher().open_file(source.request) as file, reading_hdf5(file, what) as opened:
        paths = [path for path, _ in _electrical_series(opened)]
    named = paths if name is None else [path for path in paths if name in (path, path.rpartition("/")[2])]
    found = [path for path in named if path.startswith("acquisition/")] or named
    if len(found) == 1:
        return found[0]
    wanted = "electrical series" if name is None else f"electrical series {name[:80]!r}"
    shown = ", ".join(found or paths)[:200] or "none"
    raise InputError(f"{what} has {len(found) or 'no'} {wanted}; there are {shown}: one has to be named")


def _electrical_series(opened: h5py.File) -> Iterator[tuple[str, Any]]:
    """Yield every electrical series with its path, sorted; each object once.

    Not by ``visititems``, which adds up each dataset's chunks, by reading their index all over the file.
    """
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", opened)]
    while waiting:
        path, group = waiting.pop()
        if hash(group.id) in seen:
            continue
        seen.add(hash(group.id))
        if read_attribute(group, "neurodata_type") == "ElectricalSeries":
            yield path, group
            continue
        for name in sorted(group, reverse=True):
            is_group = group.get(name, getclass=True) is h5py.Group
            if is_group and isinstance(group.get(name, getlink=True), h5py.HardLink):
                waiting.append((f"{path}/{name}".lstrip("/"), group[name]))


def read_nwb_units(file: RemoteFile, what: str, fallback_rate: Callable[[str], float]) -> Spikes:
    """Read the units of an NWB file: their times in seconds become frames of its electrical series.

    Where the file has none, the rate is 1 / ``resolution`` of the times, or what ``fallback_rate`` says, and the first
    frame is at 0 s.
    """
    with reading_hdf5(file, what) as opened:
        units = opened.get("units")
        if not isinstance(units, h5py.Group):
            raise ProofError(f"{what} has no units")
        unit_ids = whole_numbers(read_numbers(units, "id", what), f"the units' ids of {what}")
        times_s = read_numbers(units, "spike_times", what).astype("float64")
        stops = whole_numbers(read_numbers(units, "spike_times_index", what), f"'spike_times_index' of {what}")
        resolution = read_attribute(take_dataset(units, "spike_times", what), "resolution")
        rate_hz, start_s = _clock(opened, what) or (_rate_of(resolution) or fallback_rate(what), 0.0)
    _check_index(stops, unit_ids, times_s, what)
    frames = whole_numbers((times_s - start_s) * rate_hz, f"the spike times of {what}", rounds=True)
    check_frames(frames, what)
    indices = np.repeat(np.arange(len(unit_ids)), np.diff(stops, prepend=0))
    return Spikes(frames, indices, tuple(int(unit) for unit in unit_ids), rate_hz)


def _check_index(stops: Array, unit_ids: Array, times_s: Array, what: str) -> None:
    if len(np.unique(unit_ids)) != len(unit_ids):
        raise ProofError(f"{what} names a unit twice")
    last = int(stops[-1]) if len(stops) else 0
    if len(stops) != len(unit_ids) or (np.diff(stops, prepend=0) < 0).any() or last != len(times_s):
        raise ProofError(f"{what} is damaged: 'spike_times_index' doesn't fit its units or spike times")


def _clock(opened: h5py.File, what: str) -> tuple[float, float] | None:
    """Return rate and first time of the electrical series; InputError where they differ, None where there is none."""
    series = list(_electrical_series(opened))
    acquired = [item for path, item in series if path.startswith("acquisition/")] or [item for _, item in series]
    clocks = {clock for item in acquired if (clock := _clock_of(item)) is not None}
    if len(clocks) > 1:
        raise InputError(f"{what} has electrical series of differing rates, and doesn't say which one was sorted")
    return next(iter(clocks), None)


def _clock_of(series: Any) -> tuple[float, float] | None:
    start, times = series.get("starting_time"), series.get("timestamps")
    if isinstance(start, h5py.Dataset) and start.shape == ():
        rate_hz, start_s = _number(read_attribute(start, "rate")), _number(start[()])
    elif isinstance(times, h5py.Dataset) and times.ndim == 1 and len(times) > 1:
        first = np.asarray(times[:N_TIMESTAMPS], dtype="float64")
        step_s = float(np.median(np.diff(first)))
        rate_hz, start_s = (1 / step_s if step_s > 0 else math.nan), float(first[0])
    else:
        return None
    return (rate_hz, start_s) if 0 < rate_hz < math.inf and math.isfinite(start_s) else None


def _rate_of(resolution: object) -> float | None:
    """Return 1 / ``resolution``; NWB writes -1 or NaN where it isn't known."""
    value = _number(resolution)
    return 1 / value if 0 < value < math.inf else None


def _number(value: object) -> float:
    """Return a number as float, NaN for anything else."""
    return float(value) if isinstance(value, (int, float, np.number)) else math.nan
