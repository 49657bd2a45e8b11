from __future__ import annotations

import contextlib
import struct

import pytest
from core_strategies import json_values
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.lineage_mda import MAX_HEADER_BYTES, MdaHeader, parse_geom_csv, parse_mda_header
from kacheryfs.core.lineage_recording import (
    BandpassFilter,
    BinRecording,
    FilteredRecording,
    LinkedRecording,
    MdaParams,
    MdaRecording,
    NwbRecording,
    PartOfRecording,
    is_lineage_recording,
    parse_lineage_recording,
)
from kacheryfs.core.lineage_sorting import (
    CuratedSorting,
    H5Sorting,
    LinkedSorting,
    MdaSorting,
    NpyPairSorting,
    NpzSorting,
    NwbSorting,
    is_lineage_sorting,
    parse_lineage_sorting,
)
from kacheryfs.core.link import FileLink, TreeLink
from kacheryfs.core.model import Sha1
from kacheryfs.errors import InputError, KacheryError, LinkError, ProofError

H = "ab" * 20
FILE = FileLink(Sha1.from_hex(H))
BIN = {
    "raw": f"sha1://{H}/raw.dat?manifest={'cd' * 20}",
    "raw_num_channels": 4,
    "num_frames": 1000,
    "samplerate": 30000,
    "channel_ids": [7, 3],
    "channel_map": {"3": 0, "7": 2, "9": 3},
    "channel_positions": {"3": [0, 10], "7": [5.5, 20], "9": [0, 0]},
}
NWB = {"recording_format": "nwb", "data": {"path": f"sha1://{H}"}}
FIRINGS = {"sorting_format": "mda", "data": {"firings": f"sha1://{H}", "samplerate": 30000.0}}


def recording(name: str, **data: object) -> dict[str, object]:
    return {"recording_format": name, "data": data}


def sorting(name: str, **data: object) -> dict[str, object]:
    return {"sorting_format": name, "data": data}


def test_bin1_is_int16_and_its_channels_are_columns_by_id() -> None:
    assert parse_lineage_recording(recording("bin1", **BIN)) == BinRecording(
        FileLink(Sha1.from_hex(H), "raw.dat", Sha1.from_hex("cd" * 20)),
        "<i2",
        4,
        1000,
        30000.0,
        (7, 3),
        (2, 0),
        ((5.5, 20.0), (0.0, 10.0)),
    )


@pytest.mark.parametrize(
    ("dtype", "short"),
    [("int16", "<i2"), ("float32", "<f4"), ("float", "<f8"), ("uint8", "|u1"), ("<i4", "<i4"), (">i2", ">i2")],
)
def test_bin2_says_its_dtype(dtype: str, short: str) -> None:
    parsed = parse_lineage_recording(recording("bin2", **BIN, dtype=dtype))
    assert isinstance(parsed, BinRecording)
    assert parsed.dtype == short


def test_mda_has_its_params_and_positions_inline_or_behind_links() -> None:
    params, geom = {"samplerate": 20000, "spike_sign": -1, "scale_factor": 0.195}, [[1, 0], [2, 0]]
    inline = parse_lineage_recording(recording("mda", raw=f"sha1://{H}", params=params, geom=geom))
    assert inline == MdaRecording(FILE, MdaParams(20000.0, 0.195, -1), ((1.0, 0.0), (2.0, 0.0)))
    folder = f"sha1dir://{H}.study/rec"
    of_spikeforest = {
        "raw": f"{folder}/raw.mda",
        "params": f"{folder}/params.json",
        "geom": f"{folder}/geom.csv",
        "self_reference": f"sha1://{H}/rec.json",
    }
    names = [TreeLink(Sha1.from_hex(H), "study", ("rec", name)) for name in ("raw.mda", "params.json", "geom.csv")]
    assert parse_lineage_recording(of_spikeforest) == MdaRecording(*names)


