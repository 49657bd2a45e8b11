from __future__ import annotations

import contextlib
import hashlib
import json
from typing import Any

import pytest
from core_strategies import json_values
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.lineage_collection import (
    OldRecordingInfo,
    decode_old_collection,
    is_old_collection,
    parse_old_collection,
)
from kacheryfs.core.lineage_curation import Curation, OldCuration
from kacheryfs.core.lineage_feed import decode_feed, is_feed, replay_feed
from kacheryfs.core.link import FileLink, TreeLink
from kacheryfs.core.model import Sha1
from kacheryfs.errors import KacheryError, LinkError, ProofError

H = "12" * 20
RECORDING = {
    "recordingId": "R-1",
    "recordingLabel": "first",
    "recordingPath": f"sha1://{H}/first.json",
    "recordingObject": {"recording_format": "nwb", "data": {"path": f"sha1://{H}/x.nwb"}},
    "description": "Imported from Python: first",
}
SORTING = {
    "sortingId": "S-1",
    "sortingLabel": "sorted",
    "sortingPath": f"sha1://{H}/sorted.json?manifest={'cd' * 20}",
    "sortingObject": {"sorting_format": "mda", "data": {"firings": f"sha1://{H}/f.mda", "samplerate": 30000}},
    "recordingId": "R-1",
    "recordingPath": f"sha1://{H}/first.json",
    "recordingObject": RECORDING["recordingObject"],
    "tags": ["truth"],
    "description": "",
}


def canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def feed(subfeeds: list[tuple[object, list[object]]]) -> dict[str, Any]:
    return {
        "subfeeds": {
            hashlib.sha1(canonical(name).encode()).hexdigest(): {"subfeedName": name, "messages": messages}
            for name, messages in subfeeds
        }
    }


def actions_on_the_sorting(*actions: dict[str, object]) -> dict[str, Any]:
    add = [{"type": "ADD_RECORDING", "recording": RECORDING}]
    rest = [{"type": "ADD_SORTING", "sorting": SORTING}, *({"sortingId": "S-1", **action} for action in actions)]
    return feed(
        [
            ({"documentId": "default", "key": "sortings"}, [{"action": action} for action in rest]),
            ({"documentId": "default", "key": "recordings"}, [{"action": action} for action in add]),
        ]
    )


def curation_after(*actions: dict[str, object]) -> OldCuration:
    result = replay_feed(actions_on_the_sorting(*actions))
    assert not result.warnings
    return result.sortings[0].curation


def test_a_collection_is_read_with_all_that_it_says() -> None:
    read = decode_old_collection(json.dumps({"recordings": [RECORDING], "sortings": [SORTING]}).encode())
    recording, sorting = read.recordings[0], read.sortings[0]
    assert read.warnings == ()
    assert (recording.recording_id, recording.label, recording.description) == (
        "R-1",
        "first",
        "Imported from Python: first",
    )
    assert recording.link == FileLink(Sha1.from_hex(H), "first.json")
    assert recording.object_json == canonical(RECORDING["recordingObject"])
    assert (sorting.sorting_id, sorting.recording_id, sorting.tags) == ("S-1", "R-1", ("truth",))
    assert sorting.link == FileLink(Sha1.from_hex(H), "sorted.json", Sha1.from_hex("cd" * 20))
    assert sorting.object_json == canonical(SORTING["sortingObject"])
    assert sorting.recording_link == recording.link


def test_what_the_lineage_knew_of_a_recording_is_kept() -> None:
    info = {"sampling_frequency": 30000, "num_frames": 18000, "channel_ids": [0, 1], "geom": [[1, 0], [2.5, 0]]}
    path = f"sha1dir://{H}.synth/001_synth"
    entry = {"recordingId": "a/b", "recordingPath": path, "recordingInfo": {**info, "channel_groups": [0, 0]}}
    recording = parse_old_collection({"recordings": [entry]}).recordings[0]
    assert recording.info == OldRecordingInfo(30000.0, 18000, 2, ((1.0, 0.0), (2.5, 0.0)))
    assert recording.link == TreeLink(Sha1.from_hex(H), "synth", ("001_synth",))


def test_a_path_of_the_authors_machine_and_an_unknown_key_are_warnings() -> None:
    entry = {"recordingId": "R", "recordingPath": "/home/somebody/raw.json", "colour": "red"}
    read = parse_old_collection({"recordings": [entry], "sortings": []})
    assert read.recordings[0].link is None
    assert ["colour" in warning for warning in read.warnings] == [True, False]
    assert "'/home/somebody/raw.json' is not a link" in read.warnings[1]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"recordings": [RECORDING, RECORDING]}, "two recordings with the id 'R-1'"),
        ({"sortings": [SORTING, SORTING]}, "two sortings with the id 'S-1'"),
        ({"recordings": {}}, "'recordings' of an old collection is an object, not a list"),
        ({"recordings": [], "sorting": []}, "'sorting', which this version doesn't know"),
        ({"recordings": [{}]}, "has no 'recordingId'"),
        ({"recordings": [{"recordingId": ""}]}, "is empty"),
        ({"recordings": [{"recordingId": 7}]}, "is a number, not text"),
        ({"sortings": [{"sortingId": "S"}]}, "has no 'recordingId'"),
        ({"sortings": [{**SORTING, "tags": "x"}]}, "'tags' .* is text, not a list"),
        ({"sortings": [{**SORTING, "tags": [1]}]}, "holds a number, not text"),
        ([], "is a list, not an object"),
    ],
)
def test_a_damaged_collection_is_refused_in_one_line(value: object, reason: str) -> None:
    with pytest.raises(ProofError, match=reason) as caught:
        parse_old_collection(value)
    assert "\n" not in str(caught.value)


