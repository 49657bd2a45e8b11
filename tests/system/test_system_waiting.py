"""Reads that no peer can serve: they wait, they are answered in their time, and who waits can always be freed."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from reading_child import STRIDE_BYTES
from system_content import LARGE, sha1_of, write
from system_labs import Lab, MakeLab, Mount, Server, opened, read_range, wait_until
from system_readers import Reader, start_reader

pytestmark = pytest.mark.kernel

BLOCK_BYTES = 256 * 1024
FAR = 15 * BLOCK_BYTES + 100
"""An offset in a block that nothing has fetched."""
EXPECTED = LARGE[FAR : FAR + 4096]
SHORT_S = 2.0
AT_ONCE_S = 20.0
"""A bound against hanging, far below the 300 s that these reads would wait."""


@dataclass(frozen=True)
class Cut:
    """A mounted file whose only peer went away after it was opened and its first block was read."""

    alice: Lab
    mount: Mount
    path: Path
    server: Server

    def reader(self, how: str = "pread", start: int = FAR) -> Reader:
        """Return a process that has the file open."""
        return start_reader(self.mount.lab.running, how, self.path, start)

    def waiting_reader(self, how: str = "pread", start: int = FAR) -> Reader:
        """Return a process that waits for a peer now; two at one page are one wait, the kernel's."""
        n_waits = self.mount.status()["n_waits"]
        reader = self.reader(how, start)
        reader.go()
        self.mount.wait_for_waits(n_waits + 1)
        return reader

    def serve_again(self) -> Server:
        return self.alice.serve(self.server.port)


MakeCut = Callable[[float], Cut]


@pytest.fixture
def make_cut(make_lab: MakeLab) -> Callable[[float], Cut]:
    def make(read_timeout_s: float) -> Cut:
        alice = make_lab("alice")
        link = alice.share(write(alice.folder / "large.dat", LARGE))
        server = alice.serve()
        mount = make_lab("bob").mount(server, flags=["--read-timeout", str(read_timeout_s)])
        path = mount.at(link)
        assert read_range(path, 0, 10) == LARGE[:10]
        server.stop()
        return Cut(alice, mount, path, server)

    return make


def is_present_file_readable(cut: Cut) -> bool:
    return read_range(cut.path, 0, 10) == LARGE[:10] and (cut.mount / "README").read_bytes() != b""


@pytest.mark.parametrize("how", ["pread", "mmap"])
def test_a_read_waits_and_succeeds_when_the_peer_comes_back(make_cut: MakeCut, how: str) -> None:
    cut = make_cut(300)
    reader = cut.waiting_reader(how)
    assert is_present_file_readable(cut)
    cut.serve_again()
    assert reader.result()["sha1"] == sha1_of(EXPECTED)


def test_a_frozen_peer_is_waited_for_as_a_dead_one_is(make_lab: MakeLab) -> None:
    alice = make_lab("alice")
    link = alice.share(write(alice.folder / "large.dat", LARGE))
    server = alice.serve()
    mount = make_lab("bob").mount(server)
    reader = start_reader(mount.lab.running, "pread", mount.at(link), FAR)
    server.process.send_signal(signal.SIGSTOP)
    reader.go()
    mount.wait_for_waits()
    server.process.send_signal(signal.SIGCONT)
    assert reader.result()["sha1"] == sha1_of(EXPECTED)


def test_a_pread_fails_with_eio_only_after_the_timeout_and_the_next_one_may_succeed(make_cut: MakeCut) -> None:
    cut = make_cut(SHORT_S)
    reader = cut.reader()
    reader.go()
    result = reader.result()
    assert result["errno"] == "EIO"
    assert result["took_s"] >= SHORT_S
    assert "no peer could serve it within 2 s" in cut.mount.log()
    assert cut.server.url in cut.mount.log().split("no peer could serve it")[1]
    cut.serve_again()
    wait_until(lambda: cut.mount.status()["peers"][0]["is_reachable"], "the peer's return")
    wait_until(lambda: is_readable(cut.path), "a read that succeeds")


def is_readable(path: Path) -> bool:
    try:
        return read_range(path, FAR, FAR + 4096) == EXPECTED
    except OSError:
        return False


def test_a_mapped_read_is_killed_by_sigbus_only_after_the_timeout(make_cut: MakeCut) -> None:
    cut = make_cut(SHORT_S)
    reader = cut.reader("mmap")
    began = time.monotonic()
    reader.go()
    assert reader.exit_code() == -signal.SIGBUS
    assert time.monotonic() - began >= SHORT_S
    assert is_present_file_readable(cut)


