"""The row about a recording as a user meets it: a link is typed, and the first second stands on the screen."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote
from urllib.request import urlopen

from kacheryfs.core.link import TreeLink, parse_link
from kacheryfs.core.tree import decode_tree

from .machine import drop_caches
from .peers import command, environment, mounted
from .processes import BenchError, module_argv, run
from .readers import Reader, Reading, read_together
from .setting import READ_AHEADS_KIB, Bench
from .synthetic_recording import write_recording
from .table import Row, Series, at_most, median, number
from .web import RATE_BYTES_PER_S, Download, Proxied, curl

MAX_FETCHED_MB = 30
QUIET_S = 0.3
"""After the picture: what is still on the line is counted too, until nothing came for so long."""
EMBEDDED = "load_recording, no mount"
MOUNTED = "si.load from the mount, read-ahead"


@dataclass(frozen=True, slots=True)
class Picture:
    """From the link to a picture's file, and every byte that the wire carried for it in both directions."""

    seconds: float
    read_s: float
    wire_bytes: int
    n_bytes: int
    checksum: int


class Drawer(Reader):
    """A process that opens and draws; see ``picture``."""

    def __init__(self, env: Mapping[str, str], *arguments: str) -> None:
        argv = module_argv("picture", *arguments)
        self._process = subprocess.Popen(
            argv, env={**os.environ, **env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )


def _count(proxy: Proxied) -> int:
    """Return the wire's bytes once it is quiet."""
    before = -1
    while (now := proxy.counters.since_reset().wire_bytes) != before:
        before = now
        time.sleep(QUIET_S)
    return now


def _draw(proxy: Proxied, env: Mapping[str, str], *arguments: str) -> Picture:
    def start() -> None:
        _count(proxy)  # a mount greets its peer
        drop_caches()
        proxy.counters.reset()

    reading: Reading = read_together([Drawer(env, *arguments)], before=start)[0]
    seconds, read_s = reading.seconds
    return Picture(seconds, read_s, _count(proxy), reading.n_bytes, reading.starts[0])


def _draw_without_mount(bench: Bench, proxy: Proxied, link: str) -> Picture:
    env = environment(bench.fresh("taker"))
    run([command(), "peer", "add", proxy.url], env)
    return _draw(proxy, env, "load", link, str(bench.folder / "embedded.png"))


def _draw_from_mount(bench: Bench, proxy: Proxied, link: str, kib: int) -> Picture:
    with mounted(proxy.url, bench.fresh("taker"), kib) as mount:
        description = mount.mountpoint / unquote(link.replace("://", "/")) / "recording.json"
        return _draw(proxy, environment(mount.folder), "stock", str(description), str(bench.folder / "mount.png"))


def _download(bench: Bench, url: str, link: str) -> Download:
    """Download the whole ``.ap.bin``, once."""
    tree_link = parse_link(link)
    if not isinstance(tree_link, TreeLink):
        raise BenchError(f"share_recording returned {link}, which is no folder's link")
    with urlopen(f"{bench.servers['kacheryfs serve']}/sha1/{tree_link.sha1.hex}", timeout=20) as answer:
        files = [entry for _, entry in decode_tree(answer.read()).walk()]
    largest = max(files, key=lambda entry: entry.size_bytes)
    drop_caches()
    return curl(f"{url}/sha1/{largest.sha1.hex}")


def _measure(bench: Bench, proxy: Proxied, link: str) -> dict[str, list[Picture]]:
    contenders: dict[str, Callable[[], Picture]] = {EMBEDDED: lambda: _draw_without_mount(bench, proxy, link)}
    for kib in READ_AHEADS_KIB:
        contenders[f"{MOUNTED} {kib}"] = lambda kib=kib: _draw_from_mount(bench, proxy, link, kib)  # type: ignore[misc]
    found: dict[str, list[Picture]] = {label: [] for label in contenders}
    for _ in range(bench.scale.n_runs):
        for label, draw in contenders.items():
            found[label].append(draw())
    if len({picture.checksum for pictures in found.values() for picture in pictures}) != 1:
        raise BenchError(f"the traces of {link} differ between its readers")
    return found


def _share(bench: Bench, path: Path) -> tuple[str, float]:
    start = time.perf_counter()
    link = run(module_argv("picture", "share", str(path.parent)), environment(bench.giver)).strip()
    return link, time.perf_counter() - start


def recording(bench: Bench) -> Row:
    """A 385-channel recording, opened remotely, its first second drawn."""
    duration_s, folder = bench.scale.recording_s, bench.folder / "bench_g0"
    try:
        path = write_recording(folder / "bench_g0_imec0", duration_s)
        size_bytes = path.stat().st_size
        link, share_s = _share(bench, path)
        proxy = bench.proxied(bench.servers["kacheryfs serve"])
        found = _measure(bench, proxy, link)
        download = _download(bench, proxy.url, link)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if download.n_bytes != size_bytes:
        raise BenchError(f"curl downloaded {download.n_bytes} of {size_bytes} bytes")
    return to_row(found, duration_s, size_bytes, download, share_s)


def to_row(
    found: Mapping[str, list[Picture]], duration_s: int, size_bytes: int, download: Download, share_s: float
) -> Row:
    """Return the row of what was measured."""
    verdicts = tuple(
        at_most(
            f"first second of 385 channels × {duration_s} s drawn, {label}: fetched",
            _fetched_mb(runs),
            MAX_FETCHED_MB,
            "MB",
        )
        for label, runs in found.items()
    )
    series = [entry for label, runs in found.items() for entry in _series(label, runs)]
    series.append(Series("full download of the .ap.bin by curl", (download.seconds,), "s"))
    series.append(Series("share_recording, which hashes it once", (share_s,), "s"))
    title = f"A recording of 385 channels × {duration_s} s ({size_bytes / 1e9:.2f} GB): from its link to a picture"
    return Row("recording", title, verdicts, tuple(series), _notes(found, size_bytes, download))


def _fetched_mb(runs: list[Picture]) -> float:
    return median([run.wire_bytes / 1e6 for run in runs])


def _series(label: str, runs: list[Picture]) -> tuple[Series, ...]:
    return (
        Series(f"{label}: fetched", tuple(run.wire_bytes / 1e6 for run in runs), "MB"),
        Series(f"{label}: from typing to traces", tuple(run.read_s for run in runs), "s"),
        Series(f"{label}: from typing to the picture", tuple(run.seconds for run in runs), "s"),
    )


def _notes(found: Mapping[str, list[Picture]], size_bytes: int, download: Download) -> tuple[str, ...]:
    picture = next(iter(found.values()))[0]
    ratios = {label: download.seconds / median([run.seconds for run in runs]) for label, runs in found.items()}
    line_s = size_bytes / RATE_BYTES_PER_S
    return (
        f"`kfs.share_recording`'s link through the proxy; a fresh store and, where it says so, a fresh mount; the "
        f"first second of all 384 channels ({picture.n_bytes / 1e6:.1f} MB of traces, 23.1 MB with the sync channel "
        "between them) is drawn with matplotlib into a PNG. The clock starts when the libraries are imported and the "
        "link is typed. Fetched: wire bytes, both directions, until the line is quiet.",
        f"The full download was measured once, whole; the line alone allows no less than {line_s:.0f} s. It took "
        + ", ".join(f"{number(ratio)} × as long as the picture ({label})" for label, ratio in ratios.items())
        + ".",
    )