def test_a_feed_is_replayed_recordings_first_whatever_order_its_subfeeds_have() -> None:
    read = replay_feed(actions_on_the_sorting())
    assert [one.recording_id for one in read.recordings] == ["R-1"]
    assert [one.sorting_id for one in read.sortings] == ["S-1"]
    assert read.warnings == ()


def test_labels_are_added_and_removed_for_one_unit_or_several() -> None:
    curation = curation_after(
        {"type": "ADD_UNIT_LABEL", "unitId": 2, "label": "mua"},
        {"type": "ADD_UNIT_LABEL", "unitId": [10, 2], "label": "accept"},
        {"type": "ADD_UNIT_LABEL", "unitId": 3, "label": "noise"},
        {"type": "REMOVE_UNIT_LABEL", "unitId": "3", "label": "noise"},
    )
    assert curation.labels == ((2, ("accept", "mua")), (10, ("accept",)))


def test_merges_join_and_unmerging_takes_units_out() -> None:
    merges = [{"type": "MERGE_UNITS", "unitIds": units} for units in ([1, 2], [3, 4], [2, 3], [7, 8])]
    assert curation_after(*merges).merge_groups == ((1, 2, 3, 4), (7, 8))
    unmerged = curation_after(*merges, {"type": "UNMERGE_UNITS", "unitIds": [2, 7]})
    assert unmerged.merge_groups == ((1, 3, 4),)


def test_metrics_are_found_in_both_forms_that_the_lineage_wrote() -> None:
    metrics = {"sortingId": "S-1", "metricsUri": f"sha1://{H}/unit_metrics.json"}
    for action in (metrics, {"unitMetricsForSorting": metrics}):
        read = replay_feed(actions_on_the_sorting({"type": "SET_UNIT_METRICS_FOR_SORTING", **action}))
        assert read.sortings[0].metrics_link == FileLink(Sha1.from_hex(H), "unit_metrics.json")


def test_a_curation_in_a_subfeed_of_its_own_is_read() -> None:
    read = replay_feed(
        feed(
            [
                ({"name": "sortingCuration", "sortingId": "S-1"}, [{"type": "MERGE_UNITS", "unitIds": [1, 2]}]),
                ("main", [{"action": {"type": "ADD_SORTING", "sorting": SORTING}}]),
            ]
        )
    )
    assert read.sortings[0].curation.merge_groups == ((1, 2),)


def test_a_snapshot_that_notes_the_digests_of_its_subfeeds_alone_is_read() -> None:
    named = actions_on_the_sorting()["subfeeds"]
    named |= feed(
        [({"name": "sortingCuration", "sortingId": "S-1"}, [{"type": "ADD_UNIT_LABEL", "unitId": 4, "label": "mua"}])]
    )["subfeeds"]
    noted = {digest: {"subfeedHash": digest, "messages": one["messages"]} for digest, one in named.items()}
    read = replay_feed({"subfeeds": noted})
    assert read == replay_feed({"subfeeds": named})
    assert [one.recording_id for one in read.recordings] == ["R-1"]
    assert read.sortings[0].curation.labels == ((4, ("mua",)),)


def test_a_whole_curation_replaces_what_was_decided_before() -> None:
    curation = {"labelsByUnit": {"1": ["accept"], "2": []}, "mergeGroups": [[3, 4], [5]]}
    after = curation_after(
        {"type": "MERGE_UNITS", "unitIds": [1, 2]},
        {"type": "SET_CURATION", "curation": curation},
    )
    assert after == OldCuration(((1, ("accept",)),), ((3, 4),))


def test_deleting_takes_away_and_adding_again_replaces() -> None:
    again = {**RECORDING, "recordingLabel": "second"}
    other = {**SORTING, "sortingId": "S-2", "recordingId": "R-2"}
    actions = [
        {"type": "ADD_RECORDING", "recording": RECORDING},
        {"type": "ADD_RECORDING", "recording": {**RECORDING, "recordingId": "R-2"}},
        {"type": "DELETE_RECORDINGS", "recordingIds": ["R-2", "R-9"]},
        {"type": "ADD_RECORDING", "recording": again},
        {"type": "ADD_SORTING", "sorting": SORTING},
        {"type": "ADD_SORTING", "sorting": other},
        {"type": "ADD_SORTING", "sorting": {**SORTING, "sortingId": "S-3"}},
        {"type": "DELETE_SORTINGS", "sortingIds": ["S-1"]},
        {"type": "DELETE_SORTINGS_FOR_RECORDINGS", "recordingIds": ["R-2"]},
    ]
    read = replay_feed(feed([("main", [{"action": action} for action in actions])]))
    assert [one.label for one in read.recordings] == ["second"]
    assert [one.sorting_id for one in read.sortings] == ["S-3"]


