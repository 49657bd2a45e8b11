"""A BitTorrent swarm of four seeders, each behind a proxy, in a network of its own, and how to read from it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .counters import Counters
from .data import Sample
from .machine import device_of, mountpoint_in, set_read_ahead
from .processes import BenchError, first_line, module_argv, running, wait_until
from .readers import Reader
from .torrent_ends import LINES, SEEDS
from .web import DELAY_MS, need


@dataclass(frozen=True, slots=True)
class Swarm:
    """Seeders that run, and where their network is."""

    torrent: Path
    folder: Path
    pid: int
    counters: Sequence[Counters]
    """Of the seeders' lines."""

    def inside(self, argv: Sequence[str]) -> list[str]:
        """Return how to run a program in the seeders' network."""
        return [need("nsenter", "util-linux"), f"--net=/proc/{self.pid}/ns/net", "--", *argv]

    def reader(self, folder: Path, how: str, *numbers: int) -> Reader:
        """Start a reader by python-libtorrent that downloads into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        words = [how, str(self.torrent), str(folder), *map(str, numbers)]
        return Reader(argv=self.inside(module_argv("torrent", *words)))

    @contextmanager
    def btfs(self, folder: Path, read_ahead_kib: int) -> Iterator[Path]:
        """Mount the torrent by btfs, its data below ``folder``; yield the mountpoint."""
        folder.mkdir(parents=True, exist_ok=True)
        with mountpoint_in(folder, "mount") as mountpoint:
            argv = [
                need("btfs", "btfs"),
                "-f",
                f"--data-directory={folder / 'data'}",
                str(self.torrent),
                str(mountpoint),
            ]
            with running(self.inside(argv), folder / "btfs.log", stdout=subprocess.DEVNULL):
                wait_until(lambda: device_of(mountpoint) is not None, "btfs mounting")
                set_read_ahead(mountpoint, read_ahead_kib)
                wait_until(lambda: any(mountpoint.iterdir()), "btfs showing its file")
                yield mountpoint


@contextmanager
def swarm(sample: Sample, folder: Path, rate: float) -> Iterator[Swarm]:
    """Seed the file four times, each behind 20 ms and a cap."""
    if not find_spec("libtorrent"):
        raise BenchError("libtorrent is not installed; pip install 'kacheryfs[bench]'")
    folder.mkdir(parents=True, exist_ok=True)
    torrent = folder / "bench.torrent"
    argv = [
        need("unshare", "util-linux"),
        "--net",
        "--",
        *module_argv("torrent", "seed", str(sample.path), str(torrent)),
    ]
    log = folder / "seed.log"
    with running(argv, log) as process, ExitStack() as stack:
        first_line(process, log)
        counters = [Counters(folder / f"counters{number}") for number in range(len(SEEDS))]
        found = Swarm(torrent, folder, process.pid, counters)
        for number in range(len(SEEDS)):
            stack.enter_context(_line(found, number, rate))
        yield found


@contextmanager
def _line(found: Swarm, number: int, rate: float) -> Iterator[None]:
    path, log = found.folder / f"counters{number}", found.folder / "proxy.log"
    found.counters[number].set("rate_bytes_per_s", int(rate))
    (host, port), (target, target_port) = LINES[number], SEEDS[number]
    words = ["--listen", f"{host}:{port}", "--target", f"{target}:{target_port}", "--counters", str(path)]
    argv = found.inside(module_argv("proxy", *words, "--delay-ms", str(DELAY_MS)))
    with running(argv, log) as process:
        first_line(process, log)
        yield