def test_recordings_stand_inside_others_in_every_form_that_was_written() -> None:
    nwb = NwbRecording(FILE)
    low = {"type": "bandpass_filter", "freq_min": 300, "freq_max": 3000, "freq_wid": 500}
    filters = (BandpassFilter(300.0, 3000.0, 500.0),)
    assert parse_lineage_recording(NWB) == nwb
    assert parse_lineage_recording(recording("filtered", recording=NWB, filters=[low])) == FilteredRecording(
        nwb, filters
    )
    assert parse_lineage_recording({"recording": NWB, "filters": [low]}) == FilteredRecording(nwb, filters)
    assert parse_lineage_recording(
        recording("subrecording", recording=NWB, channel_ids=[2, 1], start_frame=5, end_frame=9)
    ) == PartOfRecording(nwb, (2, 1), None, 5, 9)
    assert parse_lineage_recording(
        recording("subrecording", recording=f"sha1://{H}", channel_ids=None, group=1)
    ) == PartOfRecording(LinkedRecording(FILE), None, (1,))
    assert parse_lineage_recording({"recording": {"path": f"sha1://{H}"}, "group": 0}) == PartOfRecording(
        LinkedRecording(FILE), None, (0,)
    )
    assert parse_lineage_recording(
        recording("nwb", path=f"sha1://{H}", electrical_series_name="e-series")
    ) == NwbRecording(FILE, "e-series")


@pytest.mark.parametrize(
    ("value", "error", "reason"),
    [
        (recording("snippets1", snippets_h5_uri="x"), InputError, "'snippets1' isn't read here"),
        (recording("bin1", **{**BIN, "raw": "/data/raw.dat"}), LinkError, "'raw' of a recording of format bin1"),
        (recording("bin1", **{**BIN, "raw": "../raw.dat"}), LinkError, "is not a link"),
        (recording("bin1", **{**BIN, "raw": "https://x.org/y"}), LinkError, "is not a link"),
        (recording("bin1", **{**BIN, "dtype": "int16"}), ProofError, "'dtype', which this version doesn't know"),
        (recording("bin2", **BIN), ProofError, "has no 'dtype'"),
        (recording("bin2", **BIN, dtype="object"), ProofError, "no type of plain numbers"),
        (recording("bin2", **BIN, dtype="<f1"), ProofError, "no type of plain numbers"),
        (recording("bin2", **BIN, dtype="i2,O"), ProofError, "no type of plain numbers"),
        (recording("bin1", **{**BIN, "num_frames": -1}), ProofError, "'num_frames' .* not a whole number from 0"),
        (recording("bin1", **{**BIN, "num_frames": 1.5}), ProofError, "'num_frames' .* not a whole number from 0"),
        (recording("bin1", **{**BIN, "num_frames": True}), ProofError, "'num_frames' .* is true or false"),
        (recording("bin1", **{**BIN, "num_frames": 1 << 60}), ProofError, "which no file has"),
        (recording("bin1", **{**BIN, "raw_num_channels": 0}), ProofError, "which no file has"),
        (recording("bin1", **{**BIN, "samplerate": 0}), ProofError, "not a rate in Hz"),
        (recording("bin1", **{**BIN, "samplerate": "30000"}), ProofError, "is text, not a number"),
        (recording("bin1", **{**BIN, "channel_ids": [7, 7]}), ProofError, "names one twice"),
        (recording("bin1", **{**BIN, "channel_ids": []}), ProofError, "has no channels"),
        (recording("bin1", **{**BIN, "channel_map": {"7": 2}}), ProofError, "has no '3'"),
        (recording("bin1", **{**BIN, "channel_map": {"7": 2, "3": 4}}), ProofError, "column that is not one of 4"),
        (recording("bin1", **{**BIN, "channel_map": {"7": 2, "3": -1}}), ProofError, "column that is not one of 4"),
        (recording("bin1", **{**BIN, "channel_positions": {"7": [0, 0], "3": [0]}}), ProofError, "differing numbers"),
        (recording("bin1", **{**BIN, "channel_positions": {"7": [0, "0"], "3": [0]}}), ProofError, "made of numbers"),
        (recording("mda", raw=f"sha1://{H}", params={}), ProofError, "has no 'samplerate'"),
        (recording("mda", raw=f"sha1://{H}", params=[]), ProofError, "not an object"),
        (recording("subrecording", recording=NWB, start_frame=9, end_frame=5), ProofError, "ends before it begins"),
        (recording("filtered", recording=NWB, filters=[{"type": "notch"}]), InputError, "'notch' isn't read here"),
        (
            recording("filtered", recording=NWB, filters=[{"type": "bandpass_filter", "freq_min": 9000}]),
            ProofError,
            "lets nothing pass",
        ),
        (recording("filtered", recording=NWB, filters=[{"type": "bandpass_filter"}] * 99), ProofError, "more than 16"),
        ({"recording_format": "bin1"}, ProofError, "has no 'data'"),
        ({"what": "ever"}, ProofError, "not a recording of the lineage"),
        ("/etc/passwd", LinkError, "is not a link"),
        (7, ProofError, "is a number, not an object"),
    ],
)
def test_what_no_recording_can_be_is_refused_in_one_line(value: object, error: type[KacheryError], reason: str) -> None:
    with pytest.raises(error, match=reason) as caught:
        parse_lineage_recording(value)
    assert "\n" not in str(caught.value)


