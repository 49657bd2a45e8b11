"""Two peers on this machine as real processes: share, serve, mount, get, cat, status and the rest of the commands."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from running_peers import COMMAND, TIMEOUT_S, Peer

BIG = random.Random(1).randbytes(3_000_001)
SMALL = b"small, and proven by its SHA-1 alone\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A shared folder with everything that names can be."""
    folder = tmp_path / "rec ording.v1"
    (folder / "sub dir" / "empty folder").mkdir(parents=True)
    (folder / "big.dat").write_bytes(BIG)
    (folder / "sub dir" / "50% of what?.txt").write_bytes(SMALL)
    (folder / "sub dir" / ".zgroup").write_bytes(b"")
    (folder / "größe.npy").write_bytes(b"umlaut")
    with open(os.fsencode(folder) + b"/invalid-\xff\xfe.bin", "wb") as file:
        file.write(b"no UTF-8")
    return folder


@pytest.fixture
def lab1(tmp_path: Path) -> Peer:
    return Peer(tmp_path / "lab1")


@pytest.fixture
def lab2(tmp_path: Path) -> Peer:
    return Peer(tmp_path / "lab2")


@pytest.fixture
def url(lab1: Peer) -> Iterator[str]:
    with lab1.serving() as url:
        yield url


@contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Kill a process whose test failed, so that it isn't waited for."""
    try:
        yield
    except BaseException:
        process.kill()
        raise


def contents(folder: Path) -> dict[bytes, bytes | None]:
    """Every path below ``folder`` with its bytes, None for a folder."""
    found: dict[bytes, bytes | None] = {}
    root = os.fsencode(folder)
    for above, folders, files in os.walk(root):
        for name in folders:
            found[os.path.relpath(os.path.join(above, name), root)] = None
        for name in files:
            with open(os.path.join(above, name), "rb") as file:
                found[os.path.relpath(file.name, root)] = file.read()
    return found


def test_share_prints_one_link_a_path_in_order_and_nothing_else(lab1: Peer, folder: Path) -> None:
    done = lab1.run("share", folder / "sub dir", folder, folder / "big.dat").success
    links = done.stdout.decode().splitlines()
    assert [link.split(":")[0] for link in links] == ["sha1dir", "sha1dir", "sha1"]
    assert "?manifest=" in links[2]
    assert lab1.get("share", folder) == links[1]


def test_share_says_when_nothing_serves_and_when_only_loopback_can_reach_it(lab1: Peer, folder: Path) -> None:
    assert "kacheryfs serve" in lab1.run("share", folder).success.stderr
    with lab1.serving() as url:
        words = lab1.run("share", folder).success.stderr
        assert url in words
        assert "only this machine" in words
    assert "nothing serves" in lab1.run("share", folder).success.stderr


def test_a_folder_arrives_whole_by_get_with_every_name(
    lab1: Peer, lab2: Peer, url: str, folder: Path, tmp_path: Path
) -> None:
    link = lab1.get("share", folder)
    lab2.get("get", link, tmp_path / "copy", "--peer", url)
    assert contents(tmp_path / "copy") == contents(folder)


def test_get_again_leaves_what_is_right_and_fetches_nothing(
    lab1: Peer, lab2: Peer, folder: Path, tmp_path: Path
) -> None:
    link = lab1.get("share", folder)
    with lab1.serving() as url:
        lab2.get("get", link, tmp_path / "copy", "--peer", url)
    (tmp_path / "copy" / "big.dat").unlink()
    report = lab2.get_json("get", link, tmp_path / "copy")  # nobody serves: the store has it
    assert (report["written"], report["already_there"]) == (1, 4)
    assert contents(tmp_path / "copy") == contents(folder)


