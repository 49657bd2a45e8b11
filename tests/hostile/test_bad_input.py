"""Every command, run as users run it, on bad input and in bad places: one line that says what and what to do.

``tests/cli`` tries bad arguments inside one process; here are processes, their exit codes, files, ports and pipes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from running_peers import COMMAND, TIMEOUT_S, Done, Peer

H = "0" * 40
LINK = f"sha1://{H}/rec.dat"
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def lab(tmp_path: Path) -> Peer:
    return Peer(tmp_path / "lab")


def check(done: Done, code: int, *words: str) -> None:
    """Demand the documented code, and one line that people can act on."""
    line = done.one_line
    assert done.code == code, line
    assert done.stdout == b""
    assert "Traceback" not in line
    assert "unexpected" not in line, "a fault of ours"
    for word in words:
        assert word in line
    assert len(line) < 700


@dataclass(frozen=True)
class Bad:
    """A command line in a folder that has ``file``, ``empty/``, ``full/file``, and its ending."""

    arguments: tuple[str, ...]
    code: int
    word: str = ""


BAD = [
    Bad(("nonsense",), 2, "--help"),
    Bad(("--nonsense",), 2, "--help"),
    Bad(("share", "absent"), 2, "absent"),
    Bad(("share", "file", "--exclude"), 2, "--exclude"),
    Bad(("share", "file", "--recursive"), 2, "--recursive"),
    Bad(("share", "/dev/zero"), 2, "/dev/zero"),
    Bad(("share", "/"), 2, "--force"),
    Bad(("share", "--kachery-storage", "file"), 2, "file"),
    Bad(("share", "x" * 300), 2),
    Bad(("shares", "file"), 2, "--help"),
    Bad(("unshare", "file"), 2, "file"),
    Bad(("unshare", "sha1://nonsense"), 2, "link"),
    Bad(("serve", "--listen", "nonsense"), 2, "HOST:PORT"),
    Bad(("serve", "--listen", "127.0.0.1:65536"), 2),
    Bad(("serve", "--listen", "127.0.0.1:-1"), 2),
    Bad(("serve", "--listen", "192.0.2.1:0"), 10, "192.0.2.1"),
    Bad(("mount", "file"), 8, "file"),
    Bad(("mount", "full"), 8, "not empty"),
    Bad(("mount", "file/below"), 8, "file"),
    Bad(("mount", "empty", "--read-timeout", "-1"), 2, "read_timeout"),
    Bad(("mount", "empty", "--read-timeout", "nan"), 2, "read_timeout"),
    Bad(("mount", "empty", "--read-timeout", "5 parsecs"), 2, "read_timeout"),
    Bad(("mount", "empty", "--peer", "nonsense"), 2, "http://"),
    Bad(("mount", "empty", "--peer", "http://user:word@host"), 2, "user"),
    Bad(("mount", "empty", "--peer", "file:///etc/passwd"), 2, "http://"),
    Bad(("mount", "--foreground", "file"), 8, "file"),
    Bad(("umount", "empty"), 8, "not a mount"),
    Bad(("umount", "absent"), 8, "absent"),
    Bad(("umount", "--force", "/"), 8, "/"),
    Bad(("get",), 2, "LINK"),
    Bad(("get", "nonsense"), 2, "sha1://"),
    Bad(("get", f"sha1://{H[:-1]}"), 2),
    Bad(("get", f"sha1://{H}?manifest=xyz"), 2, "manifest"),
    Bad(("get", f"sha1://{H}?chunkOf={H}~0~10"), 2),
    Bad(("get", "feed://" + "0" * 64), 2),
    Bad(("get", f"sha1dir://{H}/../../etc/passwd"), 2),
    Bad(("get", LINK), 3, "peer add"),
    Bad(("get", LINK, "file"), 2, "--force"),
    Bad(("get", LINK, "new", "--peer", NOBODY), 4, "127.0.0.1:1"),
    Bad(("get", LINK, "file/below"), 2, "DEST"),
    Bad(("get", LINK, "--store", "file"), 6, "file"),
    Bad(("get", LINK, "--require-manifest"), 5, "manifest"),
    Bad(("cat", LINK, "--range", "5"), 2, "A:B"),
    Bad(("cat", LINK, "--range", "-5:1"), 2),
    Bad(("cat", LINK, "--range", "9:1"), 2),
    Bad(("cat", LINK, "--range", "9" * 30 + ":"), 2),
    Bad(("cat", f"sha1dir://{H}"), 3),
    Bad(("cat", LINK, "--peer", "http://127.0.0.1:99999"), 2, "http://"),
    Bad(("cat", LINK, "--peer", "http://[::1"), 2),
    Bad(("cat", LINK, "--peer", "http://no such host/"), 2),
    Bad(("cat", LINK, "--peer", "http://nobody.invalid"), 4, "nobody.invalid"),
    Bad(("status", "--all"), 2, "--all"),
    Bad(("cancel",), 2, "--all"),
    Bad(("cancel", "file"), 2, "mount"),
    Bad(("peer", "add", "http://x?y"), 2, "query"),
    Bad(("peer", "add", "https://"), 2),
    Bad(("peer", "add", "gopher://x"), 2, "http://"),
    Bad(("peer", "add", "\x1b]0;title\x07"), 2),
    Bad(("peer", "remove", NOBODY), 2, NOBODY),
    Bad(("peer", "sell", NOBODY), 2),
    Bad(("path", LINK), 8, "kacheryfs mount"),
    Bad(("path", "sha1"), 2),
    Bad(("path", LINK, "--mount", "empty"), 8),
    Bad(("info", "file"), 2, "file"),
    Bad(("info", LINK), 3),
    Bad(("info", "sha1://\udcff"), 2),
    Bad(("verify", "file"), 2),
    Bad(("verify", LINK), 3),
    Bad(("config", "read_timeout"), 2),
]


def test_bad_arguments_end_in_one_line_and_the_documented_code(tmp_path: Path) -> None:
    """All in one test, two processes at a time: a process takes most of a second to start."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    for name in ("file", "full/file"):
        (tmp_path / name).write_bytes(b"precious")

    def try_one(numbered: tuple[int, Bad]) -> str | None:
        number, bad = numbered
        try:
            done = Peer(tmp_path / f"lab{number}").run(*bad.arguments, cwd=tmp_path)
            check(done, bad.code, *([bad.word] if bad.word else []))
        except AssertionError as exc:
            return f"{[argument[:60] for argument in bad.arguments]}: {exc}"
        return None

    with ThreadPoolExecutor(2) as pool:
        failures = [failure for failure in pool.map(try_one, enumerate(BAD)) if failure]
    assert failures == [], "\n".join(failures)
    assert (tmp_path / "file").read_bytes() == (tmp_path / "full" / "file").read_bytes() == b"precious"
    assert os.listdir(tmp_path / "empty") == []
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


