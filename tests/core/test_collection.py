from __future__ import annotations

import json
import random
from typing import Any

import pytest
from core_strategies import blake3s, json_values, names, sha1s
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core import collection_json
from kacheryfs.core.collection import Collection, RecordingEntry, SortingEntry, take_tags, why_not_an_id
from kacheryfs.core.collection_json import MAX_COLLECTION_BYTES, decode_collection, encode_collection
from kacheryfs.core.link import FileLink, TreeLink
from kacheryfs.core.model import Blake3, Sha1
from kacheryfs.errors import InputError, KacheryError, ProofError

H = "0123456789abcdef0123456789abcdef01234567"
SHA1, MANIFEST = Sha1.from_hex(H), Blake3.from_hex("fedcba98" * 8)
TREE = f"sha1dir://{H}.rec"
RECORDING = {"link": TREE}
SORTING = {"link": TREE, "recording": "r"}

ids = st.one_of(names, st.text(max_size=12)).filter(lambda text: why_not_an_id(text) is None)
lines = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"]), max_size=20)
links = st.one_of(st.builds(FileLink, sha1s, names, st.none() | blake3s), st.builds(TreeLink, sha1s, names))
common: dict[str, Any] = {
    "link": links,
    "label": lines,
    "description": lines,
    "tags": st.lists(lines.filter(bool), max_size=4).map(take_tags),
    "sampling_frequency": st.none() | st.floats(1e-3, 1e9) | st.integers(1, 100_000),
}
counts = st.none() | st.integers(0, 10**9)
durations = st.none() | st.floats(0, 1e12)
recordings = st.builds(
    RecordingEntry, id=ids, **common, n_channels=counts, duration_s=durations, probe=st.none() | lines.filter(bool)
)


@st.composite
def collections(draw: st.DrawFn) -> Collection:
    found = {entry.id: entry for entry in draw(st.lists(recordings, max_size=4))}
    sortings: list[SortingEntry] = []
    if found:
        recording_ids = st.sampled_from(sorted(found))
        one = st.builds(SortingEntry, id=ids, **common, recording_id=recording_ids, n_units=counts)
        sortings = draw(st.lists(one, max_size=4))
    previous = draw(st.none() | links)
    return Collection(draw(ids), draw(lines), found, {entry.id: entry for entry in sortings}, previous)


def with_members(**members: object) -> bytes:
    """Return the JSON of an empty collection, with other members or more of them."""
    plain = {"format": "kacheryfs-collection", "version": 1, "name": "c", "recordings": {}, "sortings": {}}
    return json.dumps(plain | members).encode()


@given(collections())
def test_a_collection_that_was_written_reads_as_itself(collection: Collection) -> None:
    assert decode_collection(encode_collection(collection)) == collection


@given(collections(), st.randoms(use_true_random=False))
def test_a_collection_has_one_form_whatever_the_order_that_it_was_read_in(
    collection: Collection, rng: random.Random
) -> None:
    def shuffle(value: object) -> object:
        if not isinstance(value, dict):
            return value
        items = [(name, shuffle(inner)) for name, inner in value.items()]
        rng.shuffle(items)
        return dict(items)

    canonical = encode_collection(collection)
    other = json.dumps(shuffle(json.loads(canonical)), indent=rng.choice([None, 1]), ensure_ascii=rng.random() < 0.5)
    assert encode_collection(decode_collection(other.encode())) == canonical


@given(collections())
def test_a_collection_has_one_form_whatever_the_order_that_it_was_made_in(collection: Collection) -> None:
    made = Collection(collection.name, collection.description, previous=collection.previous)
    for recording in reversed(collection.recordings.values()):
        made = made.with_recording(recording)
    for sorting in reversed(collection.sortings.values()):
        made = made.with_sorting(sorting)
    assert encode_collection(made) == encode_collection(collection)
    for sorting_id in collection.sortings:
        made = made.without_sorting(sorting_id)
    for recording_id in collection.recordings:
        made = made.without_recording(recording_id)
    assert made == Collection(collection.name, collection.description, previous=collection.previous)


