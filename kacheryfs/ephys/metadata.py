"""What a recording knows besides its traces, without loss: channel ids, properties, annotations, probe and times.

``recording.json`` says most of it in SpikeInterface's way, where dtypes go and objects turn into texts. Here it is an
``.npz`` (no pickles): ``about.npy`` is JSON in bytes, ``channel_ids.npy``, ``property_0.npy``, …, ``times_0.npy``, ….
Absolute paths were cut down to their last name.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from ..core.strict_json import parse_strict_json
from ..errors import ProofError
from .fields import Fields, integer, number, text
from .scrubbing import scrub
from .values import decode_value, encode_value

Array = np.ndarray[Any, Any]

MAX_METADATA_BYTES = 1 << 30
"""Time vectors of 8 bytes a frame are what can be large: an hour at 30 kHz has 0.9 GB before it is packed."""
MAX_UNPACKED_BYTES = 4 << 30
READ_BYTES = 16 * 1024 * 1024
MAX_ABOUT_BYTES = 64 * 1024 * 1024
_PARSING = (ValueError, LookupError, TypeError, SyntaxError, ArithmeticError, MemoryError)  # numpy evaluates a header
_DAMAGE = (*_PARSING, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)
_VERSION = 1
_ZERO = np.zeros(1, dtype="<u8")
_KINDS = "biufcmMSUV"
_WHAT = "a recording's metadata"


@dataclass(frozen=True, slots=True)
class SegmentTimes:
    """A segment's times: regular ones (``t_start_s`` may be None, which means 0), or one a frame, float64, seconds."""

    sampling_frequency_hz: float | None
    t_start_s: float | None
    vector: Array | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RecordingMetadata:
    """``probegroup`` is what ``probeinterface.ProbeGroup.from_dict`` takes; None where there is no probe."""

    channel_ids: Array
    properties: Mapping[str, Array]
    annotations: Mapping[str, Any]
    probegroup: Mapping[str, Any] | None
    times: tuple[SegmentTimes, ...]


def metadata_of(recording: Any) -> RecordingMetadata:
    """Return what a SpikeInterface recording knows; what has no form without code behind it is left out."""
    return RecordingMetadata(
        np.asarray(recording.channel_ids),
        {key: scrub(np.asarray(values)) for key, values in recording._properties.items() if _has_form(values)},
        {key: scrub(value) for key, value in recording._annotations.items() if _has_form(value)},
        scrub(recording.get_probegroup().to_dict(array_as_list=True)) if recording.has_probe() else None,
        tuple(_times_of(segment) for segment in recording.segments),
    )


def find_left_out(recording: Any) -> list[str]:
    """Return what ``metadata_of`` leaves out of a recording, each with its reason."""
    named = [(f"the property {key!r}", values) for key, values in recording._properties.items()]
    named += [(f"the annotation {key!r}", value) for key, value in recording._annotations.items()]
    reasons = [(what, _why_no_form(value)) for what, value in named]
    return [f"{what}: {reason}" for what, reason in reasons if reason is not None]


def _has_form(value: object) -> bool:
    return _why_no_form(value) is None


def _why_no_form(value: object) -> str | None:
    if isinstance(value, np.ndarray) and value.dtype.kind in _KINDS and not value.dtype.hasobject:
        return None
    try:
        encode_value(value)
    except ValueError as exc:
        return str(exc)
    return None


def _times_of(segment: Any) -> SegmentTimes:
    times = segment.get_times_kwargs()
    rate_hz, t_start_s, vector = (times[key] for key in ("sampling_frequency", "t_start", "time_vector"))
    return SegmentTimes(
        None if rate_hz is None else float(rate_hz),
        None if t_start_s is None else float(t_start_s),
        None if vector is None else np.asarray(vector, dtype="<f8"),
    )


def apply_metadata(metadata: RecordingMetadata, recording: Any) -> None:
    """Give a recording of the same channels and segments all that ``metadata`` says, in place of what it had."""
    from probeinterface import ProbeGroup

    if len(metadata.channel_ids) != recording.get_num_channels() or len(metadata.times) != recording.get_num_segments():
        raise ProofError(f"{_WHAT} is another recording's: its channels or segments differ")
    recording._properties = {}
    for key, values in metadata.properties.items():
        recording.set_property(key, values)
    recording._annotations = dict(metadata.annotations)
    recording._probegroup = None if metadata.probegroup is None else ProbeGroup.from_dict(dict(metadata.probegroup))
    for segment, times in zip(recording.segments, metadata.times, strict=True):
        if times.vector is not None and len(times.vector) != segment.get_num_samples():
            raise ProofError(f"{_WHAT} is another recording's: a time vector has another length than its segment")
        segment._sampling_frequency = times.sampling_frequency_hz
        segment._t_start = times.t_start_s
        segment._time_vector = times.vector
    recording._time_info_modified = True


# -- to bytes -------------------------------------------------------------------------------------------------------