def test_get_does_not_replace_something_else_unless_forced(
    lab1: Peer, lab2: Peer, url: str, folder: Path, tmp_path: Path
) -> None:
    link = lab1.get("share", folder / "big.dat")
    dest = tmp_path / "mine"
    dest.write_bytes(b"precious")
    refused = lab2.run("get", link, dest, "--peer", url)
    assert refused.code == 2
    assert "--force" in refused.one_line
    assert dest.read_bytes() == b"precious"
    lab2.get("get", "--force", link, dest, "--peer", url)
    assert dest.read_bytes() == BIG


def test_cat_gives_a_range_and_a_file_inside_a_folder(lab1: Peer, lab2: Peer, url: str, folder: Path) -> None:
    file_link, tree_link = lab1.get("share", folder / "big.dat", folder).splitlines()
    assert lab2.run("cat", file_link, "--range", "262140:262150", "--peer", url).success.stdout == BIG[262140:262150]
    inside = f"{tree_link}/sub dir/50%25 of what%3F.txt"
    assert lab2.run("cat", inside, "--peer", url).success.stdout == SMALL


def test_cat_into_a_closed_pipe_is_quiet(lab1: Peer, lab2: Peer, url: str, folder: Path) -> None:
    link = lab1.get("share", folder / "big.dat")
    command = [*COMMAND, "cat", link, "--peer", url]
    with subprocess.Popen(command, env=lab2.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        assert cat.stderr is not None
        cat.stdout.close()
        assert cat.stderr.read() == b""
        assert cat.wait(TIMEOUT_S) == 141


def test_interrupt_ends_with_130_and_without_a_traceback(lab1: Peer, lab2: Peer, folder: Path) -> None:
    link = lab1.get("share", folder / "big.dat")
    with lab1.serving() as url:
        assert lab2.run("cat", link, "--range", "0:1", "--peer", url).success.stdout == BIG[:1]
    command = [*COMMAND, "-vv", "cat", link, "--peer", url]  # waits: nobody serves any more
    with subprocess.Popen(command, env=lab2.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        assert cat.stderr is not None
        while b"rests" not in cat.stderr.readline():  # the peer doesn't answer, so it waits
            assert cat.poll() is None
        cat.send_signal(signal.SIGINT)
        words = cat.stderr.read()
        assert cat.wait(TIMEOUT_S) == 130
        assert b"Traceback" not in words


def test_nobody_has_it_and_nobody_answers_are_told_apart(lab2: Peer, url: str) -> None:
    link = "sha1://" + "0" * 40
    lacking = lab2.run("cat", link, "--peer", url)
    assert lacking.code == 3
    assert url in lacking.one_line
    silent = lab2.run("cat", link, "--peer", "http://127.0.0.1:1")
    assert silent.code == 4
    assert "127.0.0.1:1" in silent.one_line


def test_a_changed_original_is_not_served_and_sharing_again_gives_its_new_link(
    lab1: Peer, lab2: Peer, url: str, folder: Path
) -> None:
    file = folder / "sub dir" / "50% of what?.txt"
    link = lab1.get("share", file)
    file.write_bytes(SMALL.upper())
    refused = lab2.run("cat", link, "--peer", url, "--read-timeout", "0.1")
    assert refused.code == 4
    listed = lab1.run("shares").success
    assert listed.stdout.startswith(b"changed")
    assert "share` again" in listed.stderr
    verified = lab1.run("verify")
    assert verified.code == 7
    new_link = lab1.get("share", file)
    assert new_link != link
    assert lab2.run("cat", new_link, "--peer", url).success.stdout == SMALL.upper()


def test_unshare_forgets_a_share_and_leaves_the_file(lab1: Peer, lab2: Peer, url: str, folder: Path) -> None:
    link = lab1.get("share", folder)
    lab1.get("unshare", link)
    assert lab1.get_json("shares") == []
    assert lab2.run("cat", f"{link}/big.dat", "--peer", url).code == 3
    assert (folder / "big.dat").read_bytes() == BIG
    assert lab1.run("unshare", folder).code == 2


def test_unshare_names_what_still_offers_the_same_files(lab1: Peer, folder: Path) -> None:
    whole, link = lab1.get("share", folder), lab1.get("share", folder / "big.dat")
    told = lab1.run("unshare", folder / "big.dat").stderr
    assert f"kacheryfs unshare {whole}" in told
    assert link not in lab1.get("shares")
    assert "still offers" not in lab1.run("unshare", folder).stderr


def test_verify_drops_wrong_blocks_and_they_are_fetched_again(
    lab1: Peer, lab2: Peer, url: str, folder: Path, tmp_path: Path
) -> None:
    link = lab1.get("share", folder / "big.dat")
    lab2.get("get", link, tmp_path / "copy", "--peer", url)
    sha1 = link.removeprefix("sha1://")[:40]
    store = lab2.folder / "store"
    (stored,) = [*store.rglob(sha1), *store.glob(f"partial/*/{sha1}-*/data")]  # proven already, or about to be
    stored.chmod(0o644)
    with open(stored, "r+b") as file:
        file.seek(700_000)
        file.write(b"wrong")
    spoilt = lab2.run("verify")
    assert spoilt.code == 5
    assert sha1 in spoilt.stdout.decode()
    assert lab2.run("verify").code == 0
    assert lab2.run("cat", link, "--peer", url).success.stdout == BIG


def test_info_tells_of_a_link_and_of_a_shared_path(lab1: Peer, lab2: Peer, url: str, folder: Path) -> None:
    link = lab1.get("share", folder / "big.dat")
    told = lab2.get_json("info", link, "--peer", url)
    assert (told["size_bytes"], told["trust"], told["present_bytes"]) == (len(BIG), "linked", 0)
    assert told["providers"][0]["has"] == "all"
    original = lab1.get_json("info", folder / "big.dat")
    assert original["link"] == link
    assert original["original"] == {"path": str(folder / "big.dat"), "state": "ok"}
    assert lab1.run("info", folder / "größe.npy").code == 2


def test_kept_peers_are_asked_without_being_named(lab1: Peer, lab2: Peer, url: str, folder: Path) -> None:
    link = lab1.get("share", folder / "big.dat")
    lab2.get("peer", "add", url)
    lab2.get("peer", "add", url + "/")
    assert [peer["url"] for peer in lab2.get_json("peer", "list")] == [url]
    assert lab2.run("cat", link).success.stdout == BIG
    assert lab2.get_json("status")["peers"][0]["is_reachable"]
    lab2.get("peer", "remove", url)
    assert lab2.get_json("peer", "list") == []


@pytest.mark.kernel
def test_a_shared_folder_reads_as_ordinary_files_under_the_mount(
    lab1: Peer, lab2: Peer, url: str, folder: Path, tmp_path: Path
) -> None:
    link = lab1.get("share", folder)
    with lab2.mounted(tmp_path / "kachery", "--peer", url) as mountpoint:
        path = Path(lab2.get("path", link))
        assert path.is_relative_to(mountpoint)
        assert contents(path) == contents(folder)
        assert contents(Path(f"{mountpoint}/{link}")) == contents(folder)
        shutil.copytree(path, tmp_path / "copy")
        known = set(os.listdir(mountpoint / "sha1"))
        assert hashlib.sha1(BIG).hexdigest() in known  # what was read is listed from then on
        assert os.getxattr(path / "big.dat", "user.kacheryfs.status") == b"%d/%d" % (len(BIG), len(BIG))
    assert contents(tmp_path / "copy") == contents(folder)


@pytest.mark.kernel
def test_what_this_machine_shares_stands_under_its_own_mount_and_is_not_copied(
    lab1: Peer, folder: Path, tmp_path: Path
) -> None:
    link = lab1.get("share", folder)
    with lab1.mounted(tmp_path / "kachery") as mountpoint:
        (listed,) = os.listdir(mountpoint / "sha1dir")
        assert link.startswith(f"sha1dir://{listed}")
        assert contents(mountpoint / "sha1dir" / listed) == contents(folder)
        assert os.getxattr(mountpoint / "sha1dir" / listed / "big.dat", "user.kacheryfs.trust") == b"linked"
        assert lab1.get_json("status")["store"]["present_bytes"] == 0


@pytest.mark.kernel
def test_status_tells_of_the_mount_its_peers_and_its_store(
    lab1: Peer, lab2: Peer, url: str, folder: Path, tmp_path: Path
) -> None:
    link = lab1.get("share", folder / "big.dat")
    with lab2.mounted(tmp_path / "kachery", "--peer", url) as mountpoint:
        assert Path(lab2.get("path", link)).read_bytes() == BIG
        (mount,) = lab2.get_json("status")["mounts"]
        assert mount["mountpoint"] == str(mountpoint)
        assert Path(mount["log"]).exists()
        (peer,) = mount["peers"]
        assert (peer["url"], peer["is_reachable"]) == (url, True)
        assert peer["bytes_received"] > len(BIG)
        assert mount["store"]["present_bytes"] >= len(BIG)
        assert str(mountpoint) in lab2.get("status")
        assert lab2.get_json("info", lab2.get("path", link))["link"] == link
        absent = lab2.run("info", mountpoint / "sha1" / ("0" * 40))
        assert absent.code == 3
        assert url in absent.one_line
        assert lab2.run("info", mountpoint / "README").code == 2
    assert lab2.get_json("status")["mounts"] == []


@pytest.mark.kernel
def test_a_peer_added_to_a_running_mount_is_asked_at_once(
    lab1: Peer, lab2: Peer, url: str, folder: Path, tmp_path: Path
) -> None:
    link = lab1.get("share", folder / "big.dat")
    with lab2.mounted(tmp_path / "kachery"):
        path = Path(lab2.get("path", link))
        with pytest.raises(OSError, match="No such file"):
            path.read_bytes()
        lab2.get("peer", "add", url)
        while not path.exists():  # the kernel itself remembers "no such file" for two seconds
            pass
        assert path.read_bytes() == BIG
        lab2.get("peer", "remove", url)
        assert lab2.get_json("status")["mounts"][0]["peers"] == []


@pytest.mark.kernel
def test_cancel_ends_a_waiting_read_now(lab1: Peer, lab2: Peer, folder: Path, tmp_path: Path) -> None:
    link = lab1.get("share", folder / "big.dat")
    with lab2.mounted(tmp_path / "kachery") as mountpoint:
        with lab1.serving() as url:
            lab2.get("peer", "add", url)
            path = Path(lab2.get("path", link))
            with open(path, "rb") as file:
                file.read(1)
        script = "import sys; f = open(sys.argv[1], 'rb'); f.seek(2_900_000); f.read(10)"
        with subprocess.Popen([sys.executable, "-c", script, path], stderr=subprocess.PIPE) as reader, ended(reader):
            while not lab2.get_json("status")["mounts"][0]["n_waits"]:
                assert reader.poll() is None
            assert "WAITS" in lab2.get("status")
            assert lab2.get_json("cancel", mountpoint / "sha1" / ("0" * 40))["cancelled"] == 0
            assert lab2.get_json("cancel", path)["cancelled"] >= 1
            assert reader.stderr is not None
            assert b"Input/output error" in reader.stderr.read()


@pytest.mark.kernel
def test_mount_fails_with_the_reason_and_the_documented_code(lab2: Peer, tmp_path: Path) -> None:
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "file").write_bytes(b"")
    refused = lab2.run("mount", occupied)
    assert refused.code == 8
    assert "not empty" in refused.one_line
    (lab2.folder / "store").mkdir(parents=True)
    (lab2.folder / "store" / "VERSION").write_text("kacheryfs-store 99\n")
    newer = lab2.run("mount", tmp_path / "kachery")  # told by the process in the background
    assert newer.code == 6
    assert "99" in newer.one_line
    assert lab2.run("umount", tmp_path / "kachery").code == 8


@pytest.mark.kernel
def test_verify_names_a_mount_that_may_still_show_what_was_wrong(
    lab1: Peer, lab2: Peer, url: str, folder: Path, tmp_path: Path
) -> None:
    link = lab1.get("share", folder / "big.dat")
    with lab2.mounted(tmp_path / "kachery", "--peer", url) as mountpoint:
        assert Path(lab2.get("path", link)).read_bytes() == BIG
        assert "again" not in lab2.run("verify").stderr
        sha1 = link.removeprefix("sha1://")[:40]
        store = lab2.folder / "store"
        (stored,) = [*store.rglob(sha1), *store.glob(f"partial/*/{sha1}-*/data")]
        with open(stored, "r+b") as file:
            file.seek(700_000)
            file.write(b"wrong")
        assert f"{mountpoint} may still show what was wrong" in lab2.run("verify").stderr


@pytest.mark.kernel
def test_a_mount_that_was_killed_is_shown_cleared_by_umount_and_by_mounting_again(
    lab1: Peer, lab2: Peer, url: str, folder: Path, tmp_path: Path
) -> None:
    link = lab1.get("share", folder / "big.dat")
    mountpoint = tmp_path / "kachery"
    lab2.get("mount", mountpoint, "--peer", url)
    with open(lab2.get("path", link), "rb") as file:
        assert file.read(100) == BIG[:100]
    for clear in (["umount", mountpoint], ["mount", mountpoint, "--peer", url]):
        os.kill(lab2.get_json("status")["mounts"][0]["pid"], signal.SIGKILL)
        _wait_until_dead(mountpoint)
        assert str(mountpoint) in lab2.get_json("status")["dead_mounts"]
        lab2.get(*clear)
        if clear[0] == "umount":
            lab2.get("mount", mountpoint, "--peer", url)
    assert Path(lab2.get("path", link)).read_bytes() == BIG
    lab2.get("umount", mountpoint)
    assert not os.path.ismount(mountpoint)


def _wait_until_dead(mountpoint: Path) -> None:
    """Wait for the kernel to take the connection down after SIGKILL was delivered."""
    while True:
        try:
            os.statvfs(mountpoint)
        except OSError:
            return


@pytest.mark.kernel
def test_a_busy_mount_is_not_unmounted_unless_forced(
    lab1: Peer, lab2: Peer, url: str, folder: Path, tmp_path: Path
) -> None:
    link = lab1.get("share", folder / "big.dat")
    mountpoint = tmp_path / "kachery"
    lab2.get("mount", mountpoint, "--peer", url)
    with open(lab2.get("path", link), "rb") as file:
        refused = lab2.run("umount", mountpoint)
        assert refused.code == 8
        assert "--force" in refused.one_line
        assert file.read() == BIG
        lab2.get("umount", "--force", mountpoint)
    assert not os.path.ismount(mountpoint)


@pytest.mark.kernel
def test_foreground_mount_ends_by_interrupt_and_unmounts(lab2: Peer, tmp_path: Path) -> None:
    mountpoint = tmp_path / "kachery"
    command = [*COMMAND, "mount", "--foreground", str(mountpoint)]
    with subprocess.Popen(command, env=lab2.environment, stdout=subprocess.PIPE, text=True) as mount:
        assert mount.stdout is not None
        assert mount.stdout.readline().strip() == str(mountpoint)
        assert (mountpoint / "README").read_text()
        mount.send_signal(signal.SIGINT)
        assert mount.wait(TIMEOUT_S) == 0
    assert not os.path.ismount(mountpoint)


def test_serve_counts_for_prometheus_beside_what_it_serves(lab1: Peer) -> None:
    command = [*COMMAND, "serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]
    with (
        subprocess.Popen(
            command, env=lab1.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as server,
        ended(server),
    ):
        assert server.stderr is not None
        line = server.stderr.readline().strip()
        with urllib.request.urlopen(line.partition("metrics at ")[2], timeout=TIMEOUT_S) as answer:
            text = answer.read().decode()
        server.terminate()
        assert server.wait(TIMEOUT_S) == 0
    assert "kacheryfs_connections_total 0\n" in text
    assert "kacheryfs_cache_used_bytes " in text
