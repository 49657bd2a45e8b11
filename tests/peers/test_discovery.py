"""The list of peers: a text file that the user, and any number of processes, may change."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kacheryfs.errors import ConfigError, InputError
from kacheryfs.peers.discovery import Discovery, PeerList


@pytest.fixture
def peers(tmp_path: Path) -> PeerList:
    return PeerList(tmp_path / "config")


def test_a_list_that_was_never_written_is_empty(peers: PeerList) -> None:
    assert peers.urls() == []
    assert not peers.path.parent.exists()


def test_what_is_added_is_listed_in_order_and_kept(peers: PeerList) -> None:
    assert peers.add("http://b")
    assert peers.add("http://a:8080/")
    assert PeerList(peers.path.parent).urls() == ["http://b", "http://a:8080"]
    assert peers.path.read_text() == "http://b\nhttp://a:8080\n"


def test_adding_twice_changes_nothing(peers: PeerList) -> None:
    assert peers.add("http://a")
    assert not peers.add("HTTP://A:80/")
    assert peers.urls() == ["http://a"]


def test_removing_finds_any_spelling(peers: PeerList) -> None:
    peers.add("http://a")
    peers.add("http://b")
    assert peers.remove("http://A/")
    assert not peers.remove("http://a")
    assert peers.urls() == ["http://b"]


def test_no_url_is_added_or_removed_that_is_none(peers: PeerList) -> None:
    for change in (peers.add, peers.remove):
        with pytest.raises(InputError, match="is no peer's URL"):
            change("lab:8080")
    assert not peers.path.exists()


def test_comments_and_blank_lines_of_the_user_stay(peers: PeerList) -> None:
    peers.path.parent.mkdir()
    peers.path.write_text("# the lab\n\nhttp://a  # its server\nhttp://a/\n http://b\n")
    assert peers.urls() == ["http://a", "http://b"]
    peers.add("http://c")
    peers.remove("http://b")
    assert peers.path.read_text() == "# the lab\n\nhttp://a  # its server\nhttp://a/\nhttp://c\n"


def test_a_bad_line_is_named(peers: PeerList) -> None:
    peers.path.parent.mkdir()
    peers.path.write_text("http://a\nnonsense\n")
    with pytest.raises(ConfigError, match=r"peers, line 2: 'nonsense' is no peer's URL") as caught:
        peers.urls()
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError):
        peers.add("http://b")
    assert peers.path.read_text() == "http://a\nnonsense\n"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"http://a\n" * 200_000])
def test_a_file_that_is_no_list_is_an_error_and_stays(peers: PeerList, content: bytes) -> None:
    peers.path.parent.mkdir()
    peers.path.write_bytes(content)
    with pytest.raises(ConfigError, match="peers"):
        peers.urls()
    assert peers.path.read_bytes() == content


def test_a_folder_that_cant_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can't be written"):
        PeerList(tmp_path / "file" / "config").add("http://a")


def test_a_folder_in_the_file_s_place_is_an_error(peers: PeerList) -> None:
    peers.path.mkdir(parents=True)
    with pytest.raises(ConfigError, match="can't be read"):
        peers.urls()


def test_two_who_add_at_once_lose_nothing(peers: PeerList) -> None:
    def add(name: str) -> None:
        for i in range(10):
            PeerList(peers.path.parent).add(f"http://{name}{i}")

    threads = [threading.Thread(target=add, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(peers.urls()) == 30
    assert sorted(path.name for path in peers.path.parent.iterdir()) == ["peers"]


async def test_the_list_is_a_way_to_find_peers(peers: PeerList) -> None:
    way: Discovery = peers
    peers.add("http://a")
    assert await way.find_peers(None) == ["http://a"]