def encode_metadata(metadata: RecordingMetadata) -> bytes:
    """Return the ``.npz``; the same metadata gives the same bytes."""
    flat = {key: values for key, values in metadata.properties.items() if values.dtype.kind in _KINDS}
    about = {
        "version": _VERSION,
        "properties": [
            {"name": key, **({} if key in flat else {"values": encode_value(values)})}
            for key, values in metadata.properties.items()
        ],
        "annotations": {key: encode_value(value) for key, value in metadata.annotations.items()},
        "probegroup": None if metadata.probegroup is None else encode_value(dict(metadata.probegroup)),
        "segments": [_times_to_json(times) for times in metadata.times],
    }
    data = json.dumps(about, separators=(",", ":"), allow_nan=False).encode()
    arrays: dict[str, Array] = {"about": np.frombuffer(data, "u1"), "channel_ids": metadata.channel_ids}
    for index, key in enumerate(metadata.properties):
        if key in flat:
            arrays[f"property_{index}"] = flat[key]
    for index, times in enumerate(metadata.times):
        if times.vector is not None:
            arrays[f"times_{index}"] = _differences(times.vector)
    return _to_npz(arrays)


def _differences(vector: Array) -> Array:
    """Return what deflate packs well: float64's bits as integers, differenced twice, modulo 2**64.

    Times of a clock differ by nearly one step, so next to nothing is left: 18 million of them pack into 1 MB.
    """
    bits = np.ascontiguousarray(vector, dtype="<f8").view("<u8")
    return np.diff(np.diff(bits, prepend=_ZERO), prepend=_ZERO)


def _sums(differences: Array) -> Array:
    """Undo ``_differences``."""
    sums: Array = np.cumsum(np.cumsum(differences, dtype="<u8"), dtype="<u8").view("<f8")
    return sums


def _times_to_json(times: SegmentTimes) -> dict[str, object]:
    return {
        "sampling_frequency": times.sampling_frequency_hz,
        "t_start": times.t_start_s,
        "has_vector": int(times.vector is not None),
    }


def _to_npz(arrays: Mapping[str, Array]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            npy_format.write_array(member, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy")  # of 1980: the same arrays give the same bytes
            archive.writestr(info, member.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=1)
    return file.getvalue()


# -- from bytes -----------------------------------------------------------------------------------------------------


def decode_metadata(data: bytes) -> RecordingMetadata:
    """Parse what ``encode_metadata`` wrote, or a stranger made up; ProofError says what is wrong with it."""
    try:
        arrays = dict(_from_npz(data))
        return _from_arrays(arrays)
    except _DAMAGE as exc:
        reason = str(exc).splitlines()[0][:200] if str(exc) else type(exc).__name__
        raise ProofError(f"{_WHAT} is refused: {reason}") from exc


def _from_npz(data: bytes) -> Iterator[tuple[str, Array]]:
    if len(data) > MAX_METADATA_BYTES:
        raise ValueError(f"it has {len(data)} bytes, more than {MAX_METADATA_BYTES}")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > MAX_UNPACKED_BYTES or len(members) > 100_000:
            raise ValueError("it is too large unpacked")
        for member in members:
            yield member.filename.removesuffix(".npy"), _array(_unpack(archive, member))


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytearray:
    """Unpack piece by piece: a read of all unpacks up to 2 GB before zipfile looks at the size that was claimed."""
    content = bytearray()
    with archive.open(member) as file:
        while piece := file.read(READ_BYTES):
            content += piece
    return content


def _array(content: bytearray) -> Array:
    file = io.BytesIO(content)
    read = (
        npy_format.read_array_header_1_0 if npy_format.read_magic(file) == (1, 0) else npy_format.read_array_header_2_0
    )
    shape, is_fortran, dtype = read(file)
    if dtype.kind not in _KINDS or dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"an array holds {dtype}")
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError("an array's header doesn't fit its size")
    flat = np.frombuffer(content, dtype, offset=file.tell())  # of a bytearray: properties may be written to
    return flat.reshape(shape, order="F" if is_fortran else "C")


def _from_arrays(arrays: dict[str, Array]) -> RecordingMetadata:
    data = arrays.pop("about").astype("u1").tobytes()
    about = parse_strict_json(data, what=_WHAT, max_bytes=MAX_ABOUT_BYTES, has_fractions=True)
    fields = Fields.of(about, _WHAT)
    if fields.take("version", integer) != _VERSION:
        raise ValueError("it has a version that this kacheryfs doesn't know: update it")
    probegroup = decode_value(fields.find("probegroup", dict))
    properties = dict(_properties(fields.take("properties", list), arrays))
    segments: list[object] = fields.take("segments", list)
    annotations: dict[str, object] = fields.take("annotations", dict)
    fields.finish()
    return RecordingMetadata(
        arrays["channel_ids"],
        properties,
        {key: decode_value(value) for key, value in annotations.items()},
        probegroup,
        tuple(_times(index, value, arrays) for index, value in enumerate(segments)),
    )


def _properties(values: list[object], arrays: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    n_channels = len(arrays["channel_ids"])
    for index, value in enumerate(values):
        fields = Fields.of(value, "a property")
        name = fields.take("name", text)
        array = decode_value(fields.rest["values"]) if "values" in fields.rest else arrays[f"property_{index}"]
        if not isinstance(array, np.ndarray) or array.shape[:1] != (n_channels,):
            raise ValueError(f"the property {name[:40]!r} has not one value a channel")
        yield name, array


def _times(index: int, value: object, arrays: Mapping[str, Array]) -> SegmentTimes:
    fields = Fields.of(value, "a segment's times")
    vector = arrays[f"times_{index}"] if fields.take("has_vector", integer) else None
    if vector is not None and (vector.dtype != "<u8" or vector.ndim != 1):
        raise ValueError("a time vector is not one of differences")
    rate_hz, t_start_s = fields.find("sampling_frequency", number), fields.find("t_start", number)
    return SegmentTimes(rate_hz, t_start_s, None if vector is None else _sums(vector))
