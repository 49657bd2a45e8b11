"""Originals are served in place while they are what was hashed, and what is unusual in a folder is kept out."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from system_content import LARGE, SMALL, bytes_of, contents, sha1_of, write
from system_labs import MakeLab, opened, wait_until

pytestmark = pytest.mark.kernel

FAR = 15 * 256 * 1024
CHANGED = LARGE[::-1]


def change(path: Path) -> None:
    """Write other bytes of the same length over a file, in place."""
    with open(path, "r+b") as file:
        file.write(CHANGED)


def test_an_original_that_changed_is_not_served_and_the_error_says_so(make_lab: MakeLab) -> None:
    alice = make_lab("alice")
    original = write(alice.folder / "rec.dat", LARGE)
    link = alice.share(original)
    mount = make_lab("bob").mount(alice.serve(), flags=["--read-timeout", "2"])
    with opened(mount.at(link)) as fd:
        assert os.pread(fd, 1000, 0) == LARGE[:1000]
        change(original)
        with pytest.raises(OSError, match="Input/output error"):
            os.pread(fd, 1000, FAR)
        assert os.pread(fd, 1000, 0) == LARGE[:1000]  # what is present stays right
    assert "changed" in mount.log()
    assert sha1_of(LARGE)[:8] in mount.log()


def test_shares_tells_that_an_original_changed_and_sharing_again_brings_its_new_link(make_lab: MakeLab) -> None:
    alice = make_lab("alice")
    original = write(alice.folder / "rec.dat", LARGE)
    link = alice.share(original)
    mount = make_lab("bob").mount(alice.serve())
    change(original)
    assert [(share["path"], share["state"]) for share in alice.json("shares")] == [(str(original), "changed")]
    new_link = alice.share(original)
    assert new_link != link
    assert new_link.startswith(f"sha1://{sha1_of(CHANGED)}/rec.dat?manifest=")
    assert [share["state"] for share in alice.json("shares")] == ["ok"]
    assert mount.at(new_link).read_bytes() == CHANGED
    with pytest.raises(OSError, match=r"\[Errno"):
        mount.at(link).read_bytes()


def test_a_missing_original_is_not_served(make_lab: MakeLab) -> None:
    alice = make_lab("alice")
    original = write(alice.folder / "rec.dat", LARGE)
    link = alice.share(original)
    mount = make_lab("bob").mount(alice.serve(), flags=["--read-timeout", "1"])
    original.unlink()
    with pytest.raises(OSError, match=r"\[Errno"):
        mount.at(link).read_bytes()
    assert [share["state"] for share in alice.json("shares")] == ["missing"]


def test_what_is_unshared_is_not_served(make_lab: MakeLab) -> None:
    alice = make_lab("alice")
    link = alice.share(write(alice.folder / "rec.dat", LARGE))
    server = alice.serve()
    alice.run("unshare", link)
    assert not make_lab("bob").mount(server).at(link).exists()
    assert (alice.folder / "rec.dat").exists()


def test_a_file_that_is_shared_while_the_server_runs_is_served(make_lab: MakeLab) -> None:
    alice = make_lab("alice")
    mount = make_lab("bob").mount(alice.serve())
    assert not (mount / f"sha1/{sha1_of(SMALL)}").exists()
    alice.share(write(alice.folder / "notes.txt", SMALL))
    # A "no" is remembered for a second or two.
    wait_until((mount / f"sha1/{sha1_of(SMALL)}").exists, "the file that was shared")
    assert (mount / f"sha1/{sha1_of(SMALL)}").read_bytes() == SMALL


def test_a_machine_reads_its_own_originals_in_place_without_a_copy(make_lab: MakeLab) -> None:
    alice = make_lab("alice")
    link = alice.share(write(alice.folder / "rec.dat", LARGE))
    mount = alice.mount()
    assert mount.at(link).read_bytes() == LARGE
    assert (mount / f"sha1/{sha1_of(LARGE)}").read_bytes() == LARGE
    assert mount.status()["store"]["present_bytes"] == 0


def test_links_are_followed_inside_a_shared_folder_only_and_what_is_no_file_stays_out(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    alice = make_lab("alice")
    folder = alice.folder / "folder"
    write(folder / "real.dat", LARGE)
    write(folder / "sub" / "small.txt", SMALL)
    secret = write(tmp_path / "secret.txt", b"nobody else's business")
    (folder / "inside").symlink_to("real.dat")
    (folder / "inside folder").symlink_to("sub")
    (folder / "outside").symlink_to(secret)
    (folder / "outside folder").symlink_to(tmp_path)
    (folder / "dangling").symlink_to("nothing")
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        here = os.open(folder, os.O_RDONLY)
        sock.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        done = alice.try_run("share", folder)
    assert done.returncode == 0
    for name in (b"outside", b"outside folder", b"dangling", b"fifo", b"socket"):
        assert b"left out: %s/%s: " % (os.fsencode(folder), name) in done.stderr
    mount = make_lab("bob").mount(alice.serve())
    shown = contents(mount.at(done.stdout.decode().strip()))
    assert shown == {
        "./real.dat": LARGE,
        "./inside": LARGE,
        "./sub": None,
        "sub/small.txt": SMALL,
        "./inside folder": None,
        "inside folder/small.txt": SMALL,
    }
    assert not (mount / f"sha1/{sha1_of(secret.read_bytes())}").exists()


def test_a_link_that_is_put_in_an_originals_place_after_sharing_is_not_followed(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    alice = make_lab("alice")
    original = write(alice.folder / "folder" / "rec.dat", LARGE)
    link = alice.share(original.parent)
    server = alice.serve()
    elsewhere = write(tmp_path / "elsewhere.dat", bytes_of(5, len(LARGE)))
    original.unlink()
    original.symlink_to(elsewhere)
    mount = make_lab("bob").mount(server, flags=["--read-timeout", "1"])
    with pytest.raises(OSError, match=r"\[Errno"):
        mount.at(link, "rec.dat").read_bytes()