def test_what_a_feed_says_of_nothing_that_is_there_or_known_is_a_warning() -> None:
    read = replay_feed(
        actions_on_the_sorting(
            {"type": "MERGE_UNITS", "sortingId": "S-9", "unitIds": [1, 2]},
            {"type": "PAINT_UNITS"},
            {"type": "SET_SNIPPET_LEN"},
        )
    )
    assert len(read.warnings) == 2
    assert "there is no sorting S-9" in read.warnings[0]
    assert "'PAINT_UNITS' is not known" in read.warnings[1]


@pytest.mark.parametrize(
    ("value", "error", "reason"),
    [
        ({"subfeeds": {"0" * 40: {"subfeedName": "main", "messages": []}}}, ProofError, "isn't the one of its name"),
        ({"subfeeds": {"0" * 40: {"messages": []}}}, ProofError, "has no 'subfeedHash'"),
        ({"subfeeds": {"0" * 40: {"subfeedHash": "1" * 40, "messages": []}}}, ProofError, "isn't the one of its name"),
        ({"subfeeds": [], "feedId": "x"}, ProofError, "not an object"),
        (feed([("main", ["x"])]), ProofError, "is text, not an object"),
        (feed([("main", [{"action": {}}])]), ProofError, "has no 'type'"),
        (actions_on_the_sorting({"type": "MERGE_UNITS", "unitIds": [1.5]}), ProofError, "neither a whole number"),
        (actions_on_the_sorting({"type": "ADD_UNIT_LABEL", "unitId": 1}), ProofError, "has no 'label'"),
        (
            actions_on_the_sorting({"type": "SET_UNIT_METRICS_FOR_SORTING", "metricsUri": "/tmp/x"}),
            LinkError,
            "'metricsUri' of .* is not a link",
        ),
    ],
)
def test_a_damaged_feed_is_refused_in_one_line(value: object, error: type[KacheryError], reason: str) -> None:
    with pytest.raises(error, match=reason) as caught:
        replay_feed(value)
    assert "\n" not in str(caught.value)


def test_what_a_file_is_is_told_by_its_keys() -> None:
    assert is_old_collection({"recordings": [], "sortings": []})
    assert not is_old_collection({})
    assert not is_old_collection({"recordings": [], "format": "kacheryfs-collection"})
    assert is_feed(feed([]))
    assert not is_feed({"subfeeds": 1})


units = st.integers(0, 12)
changes = st.lists(st.tuples(st.booleans(), st.lists(units, max_size=4)), max_size=12)


@given(changes)
def test_merging_step_by_step_is_what_joining_overlapping_groups_is(steps: list[tuple[bool, list[int]]]) -> None:
    curation, model = Curation(), [{unit} for unit in range(13)]
    for is_merge, chosen in steps:
        if is_merge:
            curation.merge(chosen)
            touched = [group for group in model if group & set(chosen)]
            model = [group for group in model if group not in touched] + ([set().union(*touched)] if touched else [])
        else:
            curation.unmerge(chosen)
            model = [group - set(chosen) for group in model] + [{unit} for unit in set(chosen)]
            model = [group for group in model if group]
    assert curation.frozen().merge_groups == tuple(sorted(tuple(sorted(group)) for group in model if len(group) > 1))


def test_as_many_merges_as_a_feed_can_hold_cost_no_more_than_their_units() -> None:
    curation = Curation()
    for unit in range(50_000):  # what went through a group once for each of its units took minutes here
        curation.merge([unit, unit + 1])
    assert curation.frozen().merge_groups == (tuple(range(50_001)),)


@given(json_values)
def test_any_json_is_a_collection_or_an_error_of_ours(value: object) -> None:
    for parse in (parse_old_collection, replay_feed):
        for variant in (value, {"recordings": [value]}, {"sortings": [value]}, {"subfeeds": value}):
            try:
                parse(variant)
            except KacheryError:
                continue


@given(
    json_values, st.sampled_from(["ADD_SORTING", "MERGE_UNITS", "ADD_UNIT_LABEL", "SET_CURATION", "DELETE_SORTINGS"])
)
def test_any_action_is_replayed_or_an_error_of_ours(value: object, kind: str) -> None:
    fields = ("sorting", "unitIds", "unitId", "label", "curation", "sortingIds", "metricsUri")
    with contextlib.suppress(KacheryError):
        replay_feed(actions_on_the_sorting({"type": kind, **dict.fromkeys(fields, value)}))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_collection_or_an_error_of_ours(data: bytes) -> None:
    for decode in (decode_old_collection, decode_feed):
        with contextlib.suppress(KacheryError):
            decode(data)  # {} is an empty one
