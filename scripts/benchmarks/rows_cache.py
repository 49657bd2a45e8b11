"""Rows about the cache: reading on while it evicts, and starting over a store of a million blocks."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

from kacheryfs.core.manifest import build
from kacheryfs.core.model import BLOCK_BYTES, Binding, Layout, Sha1
from kacheryfs.store.blocks import Store
from kacheryfs.store.places import DATA, PRESENT, Places
from kacheryfs.store.presence import Presence

from .data import Sample
from .machine import disk_bytes, drop_caches, rss_anon_bytes
from .peers import command, environment, mounted
from .processes import BenchError, run
from .readers import read, warm
from .setting import READ_AHEADS_KIB, Bench
from .table import Row, Series, at_least, at_most, interleave, median, to_series

CACHE_SHARE = 10
"""The file is so many times the cache."""
N_FILES = 10_000
N_BLOCKS = 1_000_000
MAX_RUNS = 3


class PeakDisk:
    """Samples what a folder takes on disk every 20 ms while the block runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak_bytes = 0

    def _sample(self) -> None:
        while not self._is_over.wait(0.02):
            self.peak_bytes = max(self.peak_bytes, disk_bytes(self._folder))

    def __enter__(self) -> PeakDisk:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._is_over.set()
        self._thread.join()


def _read_with_cache(bench: Bench, sample: Sample, cache_bytes: int, peaks: list[float], run_number: int) -> float:
    settings = {"KACHERYFS_CACHE_SIZE": str(cache_bytes)}
    url = bench.servers["kacheryfs serve"]
    with mounted(url, bench.fresh("taker"), READ_AHEADS_KIB[0], settings=settings) as mount:
        drop_caches()
        warm(sample.path)
        with PeakDisk(mount.folder / "store") as peak:
            reading = read("checked", mount.path(sample.link), sample.path)
        peaks.append(peak.peak_bytes / cache_bytes)
    bench.fresh("taker")
    return sample.size_bytes / reading.total_s / 1e6


def evict(bench: Bench) -> Row:
    """A file ten times the cache, read from start to end, beside a cache without a bound."""
    sample = bench.sample("evicted")
    peaks: list[float] = []
    small, large = sample.size_bytes // CACHE_SHARE, 2 * sample.size_bytes
    contenders = {
        "cache of a tenth of the file": partial(_read_with_cache, bench, sample, small, peaks),
        "cache that holds it all": partial(_read_with_cache, bench, sample, large, []),
    }
    rates = interleave(min(bench.scale.n_runs, MAX_RUNS), contenders)
    bounded, unbounded = (median(rates[label]) for label in contenders)
    verdicts = (
        at_least(f"a file {CACHE_SHARE} × the cache, against the unbounded rate", bounded / unbounded, 0.85),
        at_most("the same: most that the store takes on disk, against its bound (worst run)", max(peaks), 1.0),
    )
    series = (*to_series(rates, "MB/s"), Series("most on disk, against the bound", tuple(peaks), "×"))
    notes = (
        "Loopback without a cap; each MiB is compared with the original, whose pages are warm; du of the "
        "store every 20 ms.",
    )
    title = f"Reading on while the cache evicts ({sample.size_bytes / 1e6:,.0f} MB through a tenth of that)"
    return Row("evict", title, verdicts, series, notes)


# -- a million blocks -------------------------------------------------------------------------------------------------


def make_big_store(root: Path) -> None:
    """Write a store as it looks after years, but for the data: every block is present, every data file a hole."""
    Store(root).close()  # makes the folder
    (root / "index.sqlite").unlink()
    places = Places(root)
    layout = Layout(N_BLOCKS // N_FILES * BLOCK_BYTES)
    for number in range(N_FILES):
        _make_present(places, layout, Sha1.of(b"file %d" % number))
    store = Store(root)  # enters what lies there into the index
    n_bytes = sum(summary.present_bytes for summary in store.files())
    store.close()
    if n_bytes != N_BLOCKS * BLOCK_BYTES:
        raise BenchError(f"the store that was made has {n_bytes} bytes present, not {N_BLOCKS} blocks")


def _make_present(places: Places, layout: Layout, sha1: Sha1) -> None:
    root, groups = build(layout.size_bytes, sha1, [bytes(32)] * layout.n_blocks)
    for digest, part in [(root.digest, root.encode()), *zip(root.groups, groups, strict=True)]:
        path = places.manifest_part(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(part)
    folder = places.partial(Binding(sha1, root.digest))
    folder.mkdir(parents=True)
    with (folder / DATA).open("wb") as data:
        data.truncate(layout.size_bytes)
    presence = Presence.open(folder / PRESENT, layout.n_blocks, is_writable=True)
    presence.set(0, layout.n_blocks)
    presence.close()


@dataclass(frozen=True, slots=True)
class Start:
    """A mount's start over a store."""

    ready_s: float
    peak_bytes: int
    anon_bytes: int
    status_s: float


def _peak_rss_bytes(pid: int) -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    if not match:
        raise BenchError(f"the kernel doesn't tell the peak memory of process {pid}")
    return int(match.group(1)) * 1024


def _start_over(bench: Bench, folder: Path) -> Start:
    began = time.perf_counter()
    with mounted([], folder, READ_AHEADS_KIB[0], is_fresh=False) as mount:
        ready_s = time.perf_counter() - began
        began = time.perf_counter()
        status = json.loads(run([command(), "status", "--json"], environment(folder)))
        status_s = time.perf_counter() - began
        n_bytes = status["mounts"][0]["store"]["present_bytes"]
        if n_bytes != N_BLOCKS * BLOCK_BYTES:
            raise BenchError(f"the mount says that {n_bytes} bytes are present, not {N_BLOCKS} blocks")
        time.sleep(2)  # what it counts in the background is its memory, too
        return Start(ready_s, _peak_rss_bytes(mount.pid), rss_anon_bytes(mount.pid), status_s)


def bigstore(bench: Bench) -> Row:
    """Mount over a store with a million present blocks in ten thousand files."""
    folder = bench.fresh("years")
    folder.mkdir()
    make_big_store(folder / "store")
    os.sync()
    found: dict[str, list[Start]] = {"disk cold": [], "disk cached": []}
    for _ in range(min(bench.scale.n_runs, MAX_RUNS)):
        drop_caches()
        for label in found:
            found[label].append(_start_over(bench, folder))
    verdicts = [
        at_most(f"{N_BLOCKS:,} blocks in {N_FILES:,} files, {label}: mount ready", median(ready), 2.0, "s")
        for label, ready in ((label, [start.ready_s for start in starts]) for label, starts in found.items())
    ]
    peaks = tuple(start.peak_bytes / 1e6 for starts in found.values() for start in starts)
    verdicts.append(at_most("the same: peak memory of the mount (VmHWM, worst run)", max(peaks), 250, "MB"))
    series = [
        Series(f"{label}: {what}", tuple(getattr(start, field) for start in starts), "s")
        for label, starts in found.items()
        for what, field in (("mount ready", "ready_s"), ("kacheryfs status", "status_s"))
    ]
    series.append(Series("peak memory, status included", peaks, "MB"))
    notes = (
        "Manifests, presence and index are there in full, data files are holes. From the command's start until the "
        "mountpoint answers; disk cold: every page cache was dropped; disk cached: started again right after.",
    )
    title = f"Start over a store with {N_BLOCKS:,} present blocks in {N_FILES:,} files"
    return Row("bigstore", title, tuple(verdicts), tuple(series), notes)
