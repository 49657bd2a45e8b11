from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.collection import why_not_an_id
from kacheryfs.core.collection_json import decode_collection, encode_collection
from kacheryfs.core.collection_lineage import Converted, as_id, convert_old_collection
from kacheryfs.core.lineage_collection import parse_old_collection
from kacheryfs.core.link import FileLink
from kacheryfs.core.model import Sha1
from kacheryfs.errors import ProofError

H = "0123456789abcdef0123456789abcdef01234567"
OBJECT = {"recording_format": "nwb", "data": {"path": f"sha1://{H}/a.nwb"}}
OBJECT_JSON = b'{"data":{"path":"sha1://%b/a.nwb"},"recording_format":"nwb"}' % H.encode()


def convert(recordings: list[Any], sortings: list[Any] | None = None, name: str = "old") -> Converted:
    return convert_old_collection(parse_old_collection({"recordings": recordings, "sortings": sortings or []}), name)


def recording(recording_id: str = "R-1", **members: object) -> dict[str, object]:
    return {"recordingId": recording_id, "recordingLabel": "one", "recordingObject": OBJECT, **members}


def sorting(sorting_id: str = "S-1", **members: object) -> dict[str, object]:
    given = {"sortingId": sorting_id, "recordingId": "R-1", "sortingPath": f"sha1://{H}/s.json"}
    return {**given, **members}


def test_an_embedded_object_becomes_a_file_of_its_own() -> None:
    done = convert([recording(description="of a\nlocust", tags=["b", "a", "b", ""])])
    entry = done.collection.recordings["R-1"]
    assert entry.link == FileLink(Sha1.of(OBJECT_JSON), "R-1.json")
    assert done.objects == {Sha1.of(OBJECT_JSON): OBJECT_JSON}
    assert (entry.label, entry.description, entry.tags) == ("one", "of a\nlocust", ("a", "b"))
    assert done.warnings == ()


def test_what_the_lineage_knew_of_a_recording_is_carried_over() -> None:
    info = {"sampling_frequency": 20000, "num_frames": 50000, "channel_ids": [1, 2], "geom": [[0, 0], [0, 1]]}
    entry = convert([recording(recordingInfo=info)]).collection.recordings["R-1"]
    assert (entry.sampling_frequency, entry.n_channels, entry.duration_s) == (20000.0, 2, 2.5)


def test_an_id_that_no_folder_can_have_is_changed_and_stays_unique() -> None:
    labels = ["PAIRED/boyden/1103", "PAIRED_boyden_1103", "..", "_..", "x\ny"]
    done = convert([recording(label) for label in labels], [sorting(recordingId="..")])
    assert list(done.collection.recordings) == sorted(
        ["PAIRED_boyden_1103", "PAIRED_boyden_1103-2", "_..", "_..-2", "x_y"]
    )
    assert done.collection.sortings["S-1"].recording_id == "_.."


def test_a_sorting_brings_a_recording_that_is_no_longer_listed() -> None:
    done = convert([], [sorting(recordingObject=OBJECT), sorting("S-2")])
    assert done.collection.recordings["R-1"].link == FileLink(Sha1.of(OBJECT_JSON), "R-1.json")
    assert sorted(done.collection.sortings) == ["S-1", "S-2"]


def test_what_is_not_carried_over_is_told() -> None:
    curation = {"labelsByUnit": {"1": ["accept"]}, "mergeGroups": [[2, 3]]}
    done = convert(
        [recording(), recording("R-2", recordingObject=None)],
        [sorting(curation=curation, unitMetricsUri=f"sha1://{H}/m.json"), sorting("S-2", recordingId="R-9")],
    )
    assert [*done.warnings] == [
        "recording 'R-2' is left out: it has no link and no object",
        "sorting 'S-1': not carried over: labels of units, merged units, metrics",
        "sorting 'S-2' is left out: its recording is unknown",
    ]


def test_numbers_that_no_recording_has_are_refused() -> None:
    with pytest.raises(ProofError, match="old collection is refused"):
        convert([recording(recordingInfo={"sampling_frequency": 1e-300, "num_frames": 10**15})])


def test_ten_thousand_ids_that_become_alike_take_no_longer_than_others() -> None:
    done = convert([recording("/" * (1 + n % 2) + "\n" * (1 + n // 2)) for n in range(10_000)])
    assert len(done.collection.recordings) == 10_000


@given(st.text(max_size=300))
def test_any_text_gives_an_id(text: str) -> None:
    assert why_not_an_id(as_id(text)) is None
    assert as_id(as_id(text)) == as_id(text)


old_ids = st.text(min_size=1, max_size=8)


@given(st.lists(old_ids, unique=True, max_size=8), st.text(max_size=20), st.lists(st.text(max_size=5), max_size=4))
def test_whatever_was_converted_can_be_written_and_read(ids: list[str], text: str, tags: list[str]) -> None:
    entries = [recording(one, recordingLabel=text, description=text, tags=tags) for one in ids]
    sortings = [sorting(one, recordingId=one, sortingLabel=text) for one in ids]
    done = convert(json.loads(json.dumps(entries)), sortings, name=text)
    assert len(done.collection.recordings) == len(done.collection.sortings) == len(ids)
    assert decode_collection(encode_collection(done.collection)) == done.collection
