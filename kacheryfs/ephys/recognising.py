"""Tell a recording's folder or file by its looks, and share the recordings in it.

Looking needs no SpikeInterface and opens next to nothing; sharing does.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError

if TYPE_CHECKING:
    from ..config import Settings

Kind = Literal["SpikeGLX", "Open Ephys", "NWB", "SpikeInterface Zarr", "SpikeInterface binary"]

_SPIKEGLX_META = re.compile(
    r"(.+?)(?:_g[0-9]+)?(?:_t[0-9]+|_tcat)?\.(?:imec[0-9]*\.(?:ap|lf)|nidq|obx[0-9]*\.obx)\.meta\Z"
)
_SPIKEGLX_DEPTH = 2
"""date / run_g0 / run_g0_imec0 / run_g0_t0.imec0.ap.meta"""
_OPEN_EPHYS_DEPTH = 3
"""session / Record Node 101 / experiment1 / recording1 / structure.oebin"""
_MAX_ENTRIES = 20_000
"""What is looked at in a folder before it is taken for none: listing so many takes a tenth of a second."""
_MAX_ATTRS_BYTES = 64 * 1024 * 1024
_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class SharedRecording:
    """A recording found at a path, and its link; ``stream`` tells several of one folder apart, else it is ""."""

    kind: Kind
    stream: str
    link: str


def find_kind(path: str | os.PathLike[str]) -> Kind | None:
    """Return what kind of recording lies at a path; None where it doesn't look like one."""
    place = Path(path)
    try:
        if place.is_file():
            return "NWB" if _is_nwb(place) else None
        if (place / "binary.json").is_file():
            return "SpikeInterface binary"
        if (place / ".zattrs").is_file():
            return "SpikeInterface Zarr" if _is_zarr_recording(place / ".zattrs") else None
        return _find_by_names(place)
    except OSError:
        return None


def _is_nwb(path: Path) -> bool:
    if path.suffix != ".nwb":
        return False
    with path.open("rb") as file:
        return file.read(len(_HDF5)) == _HDF5


def _is_zarr_recording(path: Path) -> bool:
    if path.stat().st_size > _MAX_ATTRS_BYTES:
        return False
    try:
        about = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(about, dict) and about.keys() >= {"sampling_frequency", "num_segments"}


def _find_by_names(folder: Path) -> Kind | None:
    """Look for the files that a run's folder has at most so deep; a folder of several runs is no recording."""
    runs = set()
    for depth, name in _names_below(folder):
        if name == "structure.oebin":
            return "Open Ephys"
        run = _SPIKEGLX_META.match(name)
        if run and depth <= _SPIKEGLX_DEPTH:
            runs.add(run.group(1))
    return "SpikeGLX" if len(runs) == 1 else None


def _names_below(folder: Path) -> Iterator[tuple[int, str]]:
    n_left = _MAX_ENTRIES
    for above, folders, names in os.walk(folder):
        depth = len(Path(above).relative_to(folder).parts)
        yield from ((depth, name) for name in names)
        n_left -= len(names) + len(folders)
        if n_left < 0 or depth >= _OPEN_EPHYS_DEPTH:
            folders.clear()


def has_spikeinterface() -> bool:
    return importlib.util.find_spec("spikeinterface") is not None


def has_reader(kind: Kind) -> bool:
    """Return whether what reads that kind of recording is installed: NWB wants h5py."""
    return has_spikeinterface() and (kind != "NWB" or importlib.util.find_spec("h5py") is not None)


def share_recordings(path: str | os.PathLike[str], kind: Kind, settings: Settings) -> list[SharedRecording]:
    """Share every recording at a path that looks like ``kind``: one link a stream.

    InputError: SpikeInterface can't read it. Unchanged files are not read again.
    """
    from .sharing import share_with

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what readers say of a format's oddities is for who analyses the recording
        try:
            found = list(_open_all(Path(path), kind))
        except Exception as exc:  # the seam: readers of formats raise whatever they meet
            reason = f"{type(exc).__name__}: {' '.join(str(exc).split())[:300]}"
            raise InputError(f"{path} looks like a recording ({kind}), but can't be opened: {reason}") from exc
        names = [stream for stream, _ in found]
        return [
            SharedRecording(kind, stream, share_with(settings, recording, _label(Path(path), stream, names)))
            for stream, recording in found
        ]


def _label(path: Path, stream: str, streams: Sequence[str]) -> str:
    name = Path(os.path.abspath(path)).name
    return f"{name}.{stream}".replace("/", "_") if len(streams) > 1 else name


def _open_all(path: Path, kind: Kind) -> Iterator[tuple[str, Any]]:
    import spikeinterface.extractors as extractors
    from spikeinterface.core import BinaryFolderRecording
    from spikeinterface.core.zarrextractors import ZarrRecordingExtractor

    from .safety_local import check_saved_folder

    if kind == "SpikeGLX":
        _, ids = extractors.get_neo_streams("spikeglx", path)
        for stream in ids:
            if not stream.endswith("SYNC"):
                yield stream, extractors.read_spikeglx(path, stream_id=stream)
    elif kind == "Open Ephys":
        yield from _open_open_ephys(path)
    elif kind == "NWB":
        yield from _open_nwb(path)
    else:
        check_saved_folder(
            path
        )  # and by the class, not by spikeinterface.load: that believes what si_folder.json names
        is_binary = kind == "SpikeInterface binary"
        yield "", (BinaryFolderRecording if is_binary else ZarrRecordingExtractor)(path)


def _open_open_ephys(path: Path) -> Iterator[tuple[str, Any]]:
    import spikeinterface.extractors as extractors
    from spikeinterface.extractors.neoextractors.openephys import OpenEphysBinaryRecordingExtractor

    experiments = OpenEphysBinaryRecordingExtractor.get_available_experiments(path)
    for experiment in experiments:
        which = {"experiment_name": experiment} if len(experiments) > 1 else {}
        names, _ = OpenEphysBinaryRecordingExtractor.get_streams(path, **which)
        for name in names:
            if not name.endswith("SYNC"):
                stream = f"{experiment}.{name}" if which else name
                yield stream, extractors.read_openephys(path, stream_name=name, **which)


def _open_nwb(path: Path) -> Iterator[tuple[str, Any]]:
    import spikeinterface.extractors as extractors
    from spikeinterface.extractors.nwbextractors import NwbRecordingExtractor

    series = NwbRecordingExtractor.fetch_available_electrical_series_paths(path)
    for name in series:
        which = {"electrical_series_path": name} if len(series) > 1 else {}
        yield name, extractors.read_nwb_recording(path, **which)
