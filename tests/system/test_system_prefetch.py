"""`prefetch`: what was fetched is read when its peers are gone."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from system_content import LARGE, SMALL, bytes_of, sha1_of, write
from system_labs import Lab, MakeLab, command, wait_until

from kacheryfs.core.model import BLOCK_BYTES
from kacheryfs.ephys.describing import encode_description
from kacheryfs.ephys.layouts import BinaryLayout, RecordingDescription, SegmentLayout, Summary

RATE_HZ, N_CHANNELS, N_FRAMES = 20_000, 16, 300_000
SECOND_BYTES = RATE_HZ * N_CHANNELS * 2
SAMPLES = bytes_of(41, N_FRAMES * N_CHANNELS * 2)


@pytest.fixture
def alice(make_lab: MakeLab) -> Lab:
    return make_lab("alice")


@pytest.fixture
def bob(make_lab: MakeLab) -> Iterator[Lab]:
    return make_lab("bob")


def present(lab: Lab) -> dict[str, int]:
    return {file["sha1"]: file["present_bytes"] for file in lab.json("cache", "list")}


def cat(lab: Lab, link: str, start: int, stop: int) -> bytes:
    done = lab.try_run("cat", "--range", f"{start}:{stop}", link, "--read-timeout", "1")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_folder_is_fetched_and_read_without_its_peer(alice: Lab, bob: Lab) -> None:
    write(alice.folder / "run" / "sub" / "b.dat", LARGE)
    write(alice.folder / "run" / "a.txt", SMALL)
    link, server = alice.share(alice.folder / "run"), alice.serve()
    first = bob.json("prefetch", link, "--peer", server.url)
    assert (first["files"], first["incomplete"]) == (3, [])
    assert first["fetched_bytes"] >= len(LARGE) + len(SMALL)
    server.stop()
    again = bob.json("prefetch", link)
    assert (again["files"], again["fetched_bytes"], again["bytes"]) == (3, 0, first["bytes"])
    assert bob.try_run("cat", f"{link}/sub/b.dat").stdout == LARGE


def test_a_range_of_a_file_is_fetched_and_little_else(alice: Lab, bob: Lab) -> None:
    link, server = alice.share(write(alice.folder / "rec.dat", SAMPLES)), alice.serve()
    found = bob.json("prefetch", link, "--range", "3000000:4000000", "--peer", server.url)
    assert (found["files"], found["fetched_bytes"]) == (1, 1_000_000)
    assert present(bob)[sha1_of(SAMPLES)] <= 1_000_000 + 2 * BLOCK_BYTES
    server.stop()
    assert cat(bob, link, 3_000_000, 4_000_000) == SAMPLES[3_000_000:4_000_000]


def test_a_range_of_a_folder_is_bad_input(alice: Lab, bob: Lab) -> None:
    write(alice.folder / "run" / "a.txt", SMALL)
    write(alice.folder / "run" / "b.txt", SMALL + b"b")
    done = bob.try_run("prefetch", alice.share(alice.folder / "run"), "--range", "0:1", "--peer", alice.serve().url)
    assert done.returncode == 2
    assert b"--range means bytes of one file" in done.stderr


def write_recording(folder: Path) -> Path:
    segment = SegmentLayout(("rec.dat",), 0, N_FRAMES)
    layout = BinaryLayout((), RATE_HZ, "<i2", tuple(range(N_CHANNELS)), N_CHANNELS, None, (segment,))
    summary = Summary(RATE_HZ, N_CHANNELS, "<i2", (N_FRAMES,), N_FRAMES / RATE_HZ)
    write(folder / "kacheryfs.json", encode_description(RecordingDescription("rec", "0.105", summary, (layout,))))
    write(folder / "recording.json", b"{}")
    write(folder / "rec.dat", SAMPLES)
    return folder


def test_seconds_of_a_recording_are_fetched_with_all_that_is_small(alice: Lab, bob: Lab) -> None:
    link, server = alice.share(write_recording(alice.folder / "rec")), alice.serve()
    found = bob.json("prefetch", link, "--time", "5:6.5", "--peer", server.url)
    assert found["incomplete"] == []
    assert 1.5 * SECOND_BYTES <= present(bob)[sha1_of(SAMPLES)] <= 1.5 * SECOND_BYTES + 2 * BLOCK_BYTES
    server.stop()
    start, stop = 5 * SECOND_BYTES, int(6.5 * SECOND_BYTES)
    assert cat(bob, f"{link}/rec.dat", start, stop) == SAMPLES[start:stop]
    assert bob.try_run("cat", f"{link}/recording.json").stdout == b"{}"


def test_seconds_of_a_collection_are_those_of_each_recording(alice: Lab, bob: Lab) -> None:
    link = alice.share(write_recording(alice.folder / "rec"))
    other = alice.share(write(alice.folder / "plain" / "a.txt", SMALL).parent)
    collection: dict[str, Any] = {"recordings": [{"recordingPath": link}, {"recordingPath": other}]}
    named = alice.share(write(alice.folder / "labbox.json", json.dumps(collection).encode()))
    found = bob.json("prefetch", named, "--time", "0:1", "--peer", alice.serve().url)
    assert (found["files"], found["incomplete"]) == (7, [])
    assert SECOND_BYTES <= present(bob)[sha1_of(SAMPLES)] <= SECOND_BYTES + BLOCK_BYTES


def test_a_file_that_a_folder_wants_whole_is_not_cut(alice: Lab, bob: Lab) -> None:
    link = alice.share(write_recording(alice.folder / "rec"))
    whole = alice.share(write(alice.folder / "plain" / "rec.dat", SAMPLES).parent)
    bob.run("prefetch", link, whole, "--time", "0:1", "--peer", alice.serve().url)
    assert present(bob)[sha1_of(SAMPLES)] == len(SAMPLES)


def test_a_file_that_a_link_names_is_not_cut(alice: Lab, bob: Lab) -> None:
    link = alice.share(write_recording(alice.folder / "rec"))
    bob.run("prefetch", link, f"{link}/rec.dat", "--time", "0:1", "--peer", alice.serve().url)
    assert present(bob)[sha1_of(SAMPLES)] == len(SAMPLES)


def test_time_of_what_is_no_recording_is_bad_input(alice: Lab, bob: Lab) -> None:
    link = alice.share(write(alice.folder / "rec.dat", SAMPLES))
    done = bob.try_run("prefetch", link, "--time", "0:1", "--peer", alice.serve().url)
    assert done.returncode == 2
    assert b"--time needs the link of a recording" in done.stderr


def test_seconds_of_what_nobody_has_are_not_bad_input(alice: Lab, bob: Lab) -> None:
    done = bob.try_run("prefetch", f"sha1dir://{'0' * 40}", "--time", "0:1", "--peer", alice.serve().url)
    assert done.returncode == 3
    assert b"does not have it" in done.stderr


def test_seconds_after_the_end_are_told_with_the_length(alice: Lab, bob: Lab) -> None:
    link = alice.share(write_recording(alice.folder / "rec"))
    done = bob.try_run("prefetch", link, "--time", "15:16", "--peer", alice.serve().url)
    assert done.returncode == 2
    assert b"after the end: the recording's segments have 15 s" in done.stderr


def test_ctrl_c_leaves_what_is_there(alice: Lab, bob: Lab) -> None:
    link, server = alice.share(write(alice.folder / "rec.dat", SAMPLES)), alice.serve()
    bob.run("prefetch", link, "--range", "0:2000000", "--peer", server.url)
    server.stop()
    bob.folder.mkdir(exist_ok=True)
    argv = [*command(), "prefetch", link]
    process = bob.running.start(argv, env=bob.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_until(lambda: process.poll() is None and _has_opened_store(process.pid), "the engine")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert present(bob)[sha1_of(SAMPLES)] >= 2_000_000


def _has_opened_store(pid: int) -> bool:
    return any("/partial/" in str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink())


def test_what_nobody_has_is_named_and_the_rest_is_fetched(alice: Lab, bob: Lab) -> None:
    link, server = alice.share(write(alice.folder / "a.txt", SMALL)), alice.serve()
    nobodys = f"sha1://{sha1_of(b'nobody has this')}/lost.dat"
    done = bob.try_run("prefetch", nobodys, link, "--peer", server.url)
    assert done.returncode == 3
    lines = done.stderr.decode().splitlines()
    assert lines[0].startswith("kacheryfs: not complete: lost.dat: sha1 ")
    assert lines[1].startswith("kacheryfs: 1 file: ")


def test_a_store_that_cant_be_written_is_said(alice: Lab, make_lab: MakeLab) -> None:
    link, server = alice.share(write(alice.folder / "rec.dat", SAMPLES)), alice.serve()
    bob = make_lab("bob", min_free_fraction="99.9 %")
    done = bob.try_run("prefetch", link, "--peer", server.url)
    assert done.returncode == 6
    assert b"full" in done.stderr


@pytest.mark.parametrize("command_name", ["prefetch", "mirror"])
def test_what_is_larger_than_the_cache_is_refused(alice: Lab, make_lab: MakeLab, command_name: str) -> None:
    link, server = alice.share(write(alice.folder / "rec.dat", SAMPLES)), alice.serve()
    bob = make_lab("bob", cache_size="5 MB")
    done = bob.try_run(command_name, link, "--peer", server.url)
    assert done.returncode == 6
    assert b"the cache holds 5.00 MB, and this is 9.60 MB at least" in done.stderr
    assert bob.json("pins") == []  # what can't be complete would only take the cache's room
    assert bob.try_run("prefetch", link, "--range", "0:3000000", "--peer", server.url).returncode == 0


def test_the_bound_of_a_live_mount_holds_for_prefetch_and_is_what_the_cache_tells(
    alice: Lab, make_lab: MakeLab
) -> None:
    link, server = alice.share(write(alice.folder / "rec.dat", SAMPLES)), alice.serve()
    bob = make_lab("bob")
    mount = bob.mount(server, flags=["--cache-size", "5MB"])
    done = bob.try_run("prefetch", link, "--peer", server.url)
    assert done.returncode == 6
    assert b"the cache holds 5.00 MB, and this is 9.60 MB at least" in done.stderr
    assert bob.json("cache", "stats")["limit_bytes"] == mount.status()["cache"]["limit_bytes"] == 5_000_000
    assert "5.00 MB (by a live mount; setting cache_size: auto)" in bob.run("cache", "stats")
    mount.kill()
    assert bob.json("cache", "stats")["limit_bytes"] > 5_000_000, "who was killed holds nothing"
    bob.run("prefetch", link, "--peer", server.url)


def test_what_is_shared_here_needs_no_room(make_lab: MakeLab) -> None:
    lab = make_lab("alice", cache_size="5 MB")
    assert lab.json("mirror", lab.share(write(lab.folder / "rec.dat", SAMPLES)))["files"] == 1
