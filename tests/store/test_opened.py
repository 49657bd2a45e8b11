"""The list of opened collections: a small JSON file that the user, and any number of processes, may change."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from kacheryfs.core.link import FileLink
from kacheryfs.core.model import Blake3, Sha1
from kacheryfs.core.opened import OpenedCollection, name_in, parse_collection_link
from kacheryfs.errors import ConfigError, InputError, LinkError
from kacheryfs.store.opened import CollectionList

FIRST = FileLink(Sha1.of(b"first"), "locust.json", Blake3.of(b"manifest"))
SECOND = FileLink(Sha1.of(b"second"), "100% mine, für immer.json")


@pytest.fixture
def kept(tmp_path: Path) -> CollectionList:
    return CollectionList(tmp_path / "data")


def test_a_list_that_was_never_written_is_empty(kept: CollectionList) -> None:
    assert kept.links() == {}
    assert not kept.path.parent.exists()


def test_what_is_opened_is_kept_in_the_order_of_names(kept: CollectionList) -> None:
    assert kept.open(OpenedCollection("tetrodes", FIRST))
    assert kept.open(OpenedCollection("für immer, 100%", SECOND))
    assert list(CollectionList(kept.path.parent).links().items()) == [("für immer, 100%", SECOND), ("tetrodes", FIRST)]
    assert sorted(path.name for path in kept.path.parent.iterdir()) == [kept.path.name]


def test_opening_twice_changes_nothing(kept: CollectionList) -> None:
    assert kept.open(OpenedCollection("locust", FIRST))
    assert not kept.open(OpenedCollection("locust", FIRST))
    assert kept.links() == {"locust": FIRST}


def test_two_collections_of_one_name_are_refused_with_what_to_do(kept: CollectionList) -> None:
    kept.open(OpenedCollection("locust", FIRST))
    with pytest.raises(InputError, match=r"--name OTHER.*kacheryfs collection close locust") as caught:
        kept.open(OpenedCollection("locust", SECOND))
    assert str(FIRST) in str(caught.value)
    assert kept.links() == {"locust": FIRST}


def test_a_new_version_takes_the_place_of_the_one_that_it_was_held_against(kept: CollectionList) -> None:
    kept.open(OpenedCollection("locust", FIRST))
    assert kept.open(OpenedCollection("locust", SECOND), replacing=FIRST)
    assert kept.links() == {"locust": SECOND}
    third = FileLink(Sha1.of(b"third"))
    with pytest.raises(InputError, match="no new version"):
        kept.open(OpenedCollection("locust", third), replacing=FIRST)  # another process was quicker


def test_closing_takes_it_out_and_returns_its_link(kept: CollectionList) -> None:
    kept.open(OpenedCollection("locust", FIRST))
    kept.open(OpenedCollection("other", SECOND))
    assert kept.close("locust") == FIRST
    assert kept.links() == {"other": SECOND}


def test_closing_what_is_not_open_says_what_is(kept: CollectionList) -> None:
    with pytest.raises(InputError, match="none is"):
        kept.close("locust")
    kept.open(OpenedCollection("other", SECOND))
    with pytest.raises(InputError, match="open: other"):
        kept.close("locust")


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\0b", "new\nline", " space", "n" * 256, "\ud800"])
def test_a_name_that_no_folder_should_have_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="--name") as caught:
        OpenedCollection(name, FIRST)
    assert "\n" not in str(caught.value)


def test_a_folders_link_is_no_collections(kept: CollectionList) -> None:
    assert parse_collection_link(str(FIRST)) == FIRST
    with pytest.raises(LinkError, match="names a folder"):
        parse_collection_link("sha1dir://" + "0" * 40)
    with pytest.raises(LinkError):
        parse_collection_link("nonsense")


def test_a_links_label_gives_a_name() -> None:
    assert [name_in(link) for link in (FIRST, SECOND, FileLink(FIRST.sha1))] == ["locust", "100% mine, für immer", ""]


@pytest.mark.parametrize(
    "content",
    [
        b"not JSON",
        b"[]",
        b"{}",
        b'{"format": "kacheryfs-opened", "version": 2, "collections": {}}',
        b'{"format": "kacheryfs-opened", "version": 1, "collections": []}',
        b'{"format": "kacheryfs-opened", "version": 1, "collections": {"a": 5}}',
        b'{"format": "kacheryfs-opened", "version": 1, "collections": {"a": "nonsense"}}',
        b'{"format": "kacheryfs-opened", "version": 1, "collections": {"a/b": "sha1://%s"}}' % (b"0" * 40),
        b"\xff\xfe",
        b" " * (2 << 20),
    ],
)
def test_a_file_that_is_no_list_is_an_error_and_stays(kept: CollectionList, content: bytes) -> None:
    kept.path.parent.mkdir()
    kept.path.write_bytes(content)
    for use in (kept.links, lambda: kept.open(OpenedCollection("b", FIRST)), lambda: kept.close("a")):
        with pytest.raises(ConfigError, match=r"collections\.json") as caught:
            use()
        assert "\n" not in str(caught.value)
    assert kept.path.read_bytes() == content


def test_the_file_can_be_edited_by_hand(kept: CollectionList) -> None:
    kept.path.parent.mkdir()
    value = {"version": 1, "collections": {"b": str(SECOND), "a": str(FIRST)}, "format": "kacheryfs-opened"}
    kept.path.write_text(json.dumps(value, indent=8))
    assert list(kept.links()) == ["a", "b"]


def test_a_folder_that_cant_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can't be written"):
        CollectionList(tmp_path / "file" / "data").open(OpenedCollection("a", FIRST))


def test_two_who_open_at_once_lose_nothing(kept: CollectionList) -> None:
    def open_some(name: str) -> None:
        for i in range(10):
            CollectionList(kept.path.parent).open(OpenedCollection(f"{name}{i}", FIRST))

    threads = [threading.Thread(target=open_some, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept.links()) == 30
    assert [path.name for path in kept.path.parent.iterdir()] == [kept.path.name]
