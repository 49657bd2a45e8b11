"""`mirror` and `mirror --watch`: complete, pinned, served, and repaired."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from system_content import LARGE, SMALL, sha1_of, write
from system_labs import Lab, MakeLab, command, wait_until

from kacheryfs.core.model import Sha1
from kacheryfs.core.wire import fan_out


@pytest.fixture
def alice(make_lab: MakeLab) -> Lab:
    lab = make_lab("alice")
    write(lab.folder / "run" / "sub" / "b.dat", LARGE)
    write(lab.folder / "run" / "a.txt", SMALL)
    return lab


@pytest.fixture
def link(alice: Lab) -> str:
    return alice.share(alice.folder / "run")


class Watch:
    """A running `mirror --watch`."""

    def __init__(self, lab: Lab, *arguments: str) -> None:
        self._log = lab.folder / "watch.log"
        lab.folder.mkdir(parents=True, exist_ok=True)
        argv = [*command(), "mirror", "--watch", "--every", "0.2", "--listen", "127.0.0.1:0", *arguments]
        with open(self._log, "wb") as log:
            self.process = lab.running.start(argv, env=lab.environment, stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().decode().strip()

    def words(self) -> str:
        return self._log.read_text()

    def wait_for(self, words: str, n: int = 1) -> None:
        wait_until(lambda: self.words().count(words) >= n, f"{words!r} in {self.words()}")


def test_a_mirrored_folder_is_complete_and_pinned(alice: Lab, link: str, make_lab: MakeLab) -> None:
    bob, server = make_lab("bob"), alice.serve()
    found = bob.json("mirror", link, "--peer", server.url)
    assert (found["files"], found["links"], found["incomplete"]) == (3, [link], [])
    (pin,) = bob.json("pins")
    assert (pin["link"], pin["n_files"], pin["n_complete"]) == (link, 3, 3)
    server.stop()
    assert bob.json("mirror", link)["fetched_bytes"] == 0
    assert bob.try_run("cat", f"{link}/sub/b.dat").stdout == LARGE


def test_what_is_not_complete_is_named(alice: Lab, link: str, make_lab: MakeLab) -> None:
    nobodys = f"sha1://{sha1_of(b'nobody has this')}/lost.dat"
    done = make_lab("bob").try_run("mirror", link, nobodys, "--peer", alice.serve().url)
    assert done.returncode == 3
    assert b"kacheryfs: not complete: lost.dat: sha1 " in done.stderr
    assert b"3 files complete and pinned" in done.stderr


def test_a_watch_serves_what_it_has_and_ends_at_a_signal(alice: Lab, link: str, make_lab: MakeLab) -> None:
    server = alice.serve()
    watch = Watch(make_lab("bob"), link, "--peer", server.url)
    watch.wait_for("3 files complete and pinned")
    server.stop()
    assert make_lab("carol").try_run("cat", f"{link}/sub/b.dat", "--peer", watch.url).stdout == LARGE
    watch.process.send_signal(signal.SIGTERM)
    assert watch.process.wait(30) == 0
    assert make_lab("dave").try_run("cat", f"{link}/a.txt", "--peer", watch.url).returncode == 4


def test_a_watch_repairs_what_verify_drops(alice: Lab, link: str, make_lab: MakeLab) -> None:
    bob = make_lab("bob")
    watch = Watch(bob, link, "--peer", alice.serve().url)
    watch.wait_for("3 files complete and pinned")
    place = bob.store / "sha1" / fan_out(Sha1.of(LARGE))
    wait_until(place.exists, "the proof")
    damage(place)
    assert bob.try_run("verify").returncode == 5
    watch.wait_for("3 files complete and pinned", 2)
    wait_until(lambda: place.exists() and place.read_bytes() == LARGE, "the file, repaired")
    assert bob.try_run("verify").returncode == 0


def damage(place: Path) -> None:
    with open(place, "r+b") as file:
        file.seek(1_000_000)
        file.write(b"damage")
        os.fsync(file.fileno())


def test_a_watch_waits_for_a_peer_that_comes_later(alice: Lab, link: str, make_lab: MakeLab) -> None:
    bob = make_lab("bob", lookup_timeout="0.5 s")
    watch = Watch(bob, link)
    watch.wait_for("not complete: run: ")
    bob.run("peer", "add", alice.serve().url)
    watch.wait_for("3 files complete and pinned")
    assert watch.words().count("not complete") == 1  # said once, not at every look


def test_a_watch_follows_a_collection(alice: Lab, link: str, make_lab: MakeLab) -> None:
    collection = {"recordings": [{"recordingId": "a", "recordingPath": link}]}
    named = alice.share(write(alice.folder / "labbox.json", json.dumps(collection).encode()))
    watch = Watch(make_lab("bob"), named, "--peer", alice.serve().url)
    watch.wait_for("4 files complete and pinned")


def test_a_server_that_runs_here_is_enough(alice: Lab, link: str) -> None:
    server = alice.serve()
    watch = Watch(alice, link)
    assert watch.url == server.url
    watch.wait_for("3 files complete and pinned")


def test_what_is_mirrored_stays_when_the_cache_is_cleared(alice: Lab, link: str, make_lab: MakeLab) -> None:
    bob, server = make_lab("bob"), alice.serve()
    other = alice.share(write(alice.folder / "other.dat", LARGE[1:]))
    bob.run("mirror", link, "--peer", server.url)
    bob.run("prefetch", other, "--peer", server.url)
    server.stop()
    assert bob.json("cache", "clear")["freed_bytes"] >= len(LARGE) - 1
    assert bob.try_run("cat", f"{link}/sub/b.dat").stdout == LARGE
    assert sha1_of(LARGE[1:]) not in {file["sha1"] for file in bob.json("cache", "list")}


def test_a_watch_outlives_a_disk_that_is_gone_for_a_minute(alice: Lab, link: str, make_lab: MakeLab) -> None:
    bob = make_lab("bob")
    watch = Watch(bob, link, "--peer", alice.serve().url)
    watch.wait_for("3 files complete and pinned")
    away = bob.data.rename(bob.data.with_name("away"))
    bob.data.write_bytes(b"")
    watch.wait_for("the catalog's folder")
    bob.data.unlink()
    away.rename(bob.data)
    bob.run("cache", "list")
    assert watch.process.poll() is None
    assert make_lab("carol").try_run("cat", f"{link}/a.txt", "--peer", watch.url).stdout == SMALL


def test_a_watch_serves_when_the_other_server_ends(alice: Lab, link: str, make_lab: MakeLab) -> None:
    server = alice.serve()
    watch = Watch(alice, link)
    watch.wait_for("3 files complete and pinned")
    server.stop()
    assert watch.process.stdout is not None
    url = watch.process.stdout.readline().decode().strip()
    assert url != server.url
    assert make_lab("carol").try_run("cat", f"{link}/a.txt", "--peer", url).stdout == SMALL
