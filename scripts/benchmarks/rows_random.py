"""Rows that read here and there through the proxy: traces, random places, snippets, the first byte of a terabyte."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import rclone as rclone_mount
from .data import Sample
from .machine import drop_caches
from .peers import mounted
from .processes import first_line, module_argv, running
from .reader import N_CHANNELS, RATE_HZ, SNIPPET_FRAMES
from .readers import Reading, read
from .setting import READ_AHEADS_KIB, Bench
from .synthetic import Terabyte
from .table import Row, Series, Verdict, at_most, interleave, median, number, to_series
from .web import ROUND_TRIP_S, Proxied, curl

READ_BYTES = 64 * 1024
FRAME_BYTES = 2 * N_CHANNELS
LATE_S = 0.3
"""After a reader is done: what is still on the line is counted too."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A reading, and every byte that the wire carried for it in both directions."""

    reading: Reading
    wire_bytes: int

    @property
    def bytes_ratio(self) -> float:
        return self.wire_bytes / self.reading.n_bytes

    @property
    def kernel_ratio(self) -> float:
        return self.wire_bytes / (self.reading.kernel_bytes or self.reading.n_bytes)


def _measure(proxy: Proxied, path: object, *arguments: object) -> Measured:
    drop_caches()
    reading = read(*(arguments[0], path, *arguments[1:]), before=proxy.counters.reset)
    time.sleep(LATE_S)
    return Measured(reading, proxy.counters.since_reset().wire_bytes)


def _on_mount(bench: Bench, url: str, sample: Sample, kib: int, *arguments: object) -> Measured:
    proxy = bench.proxied(url)
    with mounted(proxy.url, bench.fresh("taker"), kib) as mount:
        return _measure(proxy, mount.path(sample.link), *arguments)


def _on_rclone(bench: Bench, sample: Sample, *arguments: object) -> Measured:
    proxy = bench.proxied(bench.servers["nginx"])
    with rclone_mount.rclone(proxy.url, bench.fresh("rclone"), "off", READ_AHEADS_KIB[0]) as mountpoint:
        return _measure(proxy, f"{mountpoint}{sample.static_path}", *arguments)


def _traces(bench: Bench, url: str, sample: Sample, kib: int, run: int) -> float:
    return _on_mount(bench, url, sample, kib, "traces", run, 1, int(RATE_HZ)).reading.total_s


def _traces_on_rclone(bench: Bench, sample: Sample, run: int) -> float:
    return _on_rclone(bench, sample, "traces", run, 1, int(RATE_HZ)).reading.total_s


def _traces_locally(sample: Sample, run: int) -> float:
    drop_caches()
    return read("traces", sample.path, run, 1, int(RATE_HZ)).total_s


def _line_for_traces(proxy: Proxied, sample: Sample, run: int) -> float:
    drop_caches()
    first = sample.size_bytes // FRAME_BYTES // (run + 2) * FRAME_BYTES
    return curl(proxy.url + sample.static_path, f"{first}-{first + int(RATE_HZ) * FRAME_BYTES - 1}").seconds


def traces(bench: Bench) -> Row:
    """A second of 384 channels by get_traces on an opened recording."""
    sample = bench.sample("big")
    contenders: dict[str, Callable[[int], float]] = {}
    for server, url in bench.servers.items():
        contenders[f"curl of as many bytes from {server}"] = partial(_line_for_traces, bench.proxied(url), sample)
        for kib in READ_AHEADS_KIB:
            contenders[f"mount over {server}, {kib}"] = partial(_traces, bench, url, sample, kib)
    contenders["rclone off, 128"] = partial(_traces_on_rclone, bench, sample)
    contenders["local file"] = partial(_traces_locally, sample)
    seconds = interleave(bench.scale.n_runs, contenders)
    verdicts = tuple(
        at_most(
            f"23 MB of traces over {server}, read-ahead {kib}, against the line",
            median(seconds[f"mount over {server}, {kib}"]) / median(seconds[f"curl of as many bytes from {server}"]),
            1.3,
        )
        for server in bench.servers
        for kib in READ_AHEADS_KIB
    )
    title = "23 MB of traces (1 s × 384 channels), cold, through the proxy, recording open"
    return Row("traces", title, verdicts, to_series(seconds, "s"))


