"""``collection open`` and ``close`` where no mount runs: what is kept, and what is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kacheryfs.cli import main
from kacheryfs.core.collection import Collection, RecordingEntry
from kacheryfs.core.collection_json import encode_collection
from kacheryfs.core.link import FileLink, TreeLink, parse_link
from kacheryfs.core.model import Sha1
from kacheryfs.store.collection_names import CollectionNames
from kacheryfs.store.opened import CollectionList

ABSENT = "sha1://" + "0" * 40


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KACHERYFS_DIR", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def share(home: Path, collection: Collection, capsys: pytest.CaptureFixture[str]) -> str:
    path = home / f"{collection.name}.json"
    path.write_bytes(encode_collection(collection))
    path = path.rename(home / f"{Sha1.of(path.read_bytes()).short}.json")
    assert main(["share", str(path)]) == 0
    return capsys.readouterr().out.strip()


def version(n: int, previous: str | None = None) -> Collection:
    entry = RecordingEntry(id=f"trial {n}", link=TreeLink(Sha1.of(b"tree")))
    return Collection("locust", "", {entry.id: entry}, {}, parse_link(previous) if previous else None)


def opened(home: Path) -> dict[str, FileLink]:
    return CollectionList(home / "home" / "data").links()


def test_a_collection_is_kept_under_its_own_name(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = share(home, version(1), capsys)
    assert main(["collection", "open", link]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("kacheryfs: locust is open: 1 recording, 0 sortings; no mount is running")
    assert opened(home) == {"locust": parse_link(link)}


def test_json_tells_what_was_done(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = share(home, version(1), capsys)
    for is_new in (True, False):
        assert main(["collection", "open", "--json", "--name", "mine", link]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told == {"name": "mine", "link": link, "is_new": is_new, "paths": []}
    assert main(["collection", "close", "--json", "mine"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "mine", "link": link, "mounts": []}
    assert opened(home) == {}


def test_a_collection_of_this_machine_is_opened_by_its_name(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = share(home, version(1), capsys)
    CollectionNames(home / "home" / "data").put("my locust", parse_link(link))
    assert main(["collection", "open", "my locust"]) == 0
    assert opened(home) == {"locust": parse_link(link)}


def test_an_unreachable_collection_is_kept_under_the_name_in_its_link(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collection", "open", f"{ABSENT}/tetrodes.json"]) == 0
    assert "shown once it can be had" in capsys.readouterr().err
    assert list(opened(home)) == ["tetrodes"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["open", ABSENT], 3, "--name NAME"),
        (["open", "nonsense"], 2, "no collection of this machine"),
        (["open", "sha1://zz"], 2, "zz"),
        (["open", "sha1dir://" + "0" * 40], 2, "names a folder"),
        (["open", "feed://x"], 2, "feed"),
        (["open", ABSENT, "--name", "a/b"], 2, "--name"),
        (["open", ABSENT, "--name", ".."], 2, "--name"),
        (["close", "absent"], 2, "none is"),
        (["close", ""], 2, "none is"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_kept(
    arguments: list[str], code: int, words: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collection", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert opened(home) == {}


def test_what_is_no_collection_is_refused_with_what_makes_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "feed.json").write_text('{"subfeeds": {}}')
    assert main(["share", "feed.json"]) == 0
    link = capsys.readouterr().out.strip()
    assert main(["collection", "open", link]) == 5
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.count("collection create NAME --from LINK") == 1
    assert opened(home) == {}


def test_a_later_version_takes_the_place_of_any_before_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = share(home, version(1), capsys)
    second = share(home, version(2, first), capsys)
    third = share(home, version(3, second), capsys)
    for link in (first, third):
        assert main(["collection", "open", link, "--name", "mine"]) == 0
    assert "is open in this version now" in capsys.readouterr().err
    assert opened(home) == {"mine": parse_link(third)}


@pytest.mark.parametrize("kind", ["another", "earlier", "unknown"])
def test_whatever_is_no_later_version_is_refused(kind: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    earlier = share(home, version(1), capsys)
    current = share(home, version(2, earlier), capsys)
    links = {"earlier": earlier, "another": share(home, version(5), capsys), "unknown": f"{ABSENT}/locust.json"}
    assert main(["collection", "open", current]) == 0
    capsys.readouterr()
    assert main(["collection", "open", links[kind]]) == 2
    words = capsys.readouterr().err
    assert words.count("\n") == 1
    assert "kacheryfs collection close locust" in words
    assert ("can't be told" in words) == (kind == "unknown")
    assert opened(home) == {"locust": parse_link(current)}


def test_a_list_that_is_damaged_is_said_by_whoever_needs_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "home" / "data" / "collections.json"
    path.parent.mkdir(parents=True)
    path.write_text("nonsense")
    for arguments in (["collection", "open", f"{ABSENT}/x.json"], ["collection", "close", "x"], ["mount", "m"]):
        assert main(arguments) == 2
        words = capsys.readouterr().err
        assert str(path) in words
        assert words.count("\n") == 1
