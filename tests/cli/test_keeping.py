"""Pins and the cache, as a user of one machine meets them."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kacheryfs import app
from kacheryfs.cli import main
from kacheryfs.cli.servers import RunningServer, announce
from kacheryfs.config import load_settings
from kacheryfs.core.manifest import GroupedProof
from kacheryfs.core.model import BLOCK_BYTES, Blake3
from kacheryfs.errors import StoreError
from kacheryfs.store.blocks import Store
from kacheryfs.store.hashing import hash_bytes

DATA = bytes(range(256)) * 1024 * 3  # three blocks
NOBODYS = "sha1dir://" + "0" * 40


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KACHERYFS_DIR", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def folder(home: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Share a folder of two files; returns its link."""
    (home / "run").mkdir()
    (home / "run" / "a.txt").write_bytes(b"a")
    (home / "run" / "b.dat").write_bytes(DATA)
    assert main(["share", "run"]) == 0
    return capsys.readouterr().out.strip()


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def put_half(home: Path) -> str:
    """Put two of three blocks into the store; returns the file's link."""
    hashed = hash_bytes(DATA)
    assert hashed.root is not None
    proof = GroupedProof(hashed.root)
    proof.add_group(0, hashed.groups[0])
    store = Store(home / "home" / "store")
    for data in (hashed.root.encode(), *hashed.groups):
        store.put_manifest_part(Blake3.of(data), data)
    file = store.open(proof)
    for block in range(2):
        assert file.put(proof.verify(block, DATA[block * BLOCK_BYTES :][:BLOCK_BYTES]))
    file.close()
    store.close()
    return f"sha1://{hashed.sha1}?manifest={hashed.root.digest}"


def test_a_pinned_folder_is_listed_until_it_is_unpinned(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pin", folder]) == 0
    assert capsys.readouterr().out == f"{folder}\n"
    (pin,) = told(capsys, "pins")
    assert (pin["link"], pin["n_files"], pin["n_complete"]) == (folder, 3, 3)  # its own list of files among them
    assert main(["unpin", folder.rpartition(".")[0]]) == 0  # the label says nothing
    assert told(capsys, "pins") == []


def test_a_path_is_pinned_by_its_link(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pin", "run"]) == 0
    assert told(capsys, "pins")[0]["link"] == folder
    assert main(["unpin", "run"]) == 0
    assert told(capsys, "pins") == []


def test_a_pin_tells_how_much_is_here(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = put_half(home)
    assert main(["pin", link]) == 0
    captured = capsys.readouterr()
    assert "0 of 1 files complete, 524 kB here" in captured.err
    assert "kacheryfs prefetch" in captured.err
    (pin,) = told(capsys, "pins")
    assert (pin["n_complete"], pin["present_bytes"]) == (0, 2 * BLOCK_BYTES)


def test_a_pin_that_cant_be_looked_up_is_told(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pin", NOBODYS, folder, "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert [pin["link"] for pin in found["pinned"]] == [folder]
    assert found["incomplete"][0]["link"] == NOBODYS


def test_the_cache_lists_what_is_here_with_its_link(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = put_half(home)
    assert told(capsys, "pin", link)["incomplete"] == []
    (file,) = told(capsys, "cache", "list")
    assert file["link"] == link
    assert (file["present_bytes"], file["size_bytes"], file["is_pinned"]) == (2 * BLOCK_BYTES, len(DATA), True)
    assert main(["cache", "list"]) == 0
    assert "66.6 % of 786 kB  pinned" in capsys.readouterr().out


def test_the_caches_numbers_are_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_half(home)
    found = told(capsys, "cache", "stats")
    assert found["n_files"] == 1
    assert 2 * BLOCK_BYTES <= found["used_bytes"] < found["limit_bytes"]
    assert main(["cache", "stats"]) == 0
    assert "cache_size" in capsys.readouterr().out


def test_what_is_evicted_is_given_back_and_fetched_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = put_half(home)
    freed = told(capsys, "cache", "evict", link)
    assert freed["freed_bytes"] >= 2 * BLOCK_BYTES
    assert told(capsys, "cache", "list") == []
    assert told(capsys, "cache", "stats")["used_bytes"] == freed["used_bytes"] < 2 * BLOCK_BYTES


def test_a_pinned_file_stays_and_that_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = put_half(home)
    told(capsys, "pin", link)
    assert main(["cache", "evict", link]) == 0
    assert "1 pinned file kept" in capsys.readouterr().err
    assert told(capsys, "cache", "clear")["freed_bytes"] < BLOCK_BYTES
    assert told(capsys, "cache", "list")[0]["present_bytes"] == 2 * BLOCK_BYTES
    assert main(["unpin", link]) == 0
    assert told(capsys, "cache", "clear")["freed_bytes"] >= 2 * BLOCK_BYTES
    assert told(capsys, "cache", "list") == []


def test_a_file_in_use_stays_and_that_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = put_half(home)
    hashed = hash_bytes(DATA)
    assert hashed.root is not None
    with closing(Store(home / "home" / "store")) as store, closing(store.open(GroupedProof(hashed.root))):
        assert told(capsys, "cache", "clear")["n_in_use"] == 1
        assert main(["cache", "clear"]) == 0
        assert "1 file in use kept; files are in use up to 30 s after" in capsys.readouterr().err
    assert told(capsys, "cache", "evict", link)["n_in_use"] == 0
    assert told(capsys, "cache", "list") == []


def test_so_many_bytes_are_evicted_and_hardly_more(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_half(home)
    assert 1 <= told(capsys, "cache", "evict", "--bytes", "1")["freed_bytes"] <= 3 * BLOCK_BYTES


def test_originals_are_no_part_of_the_cache(home: Path, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "cache", "evict", folder)["freed_bytes"] == 0
    assert told(capsys, "cache", "clear")["freed_bytes"] == 0
    assert (home / "run" / "b.dat").read_bytes() == DATA


@pytest.mark.parametrize("command", ["mirror", "prefetch"])
def test_where_a_server_runs_others_may_rely_on_what_is_fetched(
    home: Path, folder: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_served: list[bool] = []

    def open_parts(*_: object, is_served: bool) -> object:
        told_served.append(is_served)
        raise StoreError("enough is known")

    monkeypatch.setattr(app, "open_parts", open_parts)
    assert main([command, folder]) == 6
    settings = load_settings({}, os.environ)
    app.make_runtime_folder(settings)
    with announce(RunningServer("http://127.0.0.1:1", os.getpid(), str(settings.data_dir)), settings.runtime_dir):
        assert main([command, folder]) == 6
        assert main([command, folder, "--store", str(home / "elsewhere")]) == 6
    assert told_served == [False, True, False]
