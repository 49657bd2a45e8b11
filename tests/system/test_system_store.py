"""The store under a mount: what is present survives kills, is shared by processes, and never brings a wrong byte."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from system_content import LARGE, SMALL, bytes_of, sha1_of, write
from system_labs import COMMAND_TIMEOUT_S, Lab, MakeLab, Mount, command, is_mounted, read_range, wait_until

pytestmark = pytest.mark.kernel

BLOCK = 256 * 1024
BIG = bytes_of(31, 64 * BLOCK + 77)
H = sha1_of(BIG)


def sharing(make_lab: MakeLab, data: bytes = BIG) -> tuple[Lab, str]:
    alice = make_lab("alice")
    return alice, alice.share(write(alice.folder / "rec.dat", data))


def present_bytes(path: Path) -> int:
    return int(os.getxattr(path, "user.kacheryfs.status").split(b"/")[0])


def leading_bytes(path: Path) -> bytes:
    """Return what can be read before the first error."""
    parts = []
    with open(path, "rb", buffering=0) as file, contextlib.suppress(OSError):
        while part := file.read(128 * 1024):
            parts.append(part)
    return b"".join(parts)


def drop_pages(path: Path) -> None:
    """Let the kernel forget what it has of a file, so that the next read comes to the mount."""
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def wait_for_proof(mount: Mount, n_files: int = 1) -> None:
    wait_until(lambda: mount.status()["store"]["n_complete"] == n_files, "the proof of the whole file")


# -- restart and kill -------------------------------------------------------------------------------------------------


def test_what_was_read_before_a_kill_is_read_after_it_without_a_network(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab)
    bob = make_lab("bob", readahead="1 MiB")
    mount = bob.mount(alice.serve())
    n_read = len(BIG) // 2
    assert read_range(mount.at(link), 0, n_read) == BIG[:n_read]
    mount.kill()
    with pytest.raises(OSError, match="Transport endpoint is not connected"):
        os.listdir(mount.path)  # not an empty folder, which a tool that mirrors would copy
    again = bob.mount(flags=["--read-timeout", "1"])  # in the dead one's place, with nobody to ask
    assert n_read <= present_bytes(again.at(link)) < len(BIG)
    leading = leading_bytes(again.at(link))
    assert len(leading) >= n_read
    assert leading == BIG[: len(leading)]


def test_a_service_that_is_removed_leaves_no_dead_mount(make_lab: MakeLab) -> None:
    bob = make_lab("bob")
    program = bob.folder / "bin" / "systemctl"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    bob.settings["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    bob.settings["XDG_CONFIG_HOME"] = str(bob.folder / "config")
    path = bob.folder / "mnt"
    bob.run("service", "install", "mount", path)
    mount = bob.mount(name="mnt")
    mount.kill()
    assert is_mounted(mount.path)
    bob.run("service", "remove", "mount", path)
    assert not is_mounted(mount.path)
    assert os.listdir(mount.path) == []


@pytest.mark.parametrize("kill_after", [1, 8, 21, 40])
def test_a_kill_at_any_moment_leaves_no_wrong_byte(make_lab: MakeLab, kill_after: int) -> None:
    alice, link = sharing(make_lab)
    server = alice.serve()
    bob = make_lab("bob")
    mount = bob.mount(server)
    reader = bob.running.start(["cat", str(mount.at(link))], stdout=subprocess.PIPE)
    assert reader.stdout is not None
    assert reader.stdout.read(kill_after * BLOCK) == BIG[: kill_after * BLOCK]
    mount.kill()
    reader.kill()
    again = bob.mount(server)
    assert again.at(link).read_bytes() == BIG
    wait_for_proof(again)  # also where all was present when the kill came


def test_a_mount_in_the_background_returns_when_it_can_be_used_and_umount_ends_it(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab)
    bob = make_lab("bob")
    mountpoint = bob.folder / "made if needed" / "mnt"
    bob.running.mountpoints.append(mountpoint)
    assert bob.run("mount", mountpoint, "--peer", alice.serve().url) == str(mountpoint)
    assert Path(f"{mountpoint}/{link}").read_bytes() == BIG
    (status,) = bob.json("status")["mounts"]
    assert Path(status["log"]).exists()
    bob.run("umount", mountpoint)
    assert not is_mounted(mountpoint)
    with pytest.raises(ProcessLookupError):
        os.kill(wait_until_gone(status["pid"]), 0)


def wait_until_gone(pid: int) -> int:
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), f"the end of process {pid}")
    return pid


def test_umount_takes_away_a_dead_mount(make_lab: MakeLab) -> None:
    bob = make_lab("bob")
    mount = bob.mount()
    mount.kill()
    assert bob.json("status")["dead_mounts"] == [str(mount.path)]
    bob.run("umount", mount.path)
    assert not is_mounted(mount.path)


def test_a_second_mount_at_a_living_one_is_refused_and_the_first_stays(make_lab: MakeLab) -> None:
    bob = make_lab("bob")
    mount = bob.mount()
    done = bob.try_run("mount", mount.path)
    assert (done.returncode, done.stdout) == (8, b"")
    assert b"is mounted already" in done.stderr
    assert (mount / "README").exists()


# -- several processes ------------------------------------------------------------------------------------------------


def test_two_mounts_use_one_store_at_once(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab)
    server = alice.serve()
    bob = make_lab("bob")
    mounts = [bob.mount(server, flags=["--store", bob.folder / "shared store"], name=name) for name in ("one", "two")]
    readers = [bob.running.start(["sha1sum", str(mount.at(link))], stdout=subprocess.PIPE) for mount in mounts]
    assert [reader.communicate(timeout=60)[0].split()[0].decode() for reader in readers] == [H, H]
    server.stop()
    for mount in mounts:
        assert mount.at(link).read_bytes() == BIG
    usage = sum(path.lstat().st_blocks * 512 for path in (bob.folder / "shared store").rglob("*") if path.is_file())
    assert usage <= 1.01 * len(BIG) + 16 * 1024 * 1024


def test_what_one_mount_fetches_the_other_one_has(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab)
    server = alice.serve()
    bob = make_lab("bob", readahead="0")
    first, second = bob.mount(server, name="one"), bob.mount(name="two")
    assert read_range(first.at(link), 5 * BLOCK, 7 * BLOCK) == BIG[5 * BLOCK : 7 * BLOCK]
    assert read_range(second.at(link), 5 * BLOCK, 7 * BLOCK) == BIG[5 * BLOCK : 7 * BLOCK]


def test_a_get_and_a_mount_use_one_store_at_once(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab)
    server = alice.serve()
    bob = make_lab("bob")
    mount = bob.mount(server)
    argv = [*command(), "get", link, str(bob.folder / "copy.dat"), "--peer", server.url]
    get = bob.running.start(argv, env=bob.environment, stdout=subprocess.PIPE)
    digest = hashlib.sha1(mount.at(link).read_bytes()).hexdigest()
    assert get.wait(COMMAND_TIMEOUT_S) == 0
    assert (digest, sha1_of((bob.folder / "copy.dat").read_bytes())) == (H, H)
    server.stop()
    assert (mount / f"sha1/{H}").read_bytes() == BIG  # proven, whoever fetched it


def test_what_get_fetched_a_mount_reads_without_a_network(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab)
    bob = make_lab("bob")
    bob.run("get", link, bob.folder / "copy.dat", "--peer", alice.serve().url)
    mount = bob.mount()
    assert mount.at(link).read_bytes() == BIG
    assert (mount / f"sha1/{H}").read_bytes() == BIG


# -- disks ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a tmpfs of ``size``."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "kacheryfs-test", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_does_not_fail_a_read(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab)
    bob = make_lab("bob", readahead="0")
    with small_disk(bob.folder / "disk", "6m") as disk:
        mount = bob.mount(alice.serve(), flags=["--store", disk])
        for _ in range(2):
            assert mount.at(link).read_bytes() == BIG
            assert mount.status()["store"]["present_bytes"] < len(BIG)  # an extent goes at once, so it may be 0
            drop_pages(mount.at(link))
        assert os.statvfs(disk).f_bavail > 0
        assert read_range(mount.at(link), 0, BLOCK) == BIG[:BLOCK]
        wait_until(lambda: mount.status()["store"]["present_bytes"] > 0, "a block is kept again")
        assert mount.log().count("not kept for now") <= 1  # only where nothing could be evicted in time
        assert (mount / "README").exists()


def test_a_disk_that_is_full_from_the_beginning_does_not_fail_a_read(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab, LARGE)
    bob = make_lab("bob")
    with small_disk(bob.folder / "disk", "2m") as disk:
        with contextlib.suppress(OSError), open(disk / "somebody else's", "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        mount = bob.mount(alice.serve(), flags=["--store", disk / "store"])
        assert mount.at(link).read_bytes() == LARGE
        assert mount.status()["store"]["present_bytes"] == 0


def test_a_read_only_store_gives_what_it_has_and_does_not_fail_a_read(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab)
    other_link = alice.share(write(alice.folder / "other.dat", LARGE))
    server = alice.serve()
    bob = make_lab("bob", readahead="0")
    with small_disk(bob.folder / "disk", "64m") as disk:
        mount = bob.mount(server, flags=["--store", disk])
        assert read_range(mount.at(link), 0, 10 * BLOCK) == BIG[: 10 * BLOCK]
        mount.umount()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        mount = bob.mount(server, flags=["--store", disk])
        assert mount.at(other_link).read_bytes() == LARGE
        assert mount.at(link).read_bytes() == BIG
        assert mount.status()["store"]["is_writable"] is False
        mount.umount()
        server.stop()
        mount = bob.mount(flags=["--store", disk])
        assert read_range(mount.at(link), 0, 10 * BLOCK) == BIG[: 10 * BLOCK]


# -- damage -----------------------------------------------------------------------------------------------------------


def flip(path: Path, offset: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


def stored_files(lab: Lab) -> list[Path]:
    """Return the files of the store that hold blocks."""
    return [
        *(lab.store / "partial").rglob("data"),
        *(path for path in (lab.store / "sha1").rglob("*") if path.is_file()),
    ]


@pytest.mark.parametrize("share_read", [1.0, 0.5], ids=["complete", "partial"])
def test_a_byte_that_flipped_on_the_disk_is_never_returned(make_lab: MakeLab, share_read: float) -> None:
    alice, link = sharing(make_lab)
    server = alice.serve()
    bob = make_lab("bob", readahead="0")
    mount = bob.mount(server)
    n_read = int(share_read * 64) * BLOCK
    assert read_range(mount.at(link), 0, n_read) == BIG[:n_read]
    if share_read == 1.0:
        assert mount.at(link).read_bytes() == BIG
        wait_for_proof(mount)
    mount.umount()
    (stored,) = stored_files(bob)
    flip(stored, 9 * BLOCK + 5)
    damaged = stored.read_bytes()
    assert damaged[: 9 * BLOCK] == BIG[: 9 * BLOCK]

    alone = bob.mount(flags=["--read-timeout", "1"])
    leading = leading_bytes(alone.at(link))
    assert leading == BIG[: len(leading)]
    assert len(leading) <= 9 * BLOCK
    alone.umount()

    assert bob.mount(server).at(link).read_bytes() == BIG


def test_a_byte_of_a_small_file_that_flipped_on_the_disk_is_never_returned(make_lab: MakeLab) -> None:
    alice, _ = sharing(make_lab, SMALL)
    server = alice.serve()
    bob = make_lab("bob")
    mount = bob.mount(server)
    assert (mount / f"sha1/{sha1_of(SMALL)}").read_bytes() == SMALL
    mount.umount()
    (stored,) = stored_files(bob)
    flip(stored, 100)
    alone = bob.mount(flags=["--read-timeout", "1"])
    with pytest.raises(OSError, match=r"\[Errno"):
        (alone / f"sha1/{sha1_of(SMALL)}").read_bytes()
    alone.umount()
    assert (bob.mount(server) / f"sha1/{sha1_of(SMALL)}").read_bytes() == SMALL


def test_a_damaged_block_is_not_passed_on_to_a_third_peer(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab)
    bob = make_lab("bob")
    bob.run("get", link, bob.folder / "copy.dat", "--peer", alice.serve().url)
    (stored,) = stored_files(bob)
    flip(stored, 9 * BLOCK + 5)
    mount = make_lab("carol").mount(bob.serve(), flags=["--read-timeout", "2"])
    leading = leading_bytes(mount.at(link))
    assert leading == BIG[: len(leading)]
    assert len(leading) <= 9 * BLOCK


def test_a_store_that_is_emptied_under_a_mount_is_filled_again(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab)
    server = alice.serve()
    bob = make_lab("bob")
    mount = bob.mount(server)
    assert mount.at(link).read_bytes() == BIG
    mount.umount()
    shutil.rmtree(bob.store)
    assert bob.mount(server).at(link).read_bytes() == BIG
