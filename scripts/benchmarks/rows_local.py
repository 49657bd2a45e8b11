"""Rows about what a mount or a command needs by itself: listing, hashing, memory, disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import peers
from .data import Sample
from .machine import Peak, disk_bytes, drop_caches, rss_anon_bytes
from .peers import Mount, mounted
from .processes import BenchError, run
from .readers import Reader, read, read_together, warm
from .setting import READ_AHEADS_KIB, Bench, settle
from .table import Row, Series, at_least, at_most, interleave, median, to_series

N_STREAMS = 16
_HASH = """
import hashlib, sys
digest, buffer = hashlib.sha1(), bytearray(1 << 20)
with open(sys.argv[1], "rb", buffering=0) as file:
    while n := file.readinto(buffer):
        digest.update(memoryview(buffer)[:n])
print(digest.hexdigest())
"""


def _make_tree(folder: Path, n_entries: int) -> None:
    """Half of the entries in one folder, the others in folders of 100 (99 files and the folder itself)."""
    folder.mkdir()
    for index in range(n_entries // 2):
        (folder / f"channel {index:05}.dat").write_bytes(b"%d" % index)
    for index in range(n_entries // 200):
        inner = folder / f"session {index:03}"
        inner.mkdir()
        for number in range(99):
            (inner / f"{number:02}.npy").write_bytes(b"%d/%d" % (index, number))


def _list(path: Path) -> tuple[float, int]:
    """Return the seconds of ``ls -lR`` and how many entries it listed."""
    start = time.perf_counter()
    listed = subprocess.run(["ls", "-lR", str(path)], capture_output=True, check=True).stdout
    seconds = time.perf_counter() - start
    return seconds, sum(line[:1] in (b"-", b"d") for line in listed.splitlines())


def _list_first(bench: Bench, link: str, kib: int, run_number: int) -> float:
    with mounted(bench.servers["kacheryfs serve"], bench.fresh("taker"), kib) as mount:
        drop_caches()
        seconds, n_listed = _list(mount.path(link))
    if n_listed != bench.scale.n_entries:
        raise BenchError(f"ls listed {n_listed} of {bench.scale.n_entries} entries")
    return seconds


def _list_local(folder: Path, run_number: int) -> float:
    drop_caches()
    return _list(folder)[0]


def tree(bench: Bench) -> Row:
    """List a tree for the first time, on loopback."""
    folder = bench.folder / "tree"
    _make_tree(folder, bench.scale.n_entries)
    link = peers.share(folder, bench.giver)
    contenders: dict[str, Callable[[int], float]] = {
        "mount": partial(_list_first, bench, link, READ_AHEADS_KIB[0]),
        "local folder": partial(_list_local, folder),
    }
    seconds = interleave(bench.scale.n_runs, contenders)
    verdicts = (
        at_most(f"list a tree of {bench.scale.n_entries:,} entries (ls -lR)", median(seconds["mount"]), 1.0, "s"),
    )
    return Row(
        "tree", f"ls -lR of {bench.scale.n_entries:,} entries, first time, loopback", verdicts, to_series(seconds, "s")
    )


def _timed(argv: list[str], sample: Sample, is_warm: bool, environment: dict[str, str]) -> float:
    drop_caches()
    if is_warm:
        warm(sample.path)
    start = time.perf_counter()
    run(argv, environment)
    return sample.size_bytes / (time.perf_counter() - start) / 1e6


def _share_rate(bench: Bench, sample: Sample, is_warm: bool, run_number: int) -> float:
    folder = bench.fresh("sharer")
    return _timed([peers.command(), "share", str(sample.path)], sample, is_warm, peers.environment(folder))


def _sha1_rate(sample: Sample, is_warm: bool, run_number: int) -> float:
    return _timed([sys.executable, "-c", _HASH, str(sample.path)], sample, is_warm, {})


def share(bench: Bench) -> Row:
    """``kacheryfs share`` against hashlib.sha1, whole processes."""
    sample = bench.sample("big")
    contenders: dict[str, Callable[[int], float]] = {}
    for is_warm, state in ((False, "cold"), (True, "in the page cache")):
        contenders[f"kacheryfs share, {state}"] = partial(_share_rate, bench, sample, is_warm)
        contenders[f"hashlib.sha1, {state}"] = partial(_sha1_rate, sample, is_warm)
    rates = interleave(bench.scale.n_runs, contenders)
    verdicts = tuple(
        at_least(
            f"share, file {state}, against hashlib.sha1",
            median(rates[f"kacheryfs share, {state}"]) / median(rates[f"hashlib.sha1, {state}"]),
            0.85,
        )
        for state in ("cold", "in the page cache")
    )
    title = f"kacheryfs share of a file of {sample.size_bytes / 1e9:.1f} GB (SHA-1 and manifest), process start to end"
    return Row("share", title, verdicts, to_series(rates, "MB/s"))


def _read_streams(mount: Mount, samples: list[Sample]) -> float:
    each = N_STREAMS // len(samples)
    readers = [Reader("share", mount.path(sample.link), part, each) for sample in samples for part in range(each)]
    start = time.perf_counter()
    n_bytes = sum(reading.n_bytes for reading in read_together(readers))
    return n_bytes / (time.perf_counter() - start) / 1e6


def memory(bench: Bench) -> Row:
    """Peak RssAnon of the mount's process under 16 streams."""
    samples = [bench.sample("big"), bench.sample("second")]
    peaks: dict[int, list[float]] = {kib: [] for kib in READ_AHEADS_KIB}
    rates: dict[str, list[float]] = {}
    idle: list[float] = []
    for _ in range(bench.scale.n_runs):
        for kib in READ_AHEADS_KIB:
            with mounted(bench.servers["kacheryfs serve"], bench.fresh("taker"), kib) as mount:
                drop_caches()
                idle.append(rss_anon_bytes(mount.pid) / 1e6)
                with Peak(partial(rss_anon_bytes, mount.pid)) as peak:
                    rates.setdefault(f"rate of all streams, {kib}", []).append(_read_streams(mount, samples))
                    settle(mount.pid)
                peaks[kib].append(peak.highest / 1e6)
            bench.fresh("taker")
    total = sum(sample.size_bytes for sample in samples) / 1e9
    verdicts = tuple(
        at_most(
            f"peak RssAnon, {N_STREAMS} streams over {total:.0f} GB, read-ahead {kib} (highest run)",
            max(values),
            200,
            "MB",
        )
        for kib, values in peaks.items()
    )
    series = [Series(f"peak RssAnon, {kib}", tuple(values), "MB") for kib, values in peaks.items()]
    notes = (
        f"Two files, {N_STREAMS // 2} processes over equal parts of each; sampled every 20 ms, "
        "the proof of the whole files included.",
    )
    everything = (*series, Series("RssAnon before the first read", tuple(idle), "MB"), *to_series(rates, "MB/s"))
    return Row(
        "memory",
        f"Memory of the mount's process, {N_STREAMS} streams over {total:.0f} GB, loopback",
        verdicts,
        everything,
        notes,
    )


