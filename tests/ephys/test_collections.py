"""Collections go from lab to lab, version after version; old ones are read; what a stranger made wrong is refused."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab_pairs import LabPair
from shared_trees import read
from spikeinterface.core import NumpySorting, read_binary

import kacheryfs as kfs
from kacheryfs.app import open_catalog
from kacheryfs.config import load_settings
from kacheryfs.core.link import parse_link
from kacheryfs.store.making import share_bytes
from kacheryfs.store.sharing import share

LOCUST = Path(__file__).resolve().parents[3] / "shared" / "data" / "locust" / "locust_trial_01.raw"
"""Beside the repository; not part of it."""
RATE_HZ = 15_000.0


@pytest.fixture
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabPair:
    return LabPair(tmp_path, monkeypatch)


@pytest.fixture
def at_alice(labs: LabPair) -> Iterator[LabPair]:
    with labs.at(labs.alice):
        yield labs


def made_recording(folder: Path, seconds: float = 1.0) -> Any:
    path = folder / "made.raw"
    samples = np.arange(int(seconds * RATE_HZ) * 4, dtype="<i8") * 7919 % 2001 - 1000
    samples.astype("<i2").tofile(path)
    return read_binary(path, sampling_frequency=RATE_HZ, num_channels=4, dtype="int16")


def made_sorting() -> Any:
    return NumpySorting.from_samples_and_labels([np.array([10, 20, 30])], [np.array([0, 1, 0])], RATE_HZ)


def share_text(text: str | bytes, name: str = "c.json") -> str:
    data = text.encode() if isinstance(text, str) else text
    with open_catalog(load_settings({}, os.environ)) as catalog:
        return str(share_bytes(catalog, data, name))


def share_file(path: Path) -> str:
    with open_catalog(load_settings({}, os.environ)) as catalog:
        return str(share(catalog, path).link)


def test_a_collection_goes_from_lab_to_lab_and_its_recordings_and_sortings_load_there(
    labs: LabPair, tmp_path: Path
) -> None:
    recording = made_recording(tmp_path)
    with labs.at(labs.alice):
        collection = kfs.Collection.create("locust", "Antennal lobe\ntetrodes")
        collection.add_recording(recording, id="trial 01", label="Erster Versuch, größer", tags=["tetrode", "made"])
        collection.add_sorting(made_sorting(), recording_id="trial 01", id="by hand", description="two units")
        link = collection.share()
    with labs.at_bob_with_alice_serving():
        loaded = kfs.Collection.load(link)
        item = loaded.recordings["trial 01"]
        assert (loaded.name, loaded.description, loaded.link, loaded.previous) == (
            "locust",
            "Antennal lobe\ntetrodes",
            link,
            None,
        )
        assert (item.label, item.tags) == ("Erster Versuch, größer", ("made", "tetrode"))
        assert (item.sampling_frequency, item.n_channels, item.duration_s, item.probe) == (RATE_HZ, 4, 1.0, None)
        np.testing.assert_array_equal(item.load().get_traces(), recording.get_traces())
        sorting = loaded.sortings["by hand"]
        assert (sorting.recording_id, sorting.n_units, sorting.description) == ("trial 01", 2, "two units")
        assert sorting.load().get_unit_spike_train(0).tolist() == [10, 30]


def test_the_real_locust_recording_goes_from_lab_to_lab(labs: LabPair) -> None:
    if not LOCUST.exists():
        pytest.skip("the real recordings lie beside the repository, and are not here")
    recording = read_binary(LOCUST, sampling_frequency=RATE_HZ, num_channels=4, dtype="int16")
    with labs.at(labs.alice):
        collection = kfs.Collection.create("locust")
        collection.add_recording(recording)
        link = collection.share()
    with labs.at_bob_with_alice_serving():
        (item,) = kfs.Collection.load(link).recordings.values()
        assert item.id == "locust_trial_01.raw"
        assert item.duration_s == pytest.approx(28.77, abs=0.01)
        np.testing.assert_array_equal(item.load().get_traces(), recording.get_traces())


def test_the_link_names_the_canonical_json_and_nothing_of_the_machine_is_in_it(
    at_alice: LabPair, tmp_path: Path
) -> None:
    collection = kfs.Collection.create("c")
    collection.add_recording(made_recording(tmp_path), id="a")
    link = collection.share()
    with open_catalog(load_settings({}, os.environ)) as catalog:
        data = read(catalog, parse_link(link).sha1)
    assert link == f"sha1://{hashlib.sha1(data).hexdigest()}/c.json"
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()
    for secret in (str(tmp_path), Path.home().name, "alice"):
        assert secret.encode() not in data


def test_each_version_names_the_one_before_and_the_same_content_gives_the_same_link(
    at_alice: LabPair, tmp_path: Path
) -> None:
    collection = kfs.Collection.create("c")
    first = collection.share()
    assert (collection.previous, collection.share()) == (None, first)
    collection.add_recording(made_recording(tmp_path), id="a")
    second = collection.share()
    assert (collection.previous, collection.link) == (first, second)
    again = kfs.Collection.load(second)
    assert again.share() == second
    again.remove_recording("a")
    third = again.share()
    assert third not in (first, second)
    assert kfs.Collection.load(third).previous == second
    assert dict(kfs.Collection.load(first).recordings) == {}


def test_two_labs_that_put_in_the_same_get_the_same_link_whatever_the_order(labs: LabPair, tmp_path: Path) -> None:
    links = []
    for lab, order in ((labs.alice, (0, 1)), (labs.bob, (1, 0))):
        folder = tmp_path / f"of {lab.folder.name}"
        folder.mkdir()
        recordings = [(f"r{n}", made_recording(_folder(folder / str(n)), 1.0 + n)) for n in range(2)]
        with labs.at(lab):
            collection = kfs.Collection.create("c")
            for n in order:
                collection.add_recording(recordings[n][1], id=recordings[n][0])
            links.append(collection.share())
    assert links[0] == links[1]


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_collection_is_found_by_its_name_on_the_machine_that_made_it(at_alice: LabPair) -> None:
    link = kfs.Collection.create("mine").share()
    assert kfs.Collection.load("mine").link == link
    other = kfs.Collection.load("mine").renamed("other", "what else")
    assert other.previous is None
    assert other.share(keep_name=False) != link
    assert (other.previous, other.description) == (link, "what else")
    with pytest.raises(kfs.InputError, match="'other'"):
        kfs.Collection.load("other")


def test_a_recording_is_added_by_its_link_with_what_was_shared_of_it(at_alice: LabPair, tmp_path: Path) -> None:
    link = kfs.share_recording(made_recording(tmp_path), label="made")
    collection = kfs.Collection.create("c")
    item = collection.add_recording(link)
    assert (item.id, item.link, item.n_channels) == ("made", link, 4)
    sorting_link = kfs.share_sorting(made_sorting(), label="sorted")
    assert collection.add_sorting(sorting_link, recording_id="made").n_units == 2
    assert "made" in repr(item)


def test_what_can_not_be_added_is_refused_before_anything_is_hashed(at_alice: LabPair, tmp_path: Path) -> None:
    recording = made_recording(tmp_path)
    collection = kfs.Collection.create("c")
    link = collection.add_recording(recording, id="a").link
    sorting_link = kfs.share_sorting(made_sorting())
    (tmp_path / "made.raw").unlink()
    for act, reason in (
        (lambda: collection.add_recording(recording, id="a"), "already"),
        (lambda: collection.add_sorting(made_sorting(), recording_id="b"), "no recording 'b'"),
        (lambda: collection.add_recording(sorting_link, id="b"), "use load_sorting"),
        (lambda: collection.add_sorting(link, recording_id="a", id="s"), "use load_recording"),
        (lambda: collection.add_recording(link, id="b/c"), "holds a '/'"),
        (lambda: collection.add_recording(link, id="b", label="a\nb"), "line break"),
        (lambda: collection.add_recording(link, id="b", tags="tetrode"), "list of words"),
        (lambda: collection.add_recording("nonsense"), "not a link"),
        (lambda: collection.add_recording(5), "takes a recording"),  # type: ignore[arg-type]
        (lambda: collection.add_recording(link, id="b", tags=[5]), "list of words"),  # type: ignore[list-item]
        (lambda: collection.add_recording(link, id="b", tags=None), "list of words"),  # type: ignore[arg-type]
        (lambda: collection.add_recording(link, id=["b"]), "an id is text"),  # type: ignore[arg-type]
        (lambda: collection.add_sorting(sorting_link, recording_id=None), "an id is text"),  # type: ignore[arg-type]
        (lambda: collection.remove_sorting({}), "an id is text"),  # type: ignore[arg-type]
        (lambda: collection.add_recording(link, id="b", label=5), "not text"),  # type: ignore[arg-type]
        (lambda: collection.recordings["b"], "has no recording 'b'; there are 'a'"),
        (lambda: collection.sortings["b"], "there are none"),
        (lambda: kfs.Collection.create("a/b"), "holds a '/'"),
        (lambda: kfs.Collection.load("nowhere"), "called 'nowhere'"),
        (lambda: kfs.Collection.load(link), "is a folder"),
        (lambda: kfs.Collection.load(5), "text"),  # type: ignore[arg-type]
    ):
        with pytest.raises(kfs.InputError, match=reason) as refused:
            act()
        assert len(str(refused.value).splitlines()) == 1
    assert list(collection.recordings) == ["a"]
    assert collection.recordings.get("b") is None
    assert "b" not in collection.sortings


def test_a_recording_is_replaced_when_that_is_asked_for(at_alice: LabPair, tmp_path: Path) -> None:
    collection = kfs.Collection.create("c")
    link = collection.add_recording(made_recording(tmp_path), id="a").link
    collection.add_sorting(made_sorting(), recording_id="a", id="s")
    assert collection.add_recording(link, id="a", label="new", replace=True).label == "new"
    with pytest.raises(kfs.InputError, match="remove them first"):
        collection.remove_recording("a")
    collection.remove_sorting("s")
    collection.remove_recording("a")


HOSTILE = {
    "no JSON": (b"\x80\x04\x95pickle", kfs.InputError),
    "a list": (b"[]", kfs.InputError),
    "another format": (b'{"format":"kacheryfs-recording"}', kfs.ProofError),
    "a class": (b'{"class":"os.system","kwargs":{}}', kfs.ProofError),
    "an id that climbs": (
        b'{"format":"kacheryfs-collection","name":"c","recordings":{"../x":{"link":"sha1dir://%b"}},"sortings":{},'
        b'"version":1}' % (b"0" * 40),
        kfs.ProofError,
    ),
    "a link to a file of the machine": (
        b'{"format":"kacheryfs-collection","name":"c","recordings":{"x":{"link":"file:///etc/passwd"}},"sortings":{},'
        b'"version":1}',
        kfs.ProofError,
    ),
    "depth": (b'{"recordings":' + b"[" * 100_000, kfs.ProofError),
    "an old one with an odd object": (b'{"recordings":[{"recordingId":5}],"sortings":[]}', kfs.ProofError),
    "a feed with a wrong name": (b'{"subfeeds":{"0000":{"subfeedName":"x","messages":[]}}}', kfs.ProofError),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_collection_is_refused_in_one_line(what: str, at_alice: LabPair) -> None:
    data, kind = HOSTILE[what]
    with pytest.raises(kind) as refused:
        kfs.Collection.load(share_text(data))
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 800


def test_html_shows_a_strangers_text_escaped(at_alice: LabPair, tmp_path: Path) -> None:
    collection = kfs.Collection.create("<script>alert(1)<|script>", "<img src=x>")
    collection.add_recording(made_recording(tmp_path), id="<b>", label="<i>&", tags=["<u>"])
    shown = collection._repr_html_()
    assert "not shared yet" in shown
    for evil in ("<script>", "<img", "<b><", "<i>", "<u>"):
        assert evil not in shown.replace("<b>&lt;script", "")
    assert "15000" in shown


def test_a_table_has_a_row_for_each_entry(at_alice: LabPair, tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="a table is pandas'")
    collection = kfs.Collection.create("c")
    collection.add_recording(made_recording(tmp_path), id="a", tags=["x", "y"])
    collection.add_sorting(made_sorting(), recording_id="a", id="s")
    table = collection.to_pandas()
    assert table["id"].tolist() == ["a", "s"]
    assert table["tags"].tolist() == ["x y", ""]


@pytest.mark.expects_warnings
def test_an_old_collection_with_embedded_objects_is_read_and_becomes_one_of_ours(
    labs: LabPair, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = np.arange(8000, dtype="<i2").reshape(-1, 4)
    samples.tofile(tmp_path / "raw.dat")
    np.save(tmp_path / "times.npy", np.array([5, 15, 25]))
    np.save(tmp_path / "labels.npy", np.array([1, 2, 1]))
    with labs.at(labs.alice):
        raw, times, labels = (share_file(tmp_path / name) for name in ("raw.dat", "times.npy", "labels.npy"))
        old = old_collection(raw, times, labels)
        feed = share_text(json.dumps(as_feed(old)), "feed.json")
        link = share_text(json.dumps(old), "old.json")
    with labs.at_bob_with_alice_serving():
        for given in (feed, link):
            collection = kfs.Collection.load(given)
            item = collection.recordings["R_1"]
            assert (item.label, item.sampling_frequency, item.n_channels) == ("one", RATE_HZ, 4)
            np.testing.assert_array_equal(item.load().get_traces(), samples)
            assert collection.sortings["S-1"].load().get_unit_spike_train(1).tolist() == [5, 25]
        assert "labels of units" in caplog.text
        ours = collection.share()
        assert collection.previous == link
        again = kfs.Collection.load(ours)
        np.testing.assert_array_equal(again.recordings["R_1"].load().get_traces(), samples)
        assert again.sortings["S-1"].load().get_unit_spike_train(2).tolist() == [15]
        assert again.share() == ours


def old_collection(raw: str, times: str, labels: str) -> dict[str, Any]:
    recording = {
        "recordingId": "R/1",
        "recordingLabel": "one",
        "recordingObject": {
            "recording_format": "bin1",
            "data": {
                "raw": raw,
                "raw_num_channels": 4,
                "num_frames": 2000,
                "samplerate": RATE_HZ,
                "channel_ids": [0, 1, 2, 3],
                "channel_map": {str(n): n for n in range(4)},
                "channel_positions": {str(n): [0, n] for n in range(4)},
            },
        },
        "recordingInfo": {"sampling_frequency": RATE_HZ, "num_frames": 2000, "channel_ids": [0, 1, 2, 3]},
    }
    sorting = {
        "sortingId": "S-1",
        "sortingLabel": "sorted",
        "recordingId": "R/1",
        "sortingObject": {
            "sorting_format": "npy1",
            "data": {"times_npy_uri": times, "labels_npy_uri": labels, "samplerate": RATE_HZ},
        },
        "curation": {"labelsByUnit": {"1": ["accept"]}},
    }
    return {"recordings": [recording], "sortings": [sorting]}


def as_feed(old: dict[str, Any]) -> dict[str, Any]:
    actions = {
        "recordings": [{"type": "ADD_RECORDING", "recording": one} for one in old["recordings"]],
        "sortings": [{"type": "ADD_SORTING", "sorting": one} for one in old["sortings"]],
    }
    subfeeds = {}
    for key, found in actions.items():
        name = {"documentId": "default", "key": key}
        digest = hashlib.sha1(json.dumps(name, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
        subfeeds[digest] = {"subfeedName": name, "messages": [{"action": action} for action in found]}
    return {"subfeeds": subfeeds}