def test_the_canonical_form_is_sorted_compact_and_ascii_and_holds_nothing_empty() -> None:
    recording = RecordingEntry(
        id="r1",
        link=TreeLink(SHA1, "rec"),
        label="Männchen",
        tags=("a", "b"),
        sampling_frequency=15000,
        n_channels=4,
        duration_s=28.75,
    )
    sorting = SortingEntry(id="s1", link=FileLink(SHA1, "s.npz", MANIFEST), recording_id="r1")
    collection = Collection("locust", "", {"r1": recording}, {"s1": sorting}, FileLink(SHA1, "locust.json"))
    assert encode_collection(collection) == (
        b'{"format":"kacheryfs-collection","name":"locust","previous":"sha1://%b/locust.json","recordings":'
        b'{"r1":{"duration_s":28.75,"label":"M\\u00e4nnchen","link":"sha1dir://%b.rec","n_channels":4,'
        b'"sampling_frequency":15000.0,"tags":["a","b"]}},"sortings":{"s1":{"link":"sha1://%b/s.npz?manifest=%b",'
        b'"recording":"r1"}},"version":1}'
    ) % (H.encode(), H.encode(), H.encode(), MANIFEST.hex.encode())


@given(json_values)
def test_any_other_json_is_refused_in_one_line(value: object) -> None:
    with pytest.raises(ProofError) as refused:
        decode_collection(json.dumps(value).encode())
    assert len(str(refused.value).splitlines()) == 1


@given(collections(), st.data())
def test_a_damaged_collection_is_read_or_refused_but_never_a_crash(collection: Collection, data: st.DataObject) -> None:
    encoded = bytearray(encode_collection(collection))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_collection(bytes(encoded))
    except KacheryError as exc:
        assert len(str(exc).splitlines()) == 1


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "../../x", "a\0", "a" * 256, "\ud800", "\x1b[2J", "a\nb", " a", "a ", "a\u202eb", "\x9b"],
)
def test_an_id_names_a_folder_and_can_be_shown(name: str) -> None:
    for members in (
        {"name": name},
        {"recordings": {name: RECORDING}},
        {"recordings": {"r": RECORDING}, "sortings": {name: SORTING}},
        {"recordings": {"r": RECORDING}, "sortings": {"s": {**SORTING, "recording": name}}},
    ):
        with pytest.raises(ProofError) as refused:
            decode_collection(with_members(**members))
        assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"format": "kacheryfs-recording"}, "format"),
        ({"format": None}, "format"),
        ({"version": 2}, "version is 2"),
        ({"version": True}, "version"),
        ({"version": "1"}, "version"),
        ({"name": None}, "'name' of the collection is not text"),
        ({"name": 5}, "not text"),
        ({"path": "/home/x"}, "unknown key 'path'"),
        ({"description": ["x"]}, "not text"),
        ({"description": "x" * 70_000}, "more than 65536"),
        ({"description": "\x1b[2J"}, "control"),
        ({"previous": "file:///etc/passwd"}, "not a link"),
        ({"previous": None}, "not text"),
        ({"recordings": []}, "not an object"),
        ({"recordings": {"r": None}}, "not an object"),
        ({"recordings": {"r": {}}}, "no 'link'"),
        ({"recordings": {"r": {"link": "/etc/passwd"}}}, "not a link"),
        ({"recordings": {"r": {"link": f"{TREE}/../x"}}}, "not a name"),
        ({"recordings": {"r": {"link": TREE + "x" * 5000}}}, "more than 4096"),
        ({"recordings": {"r": {**RECORDING, "class": "os.system"}}}, "unknown key 'class'"),
        ({"recordings": {"r": {**RECORDING, "n_channels": 4.0}}}, "not a number"),
        ({"recordings": {"r": {**RECORDING, "n_channels": True}}}, "not a number"),
        ({"recordings": {"r": {**RECORDING, "n_channels": -1}}}, "number of channels"),
        ({"recordings": {"r": {**RECORDING, "sampling_frequency": 0}}}, "0.0 Hz"),
        ({"recordings": {"r": {**RECORDING, "sampling_frequency": "30000"}}}, "not a number"),
        ({"recordings": {"r": {**RECORDING, "duration_s": -1.5}}}, "-1.5 s"),
        ({"recordings": {"r": {**RECORDING, "duration_s": float("nan")}}}, "no integer|not a number|NaN"),
        ({"recordings": {"r": {**RECORDING, "label": "a\nb"}}}, "line break"),
        ({"recordings": {"r": {**RECORDING, "label": "x" * 1001}}}, "more than 1000"),
        ({"recordings": {"r": {**RECORDING, "tags": "ab"}}}, "not a list"),
        ({"recordings": {"r": {**RECORDING, "tags": [1]}}}, "not text"),
        ({"recordings": {"r": {**RECORDING, "tags": [""]}}}, "empty tag"),
        ({"recordings": {"r": {**RECORDING, "tags": [str(i) for i in range(101)]}}}, "more than 100"),
        ({"recordings": {"r": {**RECORDING, "probe": 5}}}, "not text"),
        ({"sortings": {"s": {"link": TREE}}}, "no 'recording'"),
        ({"sortings": {"s": SORTING}}, "no recording here"),
        ({"recordings": {"r": RECORDING}, "sortings": {"s": {**SORTING, "n_units": "2"}}}, "not a number"),
        ({"recordings": {"r": RECORDING}, "sortings": {"s": {**SORTING, "probe": "x"}}}, "unknown key 'probe'"),
    ],
)
def test_a_hostile_collection_is_refused_with_its_reason(members: dict[str, object], reason: str) -> None:
    with pytest.raises(ProofError, match=reason) as refused:
        decode_collection(with_members(**members))
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"format":"kacheryfs-collection","format":"kacheryfs-collection"}',
        b'{"recordings":{"r":{},"\\u0072":{}}}',
        b"\xff\xfe",
        b'{"version":1e400}',
    ],
)
def test_json_with_loose_ends_is_refused(data: bytes) -> None:
    with pytest.raises(ProofError):
        decode_collection(data)