def _allowance(present_bytes: int) -> float:
    return 1.01 * present_bytes + 16e6


def _disk_after(bench: Bench, sample: Sample, *arguments: object) -> tuple[float, float]:
    """Return disk taken as a share of what is allowed, and of what is present."""
    with mounted(bench.servers["kacheryfs serve"], bench.fresh("taker"), READ_AHEADS_KIB[0]) as mount:
        read(arguments[0], mount.path(sample.link), *arguments[1:])
        settle(mount.pid)
        present = mount.present_bytes(sample.link)
        os.sync()
        taken = disk_bytes(mount.folder)
    bench.fresh("taker")
    return taken / _allowance(present), taken / present


def disk(bench: Bench) -> Row:
    """Disk taken for what is present: a whole file, and 64 KiB here and there."""
    cases: dict[str, tuple[Sample, tuple[object, ...]]] = {
        "a whole file": (bench.sample("sequential"), ("whole",)),
        "random places": (bench.sample("big"), ("random", 0, bench.scale.n_places, 65536)),
    }
    series: list[Series] = []
    verdicts = []
    for label, (sample, arguments) in cases.items():
        shares = [_disk_after(bench, sample, *arguments) for _ in range(bench.scale.n_runs)]
        verdicts.append(
            at_most(f"disk after {label}, against 1.01 × present + 16 MB", median([s[0] for s in shares]), 1.0)
        )
        series.append(Series(f"{label}: disk for each byte present", tuple(s[1] for s in shares), "×"))
    return Row("disk", "Disk that the mount's folder takes (du), everything included", tuple(verdicts), tuple(series))