def _sweep(bench: Bench, sample: Sample, *arguments: object) -> dict[str, list[Measured]]:
    """Measure the mount over both servers, and rclone, in every run at other places (the run is the seed)."""
    found: dict[str, list[Measured]] = {}
    for run in range(bench.scale.n_runs):
        how = (arguments[0], run, *arguments[1:])
        for kib in READ_AHEADS_KIB:
            for server, url in bench.servers.items():
                measured = _on_mount(bench, url, sample, kib, *how)
                found.setdefault(f"over {server}, read-ahead {kib}", []).append(measured)
        found.setdefault("rclone off, 128", []).append(_on_rclone(bench, sample, *how))
    return found


def _round_trips(runs: list[Measured]) -> float:
    return median([seconds for run in runs for seconds in run.reading.seconds]) / ROUND_TRIP_S


def _latency_series(label: str, runs: list[Measured]) -> tuple[Series, ...]:
    tails = [sorted(run.reading.seconds)[int(0.95 * len(run.reading.seconds))] * 1e3 for run in runs]
    return (
        Series(f"{label}: median", tuple(median(run.reading.seconds) * 1e3 for run in runs), "ms"),
        Series(f"{label}: 95th of 100", tuple(tails), "ms"),
        Series(f"{label}: wire bytes for each byte read", tuple(run.bytes_ratio for run in runs), "×"),
    )


def random(bench: Bench) -> Row:
    """64 KiB at random unaligned offsets of a large file."""
    sample, n_places = bench.sample("big"), bench.scale.n_places
    found = _sweep(bench, sample, "random", n_places, READ_BYTES)
    verdicts: list[Verdict] = []
    for label, runs in found.items():
        if not label.startswith("rclone"):
            verdicts.append(at_most(f"64 KiB at random {label}: median", _round_trips(runs), 1.5, "round trips"))
            ratio = median([run.bytes_ratio for run in runs])
            verdicts.append(at_most(f"64 KiB at random {label}: wire bytes for each byte read", ratio, 6.0))
    series = tuple(entry for label, runs in found.items() for entry in _latency_series(label, runs))
    size = number(sample.size_bytes / 1e9)
    title = f"64 KiB at {n_places} random offsets of a {size} GB file, cold, through the proxy, after open"
    return Row("random", title, tuple(verdicts), series)


def snippet(bench: Bench) -> Row:
    """A waveform snippet at random by get_traces."""
    sample, n_places = bench.sample("big"), bench.scale.n_places
    found = _sweep(bench, sample, "traces", n_places, SNIPPET_FRAMES)
    verdicts: list[Verdict] = []
    series: list[Series] = []
    for label, runs in found.items():
        asked = tuple(run.kernel_ratio for run in runs)
        series += [
            *_latency_series(label, runs),
            Series(f"{label}: wire bytes for each that the kernel asked for", asked, "×"),
        ]
        if not label.startswith("rclone"):
            verdicts.append(at_most(f"snippet {label}: median", _round_trips(runs), 2.0, "round trips"))
            verdicts.append(
                at_most(f"snippet {label}: wire bytes for each that the kernel asked for", median(asked), 3.0)
            )
            own = tuple(run.bytes_ratio for run in runs)
            series.append(Series(f"{label}: wire bytes for each of the snippet itself", own, "×"))
    notes = (
        f"A snippet is {SNIPPET_FRAMES * FRAME_BYTES:,} bytes. A block of 256 KiB alone is 3.8 times that, and one "
        "in four touches two, so that 3 × the snippet itself is out of these blocks' reach: 4.8 × is the least. "
        "SpikeInterface maps the span; the kernel reads around each page fault (three reads of 128 KiB, 0.39 MB, or "
        "one of 1 MiB at read-ahead 1024): the limit is held against that.",
    )
    what = f"A snippet ({SNIPPET_FRAMES} frames × {N_CHANNELS} channels)"
    title = f"{what} at {n_places} random places, cold, through the proxy"
    return Row("snippet", title, tuple(verdicts), tuple(series), notes)