def test_a_collection_over_16_mib_is_neither_read_nor_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProofError, match="over the limit"):
        decode_collection(b" " * (MAX_COLLECTION_BYTES + 1))
    monkeypatch.setattr(collection_json, "MAX_COLLECTION_BYTES", 50)
    with pytest.raises(InputError, match="more than readers take"):
        encode_collection(Collection("c"))


def test_the_next_version_names_the_one_before_and_differs() -> None:
    first = Collection("c")
    second = first.as_next_of(FileLink(SHA1, "c.json"))
    assert decode_collection(encode_collection(second)).previous == FileLink(SHA1, "c.json")
    assert encode_collection(first) != encode_collection(second)


def test_what_can_not_be_added_or_removed_is_said() -> None:
    recording = RecordingEntry(id="r", link=TreeLink(SHA1))
    sorting = SortingEntry(id="s", link=TreeLink(SHA1), recording_id="r")
    whole = Collection("c").with_recording(recording).with_sorting(sorting)
    for act, reason in (
        (lambda: whole.with_recording(recording), "already"),
        (lambda: whole.with_sorting(sorting), "already"),
        (lambda: Collection("c").with_sorting(sorting), "no recording 'r'"),
        (lambda: whole.without_recording("r"), r"has sortings \(s\)"),
        (lambda: whole.without_recording("x"), "no recording 'x'"),
        (lambda: whole.without_sorting("x"), "no sorting 'x'"),
    ):
        with pytest.raises(InputError, match=reason):
            act()
    renamed = RecordingEntry(id="r", link=TreeLink(SHA1), label="new")
    assert whole.with_recording(renamed, is_replacing=True).recordings["r"].label == "new"


def test_an_entry_under_another_id_is_refused() -> None:
    with pytest.raises(ValueError, match="stands under the id"):
        Collection("c", "", {"x": RecordingEntry(id="r", link=TreeLink(SHA1))})
