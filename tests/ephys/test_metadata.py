"""What a recording knows goes there and back without loss; absolute paths go nowhere, and strangers are held up."""

from __future__ import annotations

import datetime
import io
import zipfile
from typing import Any

import numpy as np
import pytest
import spikeinterface as si

from kacheryfs.ephys.metadata import (
    RecordingMetadata,
    SegmentTimes,
    apply_metadata,
    decode_metadata,
    encode_metadata,
    metadata_of,
)
from kacheryfs.errors import ProofError


def make_recording(n_frames: int = 3000) -> Any:
    recording = si.generate_recording(num_channels=4, durations=[n_frames / 30_000, 0.05], seed=1)
    recording.set_property("quality", np.array(["good", "noise", "good", ""]))
    recording.set_property("depth", np.array([1, 2, 3, 4], dtype="float32"))
    recording.set_property("mixed", np.array(["a", None, 3, 2.5], dtype=object))
    recording.set_property("pair", np.array([(1, 2.0)] * 4, dtype=[("a", "i4"), ("b", "f8")]))
    recording.annotate(
        session="s1", n=np.int64(3), when=datetime.datetime(2026, 1, 2), where=(1, 2), curve=np.arange(3.0)
    )
    recording.set_times(np.arange(n_frames) / 30_000.1 + 5, segment_index=0)
    recording.shift_times(2.5, segment_index=1)
    return recording


def test_everything_that_a_recording_knows_goes_there_and_back() -> None:
    recording = make_recording()
    other = si.generate_recording(num_channels=4, durations=[0.1, 0.05], seed=2, set_probe=False)
    apply_metadata(decode_metadata(encode_metadata(metadata_of(recording))), other)
    assert other.get_property_keys() == recording.get_property_keys()
    for key in recording.get_property_keys():
        values = other.get_property(key)
        assert values.dtype == recording.get_property(key).dtype
        assert np.array_equal(values, recording.get_property(key))
    assert np.array_equal(other._annotations.pop("curve"), recording._annotations.pop("curve"))
    assert other._annotations == recording._annotations
    for segment_index in range(2):
        assert np.array_equal(other.get_times(segment_index), recording.get_times(segment_index))
    assert other.get_probegroup().to_dict(array_as_list=True) == recording.get_probegroup().to_dict(array_as_list=True)


def test_one_metadata_has_one_form() -> None:
    assert encode_metadata(metadata_of(make_recording())) == encode_metadata(metadata_of(make_recording()))


@pytest.mark.parametrize(
    "vector",
    [np.arange(300_000) / 30_000.3 + 5, np.array([np.nan, np.inf, -0.0, 1e300, -5.0]), np.zeros(0)],
    ids=["clock", "odd", "none"],
)
def test_times_come_back_to_the_bit_and_a_clocks_are_small(vector: Any) -> None:
    metadata = RecordingMetadata(np.arange(2), {}, {}, None, (SegmentTimes(None, None, vector),))
    data = encode_metadata(metadata)
    assert decode_metadata(data).times[0].vector.tobytes() == vector.tobytes()  # type: ignore[union-attr]
    assert len(data) < 100_000  # of 2.4 MB


def test_absolute_paths_and_objects_with_code_stay_here() -> None:
    recording = make_recording()
    recording.annotate(origin="/home/alice/data/rec.bin", code=make_recording)
    recording.set_property("file", np.array(["/home/alice/a.bin"] * 4))
    metadata = decode_metadata(encode_metadata(metadata_of(recording)))
    assert metadata.annotations["origin"] == "rec.bin"
    assert "code" not in metadata.annotations
    assert metadata.properties["file"].tolist() == ["a.bin"] * 4


def test_another_recordings_metadata_is_refused() -> None:
    metadata = metadata_of(make_recording())
    with pytest.raises(ProofError, match="another recording"):
        apply_metadata(metadata, si.generate_recording(num_channels=5, durations=[0.1, 0.05]))
    with pytest.raises(ProofError, match="another length"):
        apply_metadata(metadata, si.generate_recording(num_channels=4, durations=[0.2, 0.05]))


def repacked(change: dict[str, bytes | None]) -> bytes:
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(encode_metadata(metadata_of(make_recording())))) as old,
        zipfile.ZipFile(file, "w") as new,
    ):
        for name in old.namelist():
            content = change.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return file.getvalue()


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def test_what_a_stranger_made_up_is_refused() -> None:
    pickled = npy(np.array([print], dtype=object), allow_pickle=True)
    short = npy(np.arange(4))[:-8]
    for data in (
        b"PK no zip",
        repacked({"about.npy": None}),
        repacked({"about.npy": npy(np.frombuffer(b"{}", "u1"))}),
        repacked({"channel_ids.npy": pickled}),
        repacked({"channel_ids.npy": short}),
        repacked({"channel_ids.npy": b"\x93NUMPY\x01\x00"}),
        repacked({"property_0.npy": npy(np.arange(3))}),
        repacked({"times_0.npy": npy(np.array(["x"]))}),
    ):
        with pytest.raises(ProofError) as caught:
            decode_metadata(data)
        assert "\n" not in str(caught.value)