@pytest.mark.parametrize("how", ["pread", "mmap"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_signal_frees_a_waiting_reader_at_once(make_cut: MakeCut, how: str, number: signal.Signals) -> None:
    cut = make_cut(300)
    reader = cut.waiting_reader(how)
    reader.process.send_signal(number)
    assert reader.exit_code(AT_ONCE_S) == -number
    assert is_present_file_readable(cut)


def test_cancel_all_ends_waiting_reads_at_once(make_cut: MakeCut) -> None:
    cut = make_cut(300)
    readers = [cut.waiting_reader(), cut.waiting_reader("pread", FAR - 1_000_000)]
    assert cut.mount.lab.json("cancel", "--all")["cancelled"] == 2
    assert [reader.result(AT_ONCE_S)["errno"] for reader in readers] == ["EIO", "EIO"]
    wait_until(lambda: cut.mount.status()["n_waits"] == 0, "no read waiting")
    assert is_present_file_readable(cut)


def test_cancel_ends_the_reads_of_one_path_and_leaves_the_others_waiting(make_lab: MakeLab) -> None:
    alice = make_lab("alice")
    folder = alice.folder / "folder"
    first, second = write(folder / "first.dat", LARGE), write(folder / "second.dat", LARGE[::-1])
    first_link, second_link = alice.run("share", first, second).split("\n")
    server = alice.serve()
    mount = make_lab("bob").mount(server)
    readers = [start_reader(mount.lab.running, "pread", mount.at(link), FAR) for link in (first_link, second_link)]
    server.stop()
    for reader in readers:
        reader.go()
    mount.wait_for_waits(2)
    assert mount.lab.json("cancel", mount.at(first_link))["cancelled"] == 1
    assert readers[0].result(AT_ONCE_S)["errno"] == "EIO"
    assert mount.status()["n_waits"] == 1
    alice.serve(server.port)
    assert "sha1" in readers[1].result()


def test_umount_force_answers_every_waiting_read_first(make_cut: MakeCut) -> None:
    cut = make_cut(300)
    reader = cut.waiting_reader()
    cut.mount.umount()
    assert reader.result(AT_ONCE_S)["errno"] == "EIO"
    assert os.listdir(cut.mount.path) == []


def test_status_tells_who_waits_for_what_and_why(make_cut: MakeCut) -> None:
    cut = make_cut(300)
    cut.waiting_reader()
    wait = cut.mount.status()["waits"][0]
    assert wait["sha1"] == sha1_of(LARGE)
    assert wait["start"] <= FAR < wait["stop"]
    assert any(cut.server.url in words for words in wait["for"])
    assert "WAITS" in cut.mount.lab.run("status")


def test_why_tells_the_block_who_was_asked_and_when_the_read_gives_up(make_cut: MakeCut) -> None:
    cut = make_cut(300)
    cut.waiting_reader()
    lab = cut.mount.lab
    for target in (str(cut.path), str(cut.mount.path)):
        found = lab.json("why", target)
        (wait,) = found["waits"]
        (block,) = wait["blocks"]
        assert (wait["label"], found["files"][0]["label"]) == (cut.path.name.split("?")[0],) * 2
        assert block["block"] == FAR // (256 * 1024)
        assert 0 < wait["gives_up_in_s"] <= 300
        assert [peer["url"] for peer in found["peers"]] == [cut.server.url]
    assert "gives up in" in lab.run("why", str(cut.path))
    page = lab.run("top", "--once", "--interval", "0.1")
    assert "WAITS" in page
    assert "kacheryfs why" in page


def test_a_mount_whose_process_does_not_answer_is_shown_as_silent(make_lab: MakeLab) -> None:
    lab = make_lab("bob")
    mount = lab.mount()
    mount.process.send_signal(signal.SIGSTOP)
    try:
        assert lab.json("status")["silent_mounts"] == [str(mount.path)]
        assert "umount --force" in lab.run("status")
        assert "no mount answers" in lab.run("top", "--once", "--interval", "0.1")
    finally:
        mount.process.send_signal(signal.SIGCONT)


def test_an_offline_mount_says_so_and_that_nobody_is_asked(make_lab: MakeLab) -> None:
    server = make_lab("alice").serve()
    lab = make_lab("bob")
    status = lab.mount(server, flags=["--offline"]).status()
    assert status["is_offline"]
    assert [peer["is_asked"] for peer in status["peers"]] == [False]
    assert "OFFLINE" in lab.run("status")
    assert "OFFLINE" in lab.run("top", "--once", "--interval", "0.1")


def test_an_offline_mount_reads_to_the_last_present_byte(make_lab: MakeLab) -> None:
    """The kernel reads ahead into what is missing, and then asks for the page that it needs alone."""
    alice, bob = make_lab("alice"), make_lab("bob")
    link = alice.share(write(alice.folder / "large.dat", LARGE))
    bob.run("peer", "add", alice.serve().url)
    bob.run("prefetch", link, "--range", f"{BLOCK_BYTES}:{2 * BLOCK_BYTES}")
    with opened(bob.mount(flags=["--offline"]).at(link)) as fd:
        found = bytearray()
        while len(found) < BLOCK_BYTES:
            found += os.pread(fd, 1000, BLOCK_BYTES + len(found))
        assert found[:BLOCK_BYTES] == LARGE[BLOCK_BYTES : 2 * BLOCK_BYTES]
        with pytest.raises(OSError, match=os.strerror(errno.EHOSTUNREACH)):
            os.pread(fd, 1000, 2 * BLOCK_BYTES)


def test_hundreds_of_waiting_reads_are_each_answered_in_their_time_while_a_present_file_reads(
    make_lab: MakeLab,
) -> None:
    n_threads, timeout_s = 300, 8.0
    alice = make_lab("alice")
    wide = alice.folder / "wide.dat"
    write(wide, b"")
    os.truncate(wide, (n_threads + 1) * STRIDE_BYTES)
    present_link, wide_link = alice.run("share", write(alice.folder / "present.dat", LARGE), wide).split("\n")
    server = alice.serve()
    mount = make_lab("bob").mount(server, flags=["--read-timeout", str(timeout_s)])
    assert mount.at(present_link).read_bytes() == LARGE
    reader = start_reader(mount.lab.running, "threads", mount.at(wide_link), STRIDE_BYTES, 4096, n_threads)
    server.stop()
    with opened(mount.at(present_link)) as fd:
        reader.go()
        mount.wait_for_waits(n_threads)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # past the kernel's cache
        assert os.pread(fd, 1_000_000, 2_000_000) == LARGE[2_000_000:3_000_000]
    results = reader.result(60)
    assert {result["errno"] for result in results} == {"EIO"}
    assert all(timeout_s <= result["took_s"] < timeout_s + 20 for result in results)