SETTINGS = {
    "not TOML": ("read_timeout = = 5", "config.toml"),
    "not text": (b"\xff\xfe\x00", "config.toml"),
    "an unknown key": ("read_timeot = 5", "read_timeout"),
    "a table": ("[read_timeout]\nx = 1", "read_timeout"),
    "a negative time": ("read_timeout = -5", "read_timeout"),
    "a size of nothing": ('whole_file_limit = "many"', "whole_file_limit"),
    "an infinite size": ("readahead = inf", "readahead"),
    "a fraction over 1": ("min_free_fraction = 5", "min_free_fraction"),
    "a relative folder": ('store_dir = "store"', "absolute"),
    "its own folder": ('config_dir = "/x"', "config_dir"),
    "yes in text": ('require_manifest = "perhaps"', "require_manifest"),
    "a list": ("listen = [1, 2]", "listen"),
    "nested": ("x = " + "[" * 5000, "config.toml"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_config_file_that_is_wrong_is_said_where(name: str, lab: Peer) -> None:
    content, word = SETTINGS[name]
    config = lab.folder / "config" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_bytes(content if isinstance(content, bytes) else content.encode())
    check(lab.run("status"), 2, word)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KACHERYFS_READ_TIMEOT", "5"),
        ("KACHERYFS_READ_TIMEOUT", "soon"),
        ("KACHERYFS_LISTEN", "x"),
        ("KACHERYFS_", "1"),
    ],
)
def test_an_environment_that_is_wrong_is_named(
    variable: str, value: str, lab: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    check(lab.run("shares"), 2, variable)


COMMANDS_OF_FOLDERS = [
    ("share", "file"),
    ("shares",),
    ("unshare", "file"),
    ("serve", "--listen", "127.0.0.1:0"),
    ("get", LINK),
    ("cat", LINK),
    ("peer", "add", NOBODY),
    ("verify",),
    ("info", LINK),
    ("mount", "mnt"),
]


@pytest.mark.parametrize("command", COMMANDS_OF_FOLDERS, ids=lambda command: command[0])
def test_a_folder_that_is_a_file_is_one_line(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    done = Peer(tmp_path / "file").run(*command, cwd=tmp_path)
    assert done.code in (2, 6, 8), done.stderr
    assert str(tmp_path / "file") in done.one_line
    assert (tmp_path / "file").read_bytes() == b"precious"


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, " * 500)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def newer(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 999")
    db.close()


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.fixture
def sharing(lab: Peer, tmp_path: Path) -> Peer:
    """A lab with a shared file of three blocks."""
    (tmp_path / "shared.dat").write_bytes(os.urandom(600_000))
    lab.get("share", tmp_path / "shared.dat")
    return lab


@pytest.mark.parametrize("harm", [garbage, cut, newer, folder_instead])
def test_a_catalog_that_is_damaged_is_named_and_kept(
    harm: Callable[[Path], None], sharing: Peer, tmp_path: Path
) -> None:
    catalog = sharing.folder / "data" / "catalog.sqlite"
    for beside in ("catalog.sqlite-wal", "catalog.sqlite-shm"):
        catalog.with_name(beside).unlink(missing_ok=True)
    harm(catalog)
    harmed = catalog.read_bytes() if catalog.is_file() else None
    for command in (("shares",), ("share", str(tmp_path / "shared.dat"))):
        done = sharing.run(*command)
        check(done, 6, "catalog")
    if harmed is not None and harm is not newer:
        assert catalog.read_bytes() == harmed


@pytest.mark.parametrize(
    "version", [b"", b"kacheryfs-store 99\n", b"\xff\x00" * 100_000], ids=["none", "99", "garbage"]
)
def test_a_store_of_another_version_is_not_touched(version: bytes, lab: Peer) -> None:
    store = lab.folder / "store"
    store.mkdir(parents=True)
    (store / "VERSION").write_bytes(version)
    (store / "precious").write_bytes(b"precious")
    for command in (("cat", LINK), ("serve", "--listen", "127.0.0.1:0")):
        check(lab.run(*command), 6, str(store))
    assert (store / "VERSION").read_bytes() == version
    assert (store / "precious").read_bytes() == b"precious"


def test_a_port_in_use_is_said(lab: Peer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        check(lab.run("serve", "--listen", f"127.0.0.1:{port}"), 10, str(port), "in use")


@pytest.mark.parametrize("command", [("share", "file"), ("get", LINK), ("peer", "add", NOBODY)])
def test_a_folder_that_can_not_be_made_is_said(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    done = Peer(Path("/proc/lab")).run(*command, cwd=tmp_path)  # not even root can write there
    assert done.code in (2, 6), done.stderr
    assert "/proc/lab" in done.one_line


def test_dest_that_is_there_is_kept(sharing: Peer, tmp_path: Path) -> None:
    link = sharing.get_json("shares")[0]["link"]
    (tmp_path / "mine").write_bytes(b"precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    check(sharing.run("get", link, tmp_path / "mine"), 2, "--force")
    check(sharing.run("get", link, tmp_path / "mine" / "below"), 2, "mine")
    check(sharing.run("get", link, tmp_path / "dangling"), 2, "dangling")
    sharing.get("get", link, tmp_path / "folder")
    assert (tmp_path / "mine").read_bytes() == b"precious"
    assert os.listdir(tmp_path / "folder") == ["shared.dat"]
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("command", [("shares",), ("config",), ("status", "--json"), ("peer", "list")])
def test_a_reader_that_went_away_is_no_fault(command: tuple[str, ...], sharing: Peer) -> None:
    sharing.get("peer", "add", NOBODY)
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [*COMMAND, *command],
        env=sharing.environment,
        stdout=write_end,
        stderr=subprocess.PIPE,
        timeout=TIMEOUT_S,
        check=False,
    )
    os.close(write_end)
    assert done.returncode == 141
    assert done.stderr == b""


def test_a_full_disk_at_stdout_is_one_line(sharing: Peer) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "config"], env=sharing.environment, stdout=full, stderr=subprocess.PIPE, timeout=TIMEOUT_S
        )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert b"No space left" in done.stderr


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_is_told_to_stop_ends_well(ending: signal.Signals, lab: Peer) -> None:
    command = [*COMMAND, "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, env=lab.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        server.send_signal(ending)
        _, words = server.communicate(timeout=TIMEOUT_S)
    assert server.returncode == 0
    assert b"Traceback" not in words


def test_ctrl_c_while_hashing_ends_with_130_and_enters_nothing(lab: Peer, tmp_path: Path) -> None:
    large = tmp_path / "large.dat"
    with open(large, "wb") as file:
        file.truncate(40_000_000_000)  # sparse: a minute of hashing, and no disk
    command = [*COMMAND, "share", str(large)]
    with subprocess.Popen(command, env=lab.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as sharing:
        while str(large) not in _open_files(sharing.pid):
            assert sharing.poll() is None
        sharing.send_signal(signal.SIGINT)
        out, words = sharing.communicate(timeout=TIMEOUT_S)
    assert sharing.returncode == 130
    assert out == b""
    assert b"Traceback" not in words
    assert json.loads(lab.get("shares", "--json")) == []


def _open_files(pid: int) -> list[str]:
    folder, found = Path(f"/proc/{pid}/fd"), []
    for name in os.listdir(folder):
        try:
            found.append(os.readlink(folder / name))
        except OSError:
            continue  # closed meanwhile
    return found