@dataclass(frozen=True, slots=True)
class FirstByte:
    """What one first byte cost."""

    seconds: float
    n_rounds: int
    metadata_bytes: int


def _block_bytes(log: Path) -> int:
    entries = [line.split(" ", 1) for line in log.read_text().splitlines()] if log.exists() else []
    return sum(int(n) for n, path in entries if path.startswith("/sha1/"))


def _first_byte(proxy: Proxied, log: Path, folder: Path, path_of: str, offset: int) -> FirstByte:
    with mounted(proxy.url, folder, READ_AHEADS_KIB[0]) as mount:
        drop_caches()
        time.sleep(LATE_S)  # the mount greets its peer; what is measured begins with the path's first lookup
        before = _block_bytes(log)
        reading = read("first", mount.path(path_of), offset, before=proxy.counters.reset)
        n_rounds = proxy.counters.since_reset().rounds
        time.sleep(LATE_S)
        metadata = proxy.counters.since_reset().wire_bytes - (_block_bytes(log) - before)
    return FirstByte(reading.total_s, n_rounds, metadata)


def _first_bytes(bench: Bench, kind: str, path_of: str, offset: int) -> list[FirstByte]:
    log = bench.folder / f"synthetic-{kind}.log"
    argv = module_argv("synthetic", "--log", f"{log}.requests", *(["--static"] if kind == "static" else []))
    with running(argv, log) as process:
        proxy = bench.proxied(first_line(process, log).split()[0])
        requests = Path(f"{log}.requests")
        return [_first_byte(proxy, requests, bench.fresh("taker"), path_of, offset) for _ in range(bench.scale.n_runs)]


def first(bench: Bench) -> Row:
    """The first byte of a 1 TB file."""
    link = Terabyte().link
    bare = link.split("?")[0].rsplit("/", 1)[0].replace("sha1://", "sha1/")
    inside = Terabyte.readable_offset()
    cases = {
        "by a link, from a /v1 peer": ("v1", link, 0),
        "by a link, from a static server": ("static", link, 0),
        "by a bare sha1/H, from a /v1 peer": ("v1", bare, 0),
        "the middle by a link, from a /v1 peer": ("v1", link, inside),
    }
    found = {label: _first_bytes(bench, *case) for label, case in cases.items()}
    verdicts: list[Verdict] = []
    series: list[Series] = []
    for label, runs in found.items():
        kilobytes = tuple(run.metadata_bytes / 1e3 for run in runs)
        rounds = tuple(float(run.n_rounds) for run in runs)
        verdicts.append(at_most(f"first byte of 1 TB {label}: metadata", median(kilobytes), 200, "KB"))
        verdicts.append(at_most(f"first byte of 1 TB {label}: rounds", median(rounds), 4, "round trips"))
        series.append(Series(f"{label}: metadata", kilobytes, "KB"))
        series.append(Series(f"{label}: rounds", rounds, "round trips"))
        series.append(Series(f"{label}: time", tuple(run.seconds * 1e3 for run in runs), "ms"))
    notes = (
        "Metadata: every wire byte in both directions that is not the body of blocks. Rounds are counted by the proxy: "
        "a request that leaves after an answer came in begins a new one; a new connection's handshake is one too.",
    )
    title = "The first byte of a 1 TB file, from the path's first lookup, through the proxy"
    return Row("first", title, tuple(verdicts), tuple(series), notes)
