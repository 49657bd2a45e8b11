"""``top``: numbers out of two looks, and the page that shows them."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from looks import SHA1, URL, cache, file, mount, peer, reads, wait, waited
from rich.console import Console

from kacheryfs.cli import main
from kacheryfs.cli.watching_numbers import Flow, flow_between, quantile
from kacheryfs.cli.watching_view import MAX_FILES, MAX_WAITS, draw

OTHER = "http://lab3.example:27180"


def flow(before: dict[str, Any], after: dict[str, Any], elapsed_s: float = 2.0) -> Flow:
    return flow_between(before, after, elapsed_s)


def test_rates_and_hits_are_of_the_time_between_two_looks() -> None:
    found = flow(mount(reads=reads(10, 10, 10)), mount(reads=reads(14, 12, 12)))
    assert found.reads_per_s == 4
    assert found.read_bytes_per_s == 4 * 131_072
    assert found.hit_share == 6 / 8


def test_nothing_read_has_no_hits_and_no_waits() -> None:
    found = flow(mount(), mount())
    assert (found.hit_share, found.median_wait_s, found.slowest_wait_s) == (None, None, None)


def test_waits_are_those_since_the_look_before() -> None:
    found = flow(mount(waited=waited(1000, 0, 0, 0)), mount(waited=waited(1000, 98, 2, 0)))
    assert (found.median_wait_s, found.slowest_wait_s) == (0.1, 1.0)


def test_beyond_the_last_bound_the_longest_wait_is_told() -> None:
    assert quantile([0, 0, 0, 1], waited(longest_s=77.0), 0.5) == 77.0


def test_what_each_peer_delivers_counts_from_zero_for_a_new_one_and_for_one_that_began_anew() -> None:
    before = mount(peers=[peer(bytes_received=100)])
    after = mount(peers=[peer(bytes_received=40), peer(OTHER, bytes_received=10)])
    found = flow(before, after)
    assert found.peer_bytes_per_s == {URL: 0.0, OTHER: 5.0}
    assert found.received_bytes_per_s == 5.0


def page(look: dict[str, Any], before: dict[str, Any] | None = None, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(draw([(look, flow(before or look, look))], ["http://127.0.0.1:27180"], hint="q ends"))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_the_page_shows_peers_files_reads_waits_and_the_cache() -> None:
    look = mount(
        peers=[peer(bytes_received=3_000_000, wasted_bytes=1_000), peer(OTHER, n_bans=2)],
        reads=reads(60, 30, 10),
        waited=waited(0, 9, 1, 0),
        waits=[wait()],
        n_waits=1,
        wasted_bytes=1_000,
        cache=cache(evicted_bytes=5_000_000, pinned_bytes=7_000_000),
    )
    shown = page(look, mount())
    for words in (
        "/home/ann/kachery",
        "serving at http://127.0.0.1:27180",
        "90.0 % hits",
        "half ≤ 100 ms, 99 % ≤ 1.0 s",
        "1.50 MB/s",
        "LIED (2)",
        "25.0 % of 1.00 GB",
        "12.3 GB of 50.0 GB",
        "5.00 MB evicted",
        "7.00 MB pinned",
        "bytes [262,144, 393,216)",
        "14 s",
        "286 s",
        f"kacheryfs why /home/ann/kachery/sha1/{SHA1}",
    ):
        assert words in shown, words


def test_what_others_wrote_is_neither_markup_nor_a_command_of_the_terminal() -> None:
    words = "[red]\x1b[2Jaway\x07"
    look = mount(peers=[peer(says=words)], files=[file(label=words)], waits=[wait(label=words)], n_waits=1)
    assert page(look).count("[red]�[2Jaway�") == 3


def test_a_busy_mount_s_page_stays_short_and_narrow() -> None:
    look = mount(files=[file()] * 500, waits=[wait()] * 1000, n_waits=3000, peers=[peer("http://" + "x" * 300)])
    lines = page(look, width=80).splitlines()
    assert len(lines) < MAX_FILES + MAX_WAITS + 20
    assert max(map(len, lines)) <= 80
    assert f"{3000 - MAX_WAITS:,} more" in "\n".join(lines)


def test_a_cache_whose_folder_is_gone_is_said_to_be() -> None:
    assert "its folder is gone" in page(mount(cache=None))


def test_offline_is_said() -> None:
    assert "OFFLINE" in page(mount(is_offline=True))


def test_once_prints_a_page_though_no_mount_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("KACHERYFS_DIR", str(tmp_path))
    assert main(["top", "--once", "--interval", "0.1"]) == 0
    assert "no mount answers" in capsys.readouterr().out
    assert main(["top", "--once", "--interval", "0.1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mounts"] == []


@contextmanager
def running_top(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """Run ``top`` on a terminal of its own; yields the process, the person's end of the terminal, and top's."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "KACHERYFS_DIR": str(folder), "TERM": "xterm"}
    command = [sys.executable, "-m", "kacheryfs", "top", "--interval", "0.1"]
    process = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    try:
        read_until(ours, b"q ends")
        yield process, ours, theirs
    finally:
        process.kill()
        process.wait(60)
        os.close(ours)
        os.close(theirs)


def read_until(fd: int, words: bytes) -> None:
    """Read until the words come, or this test takes a minute."""
    found, deadline = b"", time.monotonic() + 60  # it goes on writing pages
    while words not in found:
        assert select.select([fd], [], [], max(deadline - time.monotonic(), 0))[0], found
        found += os.read(fd, 65536)


@pytest.mark.parametrize("is_by_key", [True, False])
def test_q_and_ctrl_c_end_it_and_leave_the_terminal_as_it_was(is_by_key: bool, tmp_path: Path) -> None:
    with running_top(tmp_path) as (process, ours, theirs):
        assert not termios.tcgetattr(theirs)[3] & termios.ICANON
        if is_by_key:
            os.write(ours, b"xq")
        else:
            process.send_signal(signal.SIGINT)
        read_until(ours, b"\x1b[?1049l")
        assert process.wait(60) == 0
        assert termios.tcgetattr(theirs)[3] & termios.ICANON


def test_a_dumb_terminal_gets_pages_without_commands_to_it(tmp_path: Path) -> None:
    environment = {**os.environ, "KACHERYFS_DIR": str(tmp_path), "TERM": "dumb"}
    command = [sys.executable, "-m", "kacheryfs", "top", "--interval", "0.1"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(6)]
        process.send_signal(signal.SIGINT)
    assert process.returncode == 0
    assert sum(line.startswith(b"kacheryfs top") for line in lines) >= 2
    assert b"\x1b" not in b"".join(lines)


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "soon", "1e9"])
def test_an_interval_that_makes_no_sense_is_refused(interval: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", f"--interval={interval}"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