def test_objects_that_stand_inside_each_other_without_end_are_refused() -> None:
    rec: object = NWB
    sort: object = FIRINGS
    for _ in range(30):
        rec, sort = recording("subrecording", recording=rec), sorting("curated", sorting=sort, merge_groups=[])
    with pytest.raises(ProofError, match="deeper than 16"):
        parse_lineage_recording(rec)
    with pytest.raises(ProofError, match="deeper than 16"):
        parse_lineage_sorting(sort)


def test_every_sorting_format_is_read() -> None:
    link = f"sha1://{H}"
    firings = MdaSorting(FILE, 30000.0)
    assert parse_lineage_sorting(FIRINGS) == firings
    assert parse_lineage_sorting({"firings": link, "self_reference": "anything"}) == MdaSorting(FILE)
    assert parse_lineage_sorting(
        sorting("npy1", times_npy_uri=link, labels_npy_uri=link, samplerate=20000)
    ) == NpyPairSorting(FILE, FILE, 20000.0)
    assert parse_lineage_sorting(
        sorting("npy2", npz_uri=link, unit_ids=[1, 2], sampling_frequency=20000)
    ) == NpzSorting(FILE, (1, 2), 20000.0)
    assert parse_lineage_sorting(sorting("h5_v1", h5_path=link)) == H5Sorting(FILE)
    assert parse_lineage_sorting(sorting("nwb", path=link)) == NwbSorting(FILE)
    assert parse_lineage_sorting(
        sorting("curated", sorting=FIRINGS, merge_groups=[[3, 2], [5], [2, 9]])
    ) == CuratedSorting(firings, ((2, 3, 9),))
    assert parse_lineage_sorting(link) == LinkedSorting(FILE)
    assert parse_lineage_sorting({"path": link}) == LinkedSorting(FILE)


@pytest.mark.parametrize(
    ("value", "error", "reason"),
    [
        (sorting("in_memory", key="x"), InputError, "'in_memory' isn't read here"),
        (sorting("npy1", times_npy_uri=f"sha1://{H}"), ProofError, "has no 'labels_npy_uri'"),
        (sorting("mda", firings="firings.mda"), LinkError, "'firings' of a sorting of format mda"),
        (sorting("mda", firings=f"sha1://{H}", samplerate=-3), ProofError, "not a rate in Hz"),
        (sorting("curated", sorting=FIRINGS, merge_groups=[[1.5, 2]]), ProofError, "neither a whole number"),
        (sorting("h5_v1", h5_path=f"sha1://{H}", code="x"), ProofError, "'code', which this version doesn't know"),
        ({}, ProofError, "not a sorting of the lineage"),
    ],
)
def test_what_no_sorting_can_be_is_refused_in_one_line(value: object, error: type[KacheryError], reason: str) -> None:
    with pytest.raises(error, match=reason) as caught:
        parse_lineage_sorting(value)
    assert "\n" not in str(caught.value)


def test_an_object_is_known_by_its_keys() -> None:
    assert is_lineage_recording(NWB)
    assert is_lineage_recording({"raw": "", "params": "", "geom": ""})
    assert is_lineage_sorting(FIRINGS)
    assert is_lineage_sorting({"firings": ""})
    for other in ({}, [], None, {"format": "kacheryfs-recording"}):
        assert not is_lineage_recording(other)
        assert not is_lineage_sorting(other)


