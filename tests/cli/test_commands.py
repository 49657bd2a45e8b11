"""Bad input at every command: one line, the documented code, nothing lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kacheryfs.cli import main

LINK = "sha1://" + "0" * 40


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KACHERYFS_DIR", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_mount_whose_log_cant_be_written_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "data").mkdir()
    (home / "data" / "log").touch()
    monkeypatch.setenv("KACHERYFS_DATA_DIR", str(home / "data"))
    assert main(["mount", "m"]) == 8
    assert "can't be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["share"], 2),
        (["share", "absent"], 2),
        (["share", "/"], 2),
        (["share", "/dev/null"], 2),
        (["share", ""], 2),
        (["share", "a\0b"], 2),
        (["share", "--kachery-storage", "absent"], 2),
        (["unshare", "absent"], 2),
        (["unshare", LINK], 2),
        (["unshare", "sha1://zz"], 2),
        (["serve", "--listen", "nonsense"], 2),
        (["serve", "--listen", "127.0.0.1:99999"], 2),
        (["serve", "--upload-limit", "-5MB/s"], 2),
        (["serve", "--listen", "8.8.8.8:0"], 10),
        (["mount", "a\0b"], 8),
        (["mount", "m", "--peer", "ftp://x"], 2),
        (["mount", "m", "--read-timeout", "soon"], 2),
        (["umount", "absent"], 8),
        (["umount", ""], 8),
        (["get", "nonsense"], 2),
        (["get", LINK, ""], 2),
        (["get", LINK, "a\0b"], 2),
        (["get", LINK, "--peer", "nonsense"], 2),
        (["cat", "feed://x"], 2),
        (["cat", "0" * 40], 2),
        (["cat", LINK, "--range", "nonsense"], 2),
        (["cat", LINK], 3),
        (["cat", "sha1dir://" + "0" * 40], 3),
        (["cat", LINK + "?manifest=abc"], 2),
        (["cancel"], 2),
        (["cancel", "x", "--all"], 2),
        (["cancel", "/nowhere"], 2),
        (["peer", "add"], 2),
        (["peer", "add", "nonsense"], 2),
        (["peer", "add", "http://127.0.0.1:1", "--secret-file", "/nowhere"], 2),
        (["peer", "remove", "http://127.0.0.1:1"], 2),
        (["peer", "list", "http://127.0.0.1:1"], 2),
        (["peer", "list", "nonsense"], 2),
        (["path", "nonsense"], 2),
        (["path", LINK], 8),
        (["why", "absent"], 8),
        (["why", LINK], 8),
        (["why", "sha1://zz"], 2),
        (["info", "absent"], 2),
        (["info", "absent/of/all"], 2),
        (["info", ""], 2),
        (["info", "a\0b"], 2),
        (["info", LINK], 3),
        (["mirror", "nonsense", "--to", "copies"], 2),
        (["mirror", LINK, "--to", ""], 2),
        (["mirror", LINK, "--to", "copies", "--watch"], 2),
        (["mirror", LINK, "--watch", "--json"], 2),
        (["mirror", LINK, "--watch", "--every", "often"], 2),
        (["mirror", LINK, "--watch", "--listen", "nonsense"], 2),
        (["mirror", LINK, "--every", "5 s"], 2),
        (["mirror", LINK, "--listen", "127.0.0.1:0"], 2),
        (["mirror", LINK, "--to", "copies", "--listen", "127.0.0.1:0"], 2),
        (["mirror", LINK, "--to", "nonsense://x/y"], 2),
        (["mirror", LINK, "--to", "memory://x"], 2),
        (["mirror", LINK, "--to", "/proc/x"], 6),
        (["pin", "nonsense"], 2),
        (["unpin", LINK], 2),
        (["unpin", "nonsense"], 2),
        (["cache", "evict"], 2),
        (["cache", "evict", "--bytes", "much"], 2),
        (["cache", "evict", "nonsense"], 2),
        (["verify", "nonsense"], 2),
        (["verify", LINK], 3),
        (["verify", "sha1dir://" + "0" * 40], 3),
    ],
)
def test_bad_input_is_one_line_and_its_code(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("kacheryfs: ")
    assert "fault" not in captured.err


@pytest.mark.parametrize("arguments", [["config"], ["status"], ["shares"], ["peer", "list"], ["mount", "m"]])
def test_an_unknown_setting_is_an_error_of_every_command(
    arguments: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "home" / "config").mkdir(parents=True)
    (home / "home" / "config" / "config.toml").write_text("read_timout = 5\n")
    assert main(arguments) == 2
    words = capsys.readouterr().err
    assert "read_timout" in words
    assert "read_timeout" in words


def test_config_tells_where_each_setting_came_from(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "home" / "config").mkdir(parents=True)
    (home / "home" / "config" / "config.toml").write_text("read_timeout = 5\n")
    monkeypatch.setenv("KACHERYFS_LOOKUP_TIMEOUT", "7")
    assert main(["config", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["read_timeout"] == {"value": 5.0, "source": str(home / "home" / "config" / "config.toml")}
    assert told["lookup_timeout"] == {"value": 7.0, "source": "KACHERYFS_LOOKUP_TIMEOUT"}
    assert told["readahead"]["source"] == "default"


def test_a_path_that_fails_leaves_the_links_before_it_printed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "one").write_bytes(b"1")
    assert main(["share", "one", "absent", "one"]) == 2
    assert capsys.readouterr().out.splitlines() == ["sha1://356a192b7913b04c54574d18c28d46e6395428ab/one"]


def test_dry_run_enters_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "one").write_bytes(b"1")
    assert main(["share", "--dry-run", "one"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "1 file" in captured.err
    assert main(["shares", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_what_is_left_out_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "folder").mkdir()
    os.mkfifo(home / "folder" / "pipe")
    (home / "folder" / "skipped.lf").write_bytes(b"2")
    assert main(["share", "folder", "--exclude", "*.lf", "--json"]) == 0
    captured = capsys.readouterr()
    (told,) = json.loads(captured.out)
    assert told["link"].startswith("sha1dir://")
    assert (told["n_files"], told["n_excluded"]) == (0, 1)
    assert [left["path"] for left in told["left_out"]] == ["pipe"]
    assert "pipe" in captured.err


def test_a_kachery_storage_folder_is_shared_in_place(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sha1 = "356a192b7913b04c54574d18c28d46e6395428ab"
    place = home / "storage" / "sha1" / "35" / "6a" / "19" / sha1
    place.parent.mkdir(parents=True)
    place.write_bytes(b"1")
    assert main(["share", "--kachery-storage", "storage"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"sha1://{sha1}"]


def test_status_and_lists_of_nothing_are_no_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["status"], ["shares"], ["peer", "list"], ["verify"]):
        assert main(command) == 0, capsys.readouterr().err
    assert main(["status", "--json"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out[captured.out.index("{\n") :])
    assert (told["mounts"], told["servers"], told["store"]["n_files"]) == ([], [], 0)


def test_offline_status_asks_no_peer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["peer", "add", "http://127.0.0.1:9"]) == 0
    monkeypatch.setenv("KACHERYFS_OFFLINE", "yes")
    assert main(["status", "--json"]) == 0
    (peer,) = json.loads(capsys.readouterr().out)["peers"]
    assert (peer["is_asked"], peer["says"]) == (False, "not asked, offline")
    assert main(["status"]) == 0
    assert "NOT REACHABLE" not in capsys.readouterr().out


def test_verify_tells_a_changed_original_from_a_spoilt_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = home / "one"
    file.write_bytes(b"1")
    assert main(["share", "one"]) == 0
    assert main(["verify"]) == 0
    file.write_bytes(b"2")
    capsys.readouterr()
    assert main(["verify", "--json"]) == 7
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["where"], told["name"], told["state"]) == ("share", str(file), "changed")


def test_a_read_that_fails_tells_that_the_file_shared_here_was_changed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "one"
    file.write_bytes(b"1")
    assert main(["share", "one"]) == 0
    link = capsys.readouterr().out.strip()
    file.write_bytes(b"2")
    assert main(["cat", link, "--read-timeout", "0.2"]) == 4
    assert "shared here was found changed or removed: see kacheryfs shares" in capsys.readouterr().err
