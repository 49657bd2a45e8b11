"""Several peers of one mount: who comes, who goes, who dies in the middle, and who has only a part."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
from pathlib import Path

import pytest
from system_content import LARGE, bytes_of, sha1_of, write
from system_labs import Lab, MakeLab, Mount, Server, is_mounted, opened, read_range, wait_until
from system_readers import start_reader

pytestmark = pytest.mark.kernel

BLOCK = 256 * 1024
H = sha1_of(LARGE)


def sharing(make_lab: MakeLab, name: str, data: bytes = LARGE) -> tuple[Lab, str]:
    """Return a lab that shares ``data``, and the link."""
    lab = make_lab(name)
    return lab, lab.share(write(lab.folder / "rec.dat", data))


def received_from(mount: Mount, server: Server) -> int:
    return next(int(peer["bytes_received"]) for peer in mount.status()["peers"] if peer["url"] == server.url)


def test_a_peer_that_is_added_while_the_mount_runs_is_used_and_kept(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab, "alice")
    server = alice.serve()
    mount = make_lab("bob").mount()
    assert not mount.at(link).exists()
    mount.lab.run("peer", "add", server.url)
    # The kernel may remember for negative_ttl (2 s) that there was no such name.
    wait_until(lambda: mount.at(link).exists(), "the file of the peer that was added")
    assert mount.at(link).read_bytes() == LARGE
    assert [peer["url"] for peer in mount.lab.json("peer", "list")] == [server.url]
    mount.umount()
    assert [peer["url"] for peer in mount.lab.mount().status()["peers"]] == [server.url]


def test_a_read_that_waits_is_served_by_a_peer_that_is_added_meanwhile(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab, "alice")
    other, _ = sharing(make_lab, "other")
    first, second = alice.serve(), other.serve()
    mount = make_lab("bob").mount(first)
    reader = start_reader(mount.lab.running, "pread", mount.at(link), 10 * BLOCK)
    first.stop()
    reader.go()
    mount.wait_for_waits()
    mount.lab.run("peer", "add", second.url)
    assert reader.result()["sha1"] == sha1_of(LARGE[10 * BLOCK :][:4096])


def test_a_peer_that_is_removed_is_not_asked_any_more(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab, "alice")
    server = alice.serve()
    bob = make_lab("bob")
    bob.run("peer", "add", server.url)
    mount = bob.mount(flags=["--read-timeout", "1"])
    path = mount.at(link)
    with opened(path) as fd:
        assert os.pread(fd, 10, 0) == LARGE[:10]
        bob.run("peer", "remove", server.url)
        assert bob.json("peer", "list") == []
        with pytest.raises(OSError, match="Input/output error"):
            os.pread(fd, 10, 15 * BLOCK)
        assert os.pread(fd, 10, 0) == LARGE[:10]
    assert not (mount / f"sha1/{H}.other").exists()


def test_a_read_goes_on_when_the_peer_that_served_it_is_killed(make_lab: MakeLab) -> None:
    data = bytes_of(9, 24 * 1024 * 1024)
    alice, link = sharing(make_lab, "alice", data)
    other, _ = sharing(make_lab, "other", data)
    servers = [alice.serve(), other.serve()]
    mount = make_lab("bob").mount(*servers)
    digest, n_bytes = hashlib.sha1(), 0
    with open(mount.at(link), "rb", buffering=0) as file:
        while part := file.read(1 << 20):
            digest.update(part)
            n_bytes += len(part)
            if n_bytes == 4 << 20:
                max(servers, key=lambda server: received_from(mount, server)).kill()
    assert (digest.hexdigest(), n_bytes) == (sha1_of(data), len(data))


def test_a_read_goes_on_when_the_peer_that_served_it_falls_silent(make_lab: MakeLab) -> None:
    data = bytes_of(9, 24 * 1024 * 1024)
    alice, link = sharing(make_lab, "alice", data)
    other, _ = sharing(make_lab, "other", data)
    servers = [alice.serve(), other.serve()]
    mount = make_lab("bob").mount(*servers)
    with opened(mount.at(link)) as fd:
        assert os.pread(fd, 1 << 20, 0) == data[: 1 << 20]
        max(servers, key=lambda server: received_from(mount, server)).process.send_signal(signal.SIGSTOP)
        for start in range(1 << 20, len(data), 1 << 20):
            assert os.pread(fd, 1 << 20, start) == data[start : start + (1 << 20)]


def test_a_peer_that_refuses_is_passed_over(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab, "alice")
    other, _ = sharing(make_lab, "other")
    servers = [alice.serve(), other.serve()]
    mount = make_lab("bob").mount(*servers)
    with opened(mount.at(link)) as fd:
        assert os.pread(fd, 10, 0) == LARGE[:10]
        write(alice.folder / "rec.dat", b"another recording")  # changed: alice serves it no more
        assert os.pread(fd, len(LARGE), 0)[-10:] == read_range(other.folder / "rec.dat", len(LARGE) - 10, len(LARGE))
    assert mount.at(link).read_bytes() == LARGE


def present_blocks(path: Path) -> int:
    return int(os.getxattr(path, "user.kacheryfs.status").split(b"/")[0])


def test_a_peer_that_has_a_part_serves_that_part_while_the_origin_is_down(make_lab: MakeLab) -> None:
    data = bytes_of(10, 40 * BLOCK)
    half = 20 * BLOCK
    alice, link = sharing(make_lab, "alice", data)
    origin = alice.serve()
    bob = make_lab("bob", readahead="0")
    bobs_mount = bob.mount(origin)
    assert read_range(bobs_mount.at(link), 0, half) == data[:half]
    assert half <= present_blocks(bobs_mount.at(link)) < len(data)
    origin.stop()
    carol = make_lab("carol")
    mount = carol.mount(origin, bob.serve(), flags=["--read-timeout", "2"])
    with opened(mount.at(link)) as fd:
        assert b"".join(os.pread(fd, BLOCK, start) for start in range(0, half, BLOCK)) == data[:half]
        with pytest.raises(OSError, match="Input/output error"):
            os.pread(fd, 10, len(data) - 10)
        alice.serve(origin.port)
        wait_until(lambda: _reads(fd, data, len(data) - 10), "the origin's return")


def _reads(fd: int, data: bytes, start: int) -> bool:
    try:
        return os.pread(fd, 10, start) == data[start : start + 10]
    except OSError:
        return False


def test_what_a_part_holder_fetches_meanwhile_is_served_too(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab, "alice")
    origin = alice.serve()
    bob = make_lab("bob", readahead="0")
    bobs_mount, bobs_server = bob.mount(origin), bob.serve()
    assert read_range(bobs_mount.at(link), 0, BLOCK) == LARGE[:BLOCK]
    mount = make_lab("carol").mount(bobs_server)
    reader = start_reader(mount.lab.running, "pread", mount.at(link), 15 * BLOCK)
    reader.go()
    mount.wait_for_waits()
    assert read_range(bobs_mount.at(link), 15 * BLOCK, 16 * BLOCK) == LARGE[15 * BLOCK : 16 * BLOCK]
    assert reader.result()["sha1"] == sha1_of(LARGE[15 * BLOCK :][:4096])


def test_a_peer_that_has_read_a_file_whole_serves_it_under_its_bare_name(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab, "alice")
    origin = alice.serve()
    bob = make_lab("bob")
    bobs_mount = bob.mount(origin)
    assert bobs_mount.at(link).read_bytes() == LARGE
    wait_until(lambda: bobs_mount.status()["store"]["n_complete"] == 1, "the proof of the whole file")
    origin.stop()
    mount = make_lab("carol").mount(bob.serve())
    assert (mount / f"sha1/{H}").read_bytes() == LARGE
    assert mount.at(link).read_bytes() == LARGE


SERVE = ("--serve", "--listen", "127.0.0.1:0")


def url_of(mount: Mount) -> str:
    """Return the second line that a mount with --serve prints."""
    assert mount.process.stdout is not None
    return os.fsdecode(mount.process.stdout.readline()).rstrip("\n")


def test_a_mount_that_serves_gives_on_what_it_has_read(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab, "alice")
    origin = alice.serve()
    bob = make_lab("bob")
    bobs = bob.mount(origin, flags=SERVE)
    assert read_range(bobs.at(link), 0, 8 * BLOCK) == LARGE[: 8 * BLOCK]
    (server,) = bob.json("status")["servers"]
    assert (server["url"], server["mountpoint"]) == (url_of(bobs), str(bobs.path))
    assert server["pid"] != bobs.process.pid
    origin.stop()
    carols = make_lab("carol").mount(server["url"])
    assert read_range(carols.at(link), 0, 8 * BLOCK) == LARGE[: 8 * BLOCK]
    bobs.umount()
    assert bob.json("status")["servers"] == []
    assert not Path(f"/proc/{server['pid']}").exists()


def test_rude_peers_keep_neither_the_reader_nor_a_polite_peer_from_reading(make_lab: MakeLab) -> None:
    alice, link = sharing(make_lab, "alice")
    bobs = make_lab("bob").mount(alice.serve(), flags=SERVE)
    url = url_of(bobs)
    assert read_range(bobs.at(link), 0, 8 * BLOCK) == LARGE[: 8 * BLOCK]
    host, _, port = url.removeprefix("http://").rpartition(":")
    target = f"/v1/blocks/{H}/{link.rpartition('=')[2]}"
    with contextlib.ExitStack() as rude:
        for i in range(100):  # of the 128 that one address may have: they ask, wait, and never read
            connection = rude.enter_context(socket.create_connection((host, int(port))))
            asked = f"bytes={i % 9 * BLOCK}-{8 * BLOCK - 1 if i % 9 < 8 else len(LARGE) - 1}"
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nRange: {asked}\r\nPrefer: wait=5\r\n\r\n".encode())
        assert bobs.at(link).read_bytes() == LARGE
        carols = make_lab("carol").mount(url)
        assert carols.at(link).read_bytes() == LARGE


def test_the_server_of_a_mount_that_is_killed_ends(make_lab: MakeLab) -> None:
    bob = make_lab("bob")
    mount = bob.mount(flags=SERVE)
    pid = bob.json("status")["servers"][0]["pid"]
    mount.kill()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of its server")


def test_a_mount_that_cannot_serve_is_not_made(make_lab: MakeLab) -> None:
    alice, _ = sharing(make_lab, "alice")
    port = alice.serve().port
    bob = make_lab("bob")
    done = bob.try_run("mount", "--serve", "--listen", f"127.0.0.1:{port}", bob.folder / "mnt")
    assert done.returncode == 10  # systemd tries again, as it doesn't after 2
    (line,) = done.stderr.decode().splitlines()
    assert "the port is in use" in line
    assert not is_mounted(bob.folder / "mnt")
    done = bob.try_run("mount", "--listen", "127.0.0.1:0", bob.folder / "mnt")
    assert done.returncode == 2
    assert b"--serve" in done.stderr
