"""SpikeInterface's own flat binary formats, read without a layout of ours: what they say themselves is enough."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording

from ..errors import KacheryError, ProofError
from .layouts import BinaryLayout, SegmentLayout
from .loading_folder import Folder
from .npy import read_npy
from .remote import make_remote_recording
from .safety import Node, check_description
from .safety_json import parse_bounded_json
from .safety_paths import InTree
from .safety_probes import make_probegroup

MAX_TIMES_BYTES = 1 << 30
MAX_PROPERTY_BYTES = 256 * 1024 * 1024


def load_binary(node: Node, folder: Folder) -> BaseRecording:
    """Return the recording of SpikeInterface's BinaryRecordingExtractor, described by its arguments alone."""
    kwargs = node.kwargs
    if kwargs.get("time_axis"):
        raise ProofError(
            "a binary recording with time_axis=1 is read only by a layout in kacheryfs.json: share it again"
        )
    try:
        recording = make_remote_recording(_layout(kwargs, folder), folder.source)
        _describe(recording, kwargs)
        _set_timestamps(recording, kwargs, folder)
    except KacheryError:
        raise
    except Exception as exc:  # a stranger's arguments are of the right kinds, and may still not fit each other
        raise ProofError(f"a binary recording's description is refused: {_one_line(exc)}") from exc
    return recording


def _layout(kwargs: Mapping[str, Any], folder: Folder) -> BinaryLayout:
    dtype = np.dtype(kwargs["dtype"])
    n_columns = kwargs.get("num_channels") or kwargs.get("num_chan") or len(kwargs.get("channel_ids") or [])
    offset_bytes = kwargs.get("file_offset") or 0
    paths = _paths(kwargs["file_paths"])
    t_starts = kwargs.get("t_starts") or [None] * len(paths)
    frame_bytes = n_columns * dtype.itemsize
    segments = []
    for path, t_start in zip(paths, t_starts, strict=True):
        size_bytes = folder.source(path).request.size_bytes or 0
        n_frames = max(0, size_bytes - offset_bytes) // frame_bytes
        segments.append(SegmentLayout(path, offset_bytes, n_frames, "C", None if t_start is None else float(t_start)))
    ids = kwargs.get("channel_ids")
    return BinaryLayout(
        (),
        float(kwargs["sampling_frequency"]),
        dtype.str,
        tuple(range(n_columns) if ids is None else ids),
        n_columns,
        None,
        tuple(segments),
    )


def _paths(value: Any) -> list[tuple[str, ...]]:
    found = value if isinstance(value, list) else [value]
    return [path.names for path in found if isinstance(path, InTree)]


def _describe(recording: BaseRecording, kwargs: Mapping[str, Any]) -> None:
    if kwargs.get("is_filtered") is not None:
        recording.annotate(is_filtered=kwargs["is_filtered"])
    if kwargs.get("gain_to_uV") is not None:
        recording.set_channel_gains(kwargs["gain_to_uV"])
    if kwargs.get("offset_to_uV") is not None:
        recording.set_channel_offsets(kwargs["offset_to_uV"])


def _set_timestamps(recording: BaseRecording, kwargs: Mapping[str, Any], folder: Folder) -> None:
    paths = _paths(kwargs.get("file_timestamps_paths"))
    for segment, path in zip(recording.segments, paths, strict=False):
        data = folder.files.read(path, MAX_TIMES_BYTES)
        n_frames = segment.get_num_samples()
        segment._time_vector = np.frombuffer(data, "<f8", n_frames).copy()
        segment._t_start = None
        recording._time_info_modified = True


def load_binary_folder(folder: Folder) -> BaseRecording:
    """Return the recording that SpikeInterface's ``save`` wrote into a folder (``binary.json`` and what is beside)."""
    files = folder.files
    described = parse_bounded_json(files.read(("binary.json",), MAX_PROPERTY_BYTES), "binary.json")
    node = check_description(described, folder.tree, "binary.json")
    if node.row.name != "BinaryRecordingExtractor":
        raise ProofError(f"binary.json is refused: it describes a {node.row.name}")
    recording = load_binary(node, folder)
    try:
        _read_properties(recording, folder)
        recording._annotations.update(_read_annotations(folder))
        _read_probe(recording, folder)
        _read_times(recording, folder)
    except KacheryError:
        raise
    except Exception as exc:  # as above
        raise ProofError(f"the recording's folder is refused: {_one_line(exc)}") from exc
    return recording


def _read_properties(recording: BaseRecording, folder: Folder) -> None:
    if "properties" not in folder.tree.dirs:
        return
    properties = folder.below(("properties",))
    for name in sorted(properties.tree.files):
        key, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
        if suffix != ".npy" or key == "contact_vector":
            continue
        with properties.open_file((name,)) as file:
            recording.set_property(key, read_npy(file, what=f"properties/{name[:80]}", max_bytes=MAX_PROPERTY_BYTES))


def _read_annotations(folder: Folder) -> Mapping[str, Any]:
    for name in ("annotations.json", "si_folder.json"):
        if name not in folder.tree.files:
            continue
        value = parse_bounded_json(folder.files.read((name,), MAX_PROPERTY_BYTES), name)
        found = value.get("annotations", {}) if isinstance(value, dict) and name == "si_folder.json" else value
        if not isinstance(found, dict):
            raise ProofError(f"{name} holds no annotations")
        return found
    return {}


def _read_probe(recording: BaseRecording, folder: Folder) -> None:
    for name in ("probegroup.json", "probe.json"):
        if name not in folder.tree.files:
            continue
        value = parse_bounded_json(folder.files.read((name,), MAX_PROPERTY_BYTES), name)
        if not isinstance(value, dict):
            raise ProofError(f"{name} is no probe")
        group = make_probegroup(value, recording.get_num_channels())
        if name == "probe.json":
            order = np.argsort(group.to_numpy(complete=True)["device_channel_indices"])
            group = group if np.array_equal(order, np.arange(len(order))) else group.get_slice(order)
        recording._probegroup = group
        return


def _read_times(recording: BaseRecording, folder: Folder) -> None:
    for index, segment in enumerate(recording.segments):
        name = f"times_cached_seg{index}.npy"
        if name not in folder.tree.files:
            continue
        with folder.open_file((name,)) as file:
            times = read_npy(file, what=name, max_bytes=MAX_TIMES_BYTES)
        if times.shape != (segment.get_num_samples(),):
            raise ProofError(f"{name} has not one time for each of {segment.get_num_samples()} frames")
        segment._time_vector = times
        recording._time_info_modified = True


def _one_line(exc: Exception) -> str:
    return f"{type(exc).__name__}: {str(exc).splitlines()[0][:300] if str(exc) else ''}"
