"""What belongs to a shared folder, and what is left out, and why."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest

from kacheryfs.core.manifest import MAX_FILE_BYTES
from kacheryfs.core.tree import MAX_TREE_DEPTH
from kacheryfs.errors import InputError
from kacheryfs.store import scan as scan_module
from kacheryfs.store.scan import Exclude, Scan, find_kachery_devices, scan


def walk(root: Path, *exclude: str, own_folders: tuple[Path, ...] = ()) -> Scan:
    return scan(os.fsencode(root), Exclude(exclude), own_folders=[os.fsencode(own) for own in own_folders])


def files_of(found: Scan) -> list[str]:
    return ["/".join(file.names) for file in found.files]


def folders_of(found: Scan) -> list[str]:
    return ["/".join(names) for names in found.folders]


def fill(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_text(name)


def test_everything_that_is_a_file_or_a_folder_belongs_and_is_sorted(tmp_path: Path) -> None:
    fill(tmp_path, "b", "a/c", "a/empty/", ".zgroup", ".hidden/x")
    found = walk(tmp_path)
    assert files_of(found) == [".hidden/x", ".zgroup", "a/c", "b"]
    assert folders_of(found) == [".hidden", "a", "a/empty"]
    assert found.left_out == ()
    assert found.total_bytes == sum(len(text) for text in files_of(found))


def test_any_name_that_a_disk_can_hold_survives(tmp_path: Path) -> None:
    names = [
        b"a b",
        b"100%",
        b"what?",
        b"x.y.z",
        "é€".encode(),
        b"\xff\xfe",
        b"new\nline",
        b"\xc3",
        b"n" * 255,
    ]
    for name in names:
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).touch()
    found = walk(tmp_path)
    assert {file.relative for file in found.files} == set(names)
    assert {file.names[0].encode("utf-8", "surrogateescape") for file in found.files} == set(names)


def test_names_are_utf8_in_a_tree_whatever_the_locale(tmp_path: Path) -> None:
    (tmp_path / "é").touch()
    code = (
        "import os, sys; from kacheryfs.store.scan import *\n"
        "print(ascii(scan(os.fsencode(sys.argv[1]), Exclude()).files[0].names))"
    )
    environment = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == r"('\xe9',)" + "\n"


def test_links_are_followed_only_when_they_stay_inside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    fill(root, "a/data", "b/")
    fill(tmp_path, "secret", "root2/secret")
    (root / "b" / "inside").symlink_to("../a/data")
    (root / "b" / "absolute").symlink_to(root / "a" / "data")
    (root / "b" / "chain").symlink_to("inside")
    (root / "folder").symlink_to("a")
    (root / "out").symlink_to("../secret")
    (root / "sibling").symlink_to(tmp_path / "root2" / "secret")
    (root / "out_and_in").symlink_to("../root/a/data")
    (root / "nowhere").symlink_to("gone")
    (root / "circle").symlink_to("circle")
    found = walk(root)
    places = {"/".join(file.names): file.relative for file in found.files}
    assert places == dict.fromkeys(
        ["a/data", "b/inside", "b/absolute", "b/chain", "folder/data", "out_and_in"], b"a/data"
    )
    assert dict(found.left_out) == {
        "out": "a symbolic link that leads out of the shared folder",
        "sibling": "a symbolic link that leads out of the shared folder",
        "nowhere": "a symbolic link that leads nowhere",
        "circle": "a symbolic link that leads nowhere",
    }


def test_links_back_up_end_the_walk(tmp_path: Path) -> None:
    fill(tmp_path, "a/b/data")
    (tmp_path / "a" / "b" / "up").symlink_to("..")
    (tmp_path / "a" / "b" / "top").symlink_to(tmp_path)
    (tmp_path / "a" / "b" / "self").symlink_to(".")
    (tmp_path / "other").symlink_to("a/b")
    found = walk(tmp_path)
    assert [name for name, _ in found.left_out if name.startswith("a/")] == ["a/b/self", "a/b/top", "a/b/up"]
    assert all(reason == "a symbolic link to a folder that it stands in" for _, reason in found.left_out)
    assert "other/data" in files_of(found)


def test_links_can_not_multiply_a_folder_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "MAX_ENTRIES", 1000)
    for depth in range(40):
        fill(tmp_path, f"{depth}/data")
        (tmp_path / f"{depth}" / "left").symlink_to(f"../{depth + 1}")
        (tmp_path / f"{depth}" / "right").symlink_to(f"../{depth + 1}")
    with pytest.raises(InputError, match="too many entries"):
        walk(tmp_path)


def test_fifos_sockets_and_devices_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        found = walk(tmp_path)
    assert found.files == ()
    assert found.left_out == (("fifo", "a fifo"), ("socket", "a socket"))


def test_devices_are_left_out() -> None:
    assert ("null", "a device") in walk(Path("/dev")).left_out


def is_of_pytest(folder: Path) -> bool:
    return folder.name.startswith(("pytest-", "popen-"))


def test_what_can_not_be_read_is_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "closed", "shut/x", "open")
    (tmp_path / "closed").chmod(0)
    (tmp_path / "shut").chmod(0)
    for folder in [tmp_path, *takewhile(is_of_pytest, tmp_path.parents)]:
        folder.chmod(0o755)
    code = (
        "import os, sys\nfrom kacheryfs.store.scan import *\nif os.geteuid() == 0: os.seteuid(65534)\n"
        "found = scan(os.fsencode(sys.argv[1]), Exclude()); print([f.names[0] for f in found.files], found.left_out)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    (tmp_path / "shut").chmod(0o755)
    left_out = "(('closed', 'not readable'), ('shut', \"can't be listed: Permission denied\"))"
    assert done.stdout == f"['open'] {left_out}\n"


@pytest.mark.parametrize(
    ("pattern", "excluded"),
    [
        ("*.tmp", {"a.tmp", "sub/b.tmp"}),
        ("sub/*.tmp", {"sub/b.tmp"}),
        ("/a.tmp", {"a.tmp"}),
        ("/*.tmp", {"a.tmp", "sub/b.tmp"}),
        ("b.tmp", {"sub/b.tmp"}),
        ("**/b.tmp", {"sub/b.tmp"}),
        ("**/a.tmp", {"a.tmp"}),
        ("sub", {"sub/b.tmp", "sub/keep"}),
        ("sub/", {"sub/b.tmp", "sub/keep"}),
        ("keep/", set()),
        (".*", {".dot"}),
        ("[ab].tmp", {"a.tmp", "sub/b.tmp"}),
        ("A.TMP", set()),
        ("nothing", set()),
    ],
)
def test_excludes_match_names_and_relative_paths(tmp_path: Path, pattern: str, excluded: set[str]) -> None:
    names = {"a.tmp", "keep", ".dot", "sub/b.tmp", "sub/keep"}
    fill(tmp_path, *names)
    found = walk(tmp_path, pattern)
    assert set(files_of(found)) == names - excluded
    assert found.left_out == ()
    assert found.n_excluded == (1 if pattern in ("sub", "sub/") else len(excluded))


def test_a_link_does_not_give_away_what_is_excluded(tmp_path: Path) -> None:
    fill(tmp_path, "secret/key", "open")
    (tmp_path / "public").symlink_to("secret/key")
    (tmp_path / "shown").symlink_to("secret")
    found = walk(tmp_path, "secret")
    assert files_of(found) == ["open"]
    assert folders_of(found) == []


def test_kacheryfs_s_own_folders_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "own/catalog.sqlite", "own/deep/x", "data", "own-not/x")
    (tmp_path / "link").symlink_to("own/catalog.sqlite")
    found = walk(tmp_path, own_folders=(tmp_path / "own",))
    assert files_of(found) == ["data", "own-not/x"]
    assert dict(found.left_out) == {"own": "kacheryfs's own files", "link": "kacheryfs's own files"}


def test_a_mount_of_kacheryfs_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    device = os.stat("/dev/shm").st_dev
    if device == os.stat("/dev").st_dev:
        pytest.skip("/dev/shm is no mount of its own here")
    monkeypatch.setattr(scan_module, "kachery_devices", lambda: frozenset({device}))
    assert ("shm", "a mount of kacheryfs") in walk(Path("/dev")).left_out


def test_mounts_of_kacheryfs_are_known_by_type_or_source() -> None:
    lines = [
        b"25 1 8:1 / / rw,relatime - ext4 /dev/root rw\n",
        b"90 25 0:50 / /home/u/kachery ro,nosuid shared:5 - fuse.kacheryfs kacheryfs ro,user_id=1\n",
        b"91 25 0:51 / /mnt/x ro - fuse kacheryfs ro\n",
        b"92 25 0:52 / /mnt/kacheryfs ro - fuse.other other ro,fsname=kacheryfs\n",
    ]
    assert set(find_kachery_devices(lines)) == {os.makedev(0, 50), os.makedev(0, 51)}


def test_what_no_tree_can_hold_is_left_out(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * (MAX_TREE_DEPTH + 1))
    deep.mkdir(parents=True)
    (deep.parent / "deepest").touch()
    found = walk(tmp_path)
    assert len(found.folders) == MAX_TREE_DEPTH
    assert [len(file.names) for file in found.files] == [MAX_TREE_DEPTH + 1]
    assert [reason for _, reason in found.left_out] == [f"folders nested deeper than {MAX_TREE_DEPTH}"]


def test_an_absurdly_large_file_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "MAX_FILE_BYTES", 10)
    fill(tmp_path, "a" * 10, "b" * 11)
    assert walk(tmp_path).left_out == (("b" * 11, "larger than 1 PiB"),)
    assert MAX_FILE_BYTES == 1 << 50


def test_a_root_that_can_not_be_listed_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        walk(tmp_path / "gone")