@pytest.mark.parametrize(
    ("code", "dtype"),
    [(-2, "|u1"), (-3, "<f4"), (-4, "<i2"), (-5, "<i4"), (-6, "<u2"), (-7, "<f8"), (-8, "<u4")],
)
def test_every_type_of_an_mda_file_is_known(code: int, dtype: str) -> None:
    n_bytes = int(dtype[2:])
    narrow = parse_mda_header(struct.pack("<5i", code, n_bytes, 2, 4, 1000), "x.mda")
    wide = parse_mda_header(struct.pack("<3i2q", code, n_bytes, -2, 4, 3_000_000_000), "x.mda")
    assert narrow == MdaHeader(dtype, (4, 1000), 20)
    assert wide == MdaHeader(dtype, (4, 3_000_000_000), 28)
    assert wide.size_bytes == 28 + 12_000_000_000 * n_bytes


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ends within the header"),
        (struct.pack("<4i", -4, 2, 2, 4), "ends within the header"),
        (struct.pack("<3i1q", -4, 2, -2, 4), "ends within the header"),
        (struct.pack("<5i", -1, 8, 2, 4, 4), "the code -1"),
        (struct.pack("<5i", 7, 8, 2, 4, 4), "the code 7"),
        (struct.pack("<5i", -4, 8, 2, 4, 4), "entries have 8 bytes"),
        (struct.pack("<5i", -4, 2, 0, 4, 4), "of 0 dimensions"),
        (struct.pack("<5i", -4, 2, 2_000_000_000, 4, 4), "of 2000000000 dimensions"),
        (struct.pack("<5i", -4, 2, -(1 << 31), 4, 4), "dimensions"),
        (struct.pack("<5i", -4, 2, 2, -4, -4), "has the dimensions -4 × -4"),
        (struct.pack("<3i2q", -4, 2, -2, 1 << 62, 1 << 62), "has the dimensions"),
        (b"\x93NUMPY" + b" " * 100, "is no MDA file"),
    ],
)
def test_a_damaged_or_hostile_mda_header_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ProofError, match=reason) as caught:
        parse_mda_header(data, "x.mda")
    assert "\n" not in str(caught.value)


def test_positions_are_read_from_the_text_that_numpy_writes() -> None:
    text = b"# x,y\n1.0e+00,0.0\n\n 2.5 , -3\r\n"
    assert parse_geom_csv(text) == ((1.0, 0.0), (2.5, -3.0))
    for damaged in (b"1,2\n3", b"a,b", b"1,nan", b"\xff", b"1,2,3,4"):
        with pytest.raises(ProofError):
            parse_geom_csv(damaged)


@given(st.binary(max_size=MAX_HEADER_BYTES + 4))
def test_any_bytes_are_an_mda_header_or_a_proof_error(data: bytes) -> None:
    for variant in (data, struct.pack("<2i", -4, 2) + data):
        with contextlib.suppress(ProofError):
            header = parse_mda_header(variant, "x.mda")
            assert 0 < header.header_bytes <= len(variant)
    with contextlib.suppress(ProofError):
        parse_geom_csv(data)


_names = st.sampled_from(["bin1", "bin2", "mda", "nwb", "subrecording", "filtered", "npy1", "npy2", "h5_v1", "curated"])
_keys = st.sampled_from(
    [*BIN, "dtype", "geom", "params", "path", "recording", "filters", "group", "sorting", "merge_groups", "firings"]
)
_values = st.one_of(
    json_values, st.sampled_from([f"sha1://{H}", NWB, FIRINGS, *BIN.values(), {"type": "bandpass_filter"}])
)


@given(_names, st.dictionaries(_keys, _values), st.booleans())
def test_any_object_is_parsed_or_an_error_of_ours(name: str, data: dict[str, object], is_short: bool) -> None:
    with contextlib.suppress(KacheryError):
        parse_lineage_recording(data if is_short else {**recording(name, **{**BIN, **data})})
    with contextlib.suppress(KacheryError):
        parse_lineage_sorting(data if is_short else sorting(name, **data))
