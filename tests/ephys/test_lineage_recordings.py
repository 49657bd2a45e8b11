"""Each recording format of the lineage: files written by hand at one lab, read at another through a real server."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spikeinterface.preprocessing as spre
from lab_pairs import LabPair
from lineage_formats import (
    N_CHANNELS,
    RATE_HZ,
    SharedFiles,
    bin_object,
    kachery_storage,
    mda_bytes,
    samples,
    write_nwb,
)

from kacheryfs.app.embedded import get_fetcher
from kacheryfs.core.link import parse_link
from kacheryfs.ephys.lineage import load_lineage_recording

PARAMS = {"samplerate": RATE_HZ, "spike_sign": -1, "scale_factor": 0.5}
GEOM = [[float(channel), 20.0 * channel] for channel in range(N_CHANNELS)]


@pytest.fixture
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabPair:
    return LabPair(tmp_path, monkeypatch)


@pytest.fixture
def files(labs: LabPair, tmp_path: Path) -> SharedFiles:
    return SharedFiles(labs.alice, tmp_path / "files")


@pytest.fixture
def bob(labs: LabPair, files: SharedFiles) -> Iterator[None]:
    """Be bob, while alice serves what she shares: now and later."""
    with labs.at_bob_with_alice_serving():
        yield


def load(value: object) -> Any:
    return load_lineage_recording(get_fetcher(), value)


def assert_traces(recording: Any, expected: np.ndarray[Any, Any]) -> None:
    assert recording.get_num_segments() == 1
    assert recording.get_sampling_frequency() == RATE_HZ
    assert recording.get_dtype() == expected.dtype
    assert recording.get_num_samples() == len(expected)
    np.testing.assert_array_equal(recording.get_traces(), expected)
    np.testing.assert_array_equal(recording.get_traces(start_frame=100, end_frame=217), expected[100:217])


@pytest.mark.usefixtures("bob")
def test_bin1_channels_are_found_by_their_map(files: SharedFiles) -> None:
    raw = samples()
    (link,) = files.add({"raw.dat": raw.tobytes()})
    recording = load(bin_object(link, [7, 3, 4], [5, 0, 2]))
    assert recording.channel_ids.tolist() == [7, 3, 4]
    assert_traces(recording, raw[:, [5, 0, 2]])
    np.testing.assert_array_equal(recording.get_traces(channel_ids=[4, 7]), raw[:, [2, 5]])
    assert recording.get_channel_locations().tolist() == [[70.0, 5.0], [30.0, 5.0], [40.0, 5.0]]


@pytest.mark.usefixtures("bob")
@pytest.mark.parametrize(("dtype", "name"), [("<f4", "float32"), ("<i4", "int32"), (">i2", ">i2"), ("|u1", "uint8")])
def test_bin2_has_any_dtype_and_may_hold_more_frames_than_it_tells_of(
    dtype: str, name: str, files: SharedFiles
) -> None:
    raw = samples(dtype)
    (link,) = files.add({"raw.dat": raw.tobytes()})
    ids = list(range(N_CHANNELS))
    assert_traces(load(bin_object(link, ids, ids, dtype=name)), raw)
    assert_traces(load(bin_object(link, ids, ids, dtype=name, num_frames=3000)), raw[:3000])


@pytest.mark.usefixtures("bob")
def test_a_link_of_kachery_with_its_own_manifest_is_read_in_parts(files: SharedFiles, tmp_path: Path) -> None:
    raw = samples(n_frames=200_000)
    link = kachery_storage(tmp_path / "kachery-storage", raw.tobytes(), 1_000_000)
    files.peer.get("share", "--kachery-storage", tmp_path / "kachery-storage")
    recording = load(bin_object(link, [0, 1], [0, 1], num_frames=200_000))
    np.testing.assert_array_equal(
        recording.get_traces(start_frame=150_000, end_frame=150_500), raw[150_000:150_500, :2]
    )
    present = files.peer.folder.parent / "bob"
    assert sum(path.stat().st_blocks * 512 for path in present.rglob("*") if path.is_file()) < raw.nbytes


@pytest.mark.usefixtures("bob")
@pytest.mark.parametrize("dtype", ["|u1", "<f4", "<i2", "<i4", "<u2", "<f8", "<u4"])
@pytest.mark.parametrize("is_wide", [False, True])
def test_mda_of_every_type_is_read(dtype: str, is_wide: bool, files: SharedFiles) -> None:
    raw = samples(dtype)
    (link,) = files.add({"raw.mda": mda_bytes(raw.T, is_wide=is_wide)})
    recording = load({"recording_format": "mda", "data": {"raw": link, "geom": GEOM, "params": PARAMS}})
    assert recording.channel_ids.tolist() == list(range(N_CHANNELS))
    assert_traces(recording, raw)
    assert recording.get_channel_locations().tolist() == GEOM
    assert recording.get_annotation("scale_factor") == 0.5


@pytest.mark.usefixtures("bob")
def test_a_recording_of_spikeforest_is_read_with_links_and_inline(files: SharedFiles) -> None:
    raw = samples("<f4")
    geom = "\n".join(f"{x:.6e},{y}" for x, y in GEOM).encode()
    links = files.add({"raw.mda": mda_bytes(raw.T), "params.json": json.dumps(PARAMS).encode(), "geom.csv": geom})
    for params, positions in ((PARAMS, GEOM), (links[1], links[2])):
        value = {"raw": links[0], "params": params, "geom": positions, "self_reference": links[0]}
        recording = load(parse_link(files.add_object(value)))
        assert_traces(recording, raw)
        assert recording.get_channel_locations().tolist() == GEOM


@pytest.mark.usefixtures("bob")
def test_a_folder_of_spikeforest_is_read_by_its_link_and_by_paths_inside(files: SharedFiles, tmp_path: Path) -> None:
    raw = samples("<i2")
    folder = tmp_path / "study" / "001_synth"
    folder.mkdir(parents=True)
    (folder / "raw.mda").write_bytes(mda_bytes(raw.T))
    (folder / "params.json").write_text(json.dumps(PARAMS))
    (folder / "geom.csv").write_text("\n".join(f"{x},{y}" for x, y in GEOM))
    (study,) = files.share(tmp_path / "study")
    inside = f"{study}/001_synth"
    by_paths = {"raw": f"{inside}/raw.mda", "params": f"{inside}/params.json", "geom": f"{inside}/geom.csv"}
    for value in (inside, {"path": inside}, by_paths, {"recording_format": "mda", "data": by_paths}):
        recording = load(value)
        assert_traces(recording, raw)
        assert recording.get_channel_locations().tolist() == GEOM


@pytest.mark.usefixtures("bob")
def test_parts_are_channels_or_groups_and_frames(files: SharedFiles) -> None:
    raw = samples()
    (link,) = files.add({"raw.dat": raw.tobytes()})
    whole = bin_object(link, list(range(N_CHANNELS)), list(range(N_CHANNELS)))

    def part(**data: object) -> Any:
        return load({"recording_format": "subrecording", "data": {"recording": whole, **data}})

    assert_traces(part(channel_ids=[4, 1], start_frame=50, end_frame=1000), raw[50:1000, [4, 1]])
    assert part(channel_ids=[4, 1]).channel_ids.tolist() == [4, 1]
    assert_traces(part(channel_ids=None, start_frame=4000, end_frame=None), raw[4000:])
    assert_traces(part(group=0), raw)
    assert_traces(load({"recording": whole, "channel_ids": [2]}), raw[:, [2]])


@pytest.mark.usefixtures("bob")
def test_a_filtered_recording_is_spikeinterfaces_band_pass_of_it(files: SharedFiles) -> None:
    raw = samples()
    (link,) = files.add({"raw.dat": raw.tobytes()})
    whole = bin_object(link, list(range(N_CHANNELS)), list(range(N_CHANNELS)))
    band = {"type": "bandpass_filter", "freq_min": 300, "freq_max": 6000, "freq_wid": 1000}

    def filtered(**changes: object) -> Any:
        return load({"recording_format": "filtered", "data": {"recording": whole, "filters": [{**band, **changes}]}})

    expected = spre.bandpass_filter(load(whole), 300, 6000, dtype="float32")
    np.testing.assert_array_equal(filtered().get_traces(), expected.get_traces())
    assert filtered().get_dtype() == "float32"
    assert filtered().get_annotation("freq_wid_hz") == 1000.0
    high = spre.highpass_filter(load(whole), 300, dtype="float32")
    np.testing.assert_array_equal(filtered(freq_max=0).get_traces(), high.get_traces())
    np.testing.assert_array_equal(filtered(freq_max=RATE_HZ).get_traces(), high.get_traces())
    np.testing.assert_array_equal(filtered(freq_min=0, freq_max=0).get_traces(), raw)
    low = filtered(freq_min=0, freq_max=1000).get_traces()
    np.testing.assert_allclose(low.mean(axis=0), raw.mean(axis=0), rtol=0.02)
    assert np.diff(low, axis=0).std() < 0.3 * np.diff(raw.astype("float32"), axis=0).std()


@pytest.mark.usefixtures("bob")
def test_nwb_is_read_lazily_by_its_series_name(files: SharedFiles, tmp_path: Path) -> None:
    raw, other = samples(), samples("<f4")
    write_nwb(tmp_path / "two.nwb", {"e-series": raw, "lfp": other})
    write_nwb(tmp_path / "one.nwb", {"e-series": raw})
    two, one = files.share(tmp_path / "two.nwb", tmp_path / "one.nwb")
    named = {"recording_format": "nwb", "data": {"path": two, "electrical_series_name": "e-series"}}
    for value in (named, one, {"recording_format": "nwb", "data": {"path": one, "electrical_series_name": None}}):
        recording = load(value)
        assert_traces(recording, raw)
        np.testing.assert_allclose(recording.get_channel_gains(), 2.0)
        assert recording.get_channel_locations().tolist() == GEOM
    part = {"recording_format": "subrecording", "data": {"recording": named, "group": 1}}
    assert_traces(load(part), raw[:, 2:])


@pytest.mark.usefixtures("bob")
def test_objects_may_name_others_by_links(files: SharedFiles) -> None:
    raw = samples()
    (link,) = files.add({"raw.dat": raw.tobytes()})
    inner = files.add_object(bin_object(link, [0, 1], [0, 1]), "inner.json")
    outer = files.add_object({"recording": {"path": inner}, "channel_ids": [1]}, "outer.json")
    assert_traces(load(outer), raw[:, [1]])


@pytest.mark.usefixtures("bob")
def test_a_loaded_recording_survives_a_pickle(files: SharedFiles) -> None:
    raw = samples()
    (link,) = files.add({"raw.mda": mda_bytes(raw.T)})
    recording = load({"recording_format": "mda", "data": {"raw": link, "geom": GEOM, "params": PARAMS}})
    again = pickle.loads(pickle.dumps(recording))
    assert_traces(again, raw)
    assert again.get_channel_locations().tolist() == GEOM


@pytest.mark.usefixtures("bob")
def test_positions_of_another_number_of_channels_are_left_out_with_a_warning(files: SharedFiles) -> None:
    (link,) = files.add({"raw.mda": mda_bytes(samples().T)})
    with pytest.warns(UserWarning, match="2 positions for 6 channels"):
        recording = load({"recording_format": "mda", "data": {"raw": link, "geom": GEOM[:2], "params": PARAMS}})
    assert not recording.has_probe()


@pytest.mark.usefixtures("bob")
@pytest.mark.parametrize("n_coordinates", [1, 3])
def test_positions_on_a_line_or_in_space_make_a_probe(n_coordinates: int, files: SharedFiles) -> None:
    (link,) = files.add({"raw.mda": mda_bytes(samples().T)})
    geom = [[1.0 * channel, 2.0, 3.0][:n_coordinates] for channel in range(N_CHANNELS)]
    recording = load({"recording_format": "mda", "data": {"raw": link, "geom": geom, "params": PARAMS}})
    expected = [[1.0 * channel, 2.0 if n_coordinates > 1 else 0.0] for channel in range(N_CHANNELS)]
    assert recording.get_channel_locations().tolist() == expected


def test_the_files_are_read_where_they_lie_by_whoever_shares_them(labs: LabPair, files: SharedFiles) -> None:
    raw = samples()
    (link,) = files.add({"raw.dat": raw.tobytes()})
    with labs.at(labs.alice):
        assert_traces(load(bin_object(link, [0], [0])), raw[:, [0]])
