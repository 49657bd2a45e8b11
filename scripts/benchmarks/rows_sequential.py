"""Rows that read a whole file: cold, through the proxy, from present blocks, from the kernel's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .data import Sample
from .machine import drop_caches, set_read_ahead
from .peers import Mount, mounted
from .processes import BenchError
from .rclone import CacheMode, cached_file, rclone
from .readers import read, warm
from .setting import READ_AHEADS_KIB, Bench, settle
from .table import Row, Verdict, at_least, interleave, median, to_series
from .web import curl

Rates = dict[str, Callable[[int], float]]


def _read_mount(bench: Bench, url: str, sample: Sample, kib: int, run: int) -> float:
    with mounted(url, bench.fresh("taker"), kib) as mount:
        drop_caches()
        reading = read("whole", mount.path(sample.link))
        _require_stored(mount, sample)
    bench.fresh("taker")
    return sample.size_bytes / reading.total_s / 1e6


def _require_stored(mount: Mount, sample: Sample) -> None:
    present = mount.present_bytes(sample.link)
    if present != sample.size_bytes:
        raise BenchError(f"{present} of {sample.size_bytes} bytes were stored by a read of the whole file")


def _read_rclone(bench: Bench, url: str, sample: Sample, mode: CacheMode, kib: int, run: int) -> float:
    with rclone(url, bench.fresh("rclone"), mode, kib) as mountpoint:
        drop_caches()
        reading = read("whole", f"{mountpoint}{sample.static_path}")
    bench.fresh("rclone")
    return sample.size_bytes / reading.total_s / 1e6


def _read_curl(url: str, sample: Sample, run: int) -> float:
    drop_caches()
    download = curl(url + sample.static_path)
    if download.n_bytes != sample.size_bytes:
        raise BenchError(f"curl got {download.n_bytes} of {sample.size_bytes} bytes")
    return sample.size_bytes / download.seconds / 1e6


def _read_local(sample: Sample, run: int) -> float:
    drop_caches()
    return sample.size_bytes / read("whole", sample.path).total_s / 1e6


def _rclone_contenders(bench: Bench, url: str, sample: Sample, kib: int) -> Rates:
    modes: tuple[CacheMode, ...] = ("off", "full")
    return {f"rclone {mode}, {kib}": partial(_read_rclone, bench, url, sample, mode, kib) for mode in modes}


def cold(bench: Bench) -> Row:
    """Cold sequential read on loopback."""
    sample = bench.sample("sequential")
    contenders: Rates = {}
    for kib in READ_AHEADS_KIB:
        for server, url in bench.servers.items():
            contenders[f"mount over {server}, {kib}"] = partial(_read_mount, bench, url, sample, kib)
        contenders |= _rclone_contenders(bench, bench.servers["nginx"], sample, kib)
    contenders["curl from nginx"] = partial(_read_curl, bench.servers["nginx"], sample)
    contenders["curl from kacheryfs serve"] = partial(_read_curl, bench.servers["kacheryfs serve"], sample)
    contenders["local file"] = partial(_read_local, sample)
    rates = interleave(bench.scale.n_runs, contenders)
    title = _title("Cold sequential read, loopback", sample)
    return Row("cold", title, _cold_verdicts(bench, rates), to_series(rates, "MB/s"), _COLD_NOTES)


_COLD_NOTES = (
    "Why not three times rclone's cached mode: everything shares two cores, and both are busy throughout (perf, "
    "py-spy and /proc, 2026-11-22; a core-s is one core for one second). Of about 3.9 core-s a GB the mount takes "
    "1.9: 1.0 its event loop (half of it the kernel, copying replies into the page cache; of the other half "
    "nearly all is pyfuse3's own loop, our handler is 4 %), 0.9 the threads that receive, verify and store "
    "(copies out of the socket and into the page cache, BLAKE3 0.2). The reader takes about 0.5, nginx 0.35, the "
    "rest is interrupts and switches. Before receiving moved into the threads that verify, the mount took 2.7 to "
    "3.1. Where rclone full makes 350 to 500 MB/s, three times that is what curl to /dev/null makes beside its "
    "server.",
)


def _title(what: str, sample: Sample) -> str:
    return f"{what} ({sample.size_bytes / 1e6:,.0f} MB)"


def _cold_verdicts(bench: Bench, rates: dict[str, list[float]]) -> tuple[Verdict, ...]:
    return tuple(
        at_least(
            f"cold read over {server}, read-ahead {kib}, against rclone {mode}",
            median(rates[f"mount over {server}, {kib}"]) / median(rates[f"rclone {mode}, {kib}"]),
            limit,
        )
        for kib in READ_AHEADS_KIB
        for server in bench.servers
        for mode, limit in (("full", 3.0), ("off", 1.0))
    )


def line(bench: Bench) -> Row:
    """Cold sequential read through the proxy, against curl there."""
    sample = bench.sample("proxied")
    contenders: Rates = {}
    for server, url in bench.servers.items():
        near = bench.proxied(url).url
        contenders[f"curl from {server}"] = partial(_read_curl, near, sample)
        for kib in READ_AHEADS_KIB:
            contenders[f"mount over {server}, {kib}"] = partial(_read_mount, bench, near, sample, kib)
    nginx = bench.proxied(bench.servers["nginx"]).url
    contenders |= _rclone_contenders(bench, nginx, sample, READ_AHEADS_KIB[0])
    rates = interleave(bench.scale.n_runs, contenders)
    verdicts = tuple(
        at_least(
            f"cold read through the proxy over {server}, read-ahead {kib}, against the line",
            median(rates[f"mount over {server}, {kib}"]) / median(rates[f"curl from {server}"]),
            0.9,
        )
        for server in bench.servers
        for kib in READ_AHEADS_KIB
    )
    return Row("line", _title("Cold sequential read through the proxy", sample), verdicts, to_series(rates, "MB/s"))


@dataclass(frozen=True, slots=True)
class Warm:
    """A mount whose file was read before, and where it keeps what it read."""

    mountpoint: Path
    path: Path
    backing: Path

    def rate(self, sample: Sample, kib: int, run: int) -> float:
        """Drop every page, bring the backing file's back, and read."""
        set_read_ahead(self.mountpoint, kib)
        drop_caches()
        warm(self.backing)
        return sample.size_bytes / read("whole", self.path).total_s / 1e6


@contextmanager
def _warm_mount(bench: Bench, url: str, sample: Sample) -> Iterator[Warm]:
    with mounted(url, bench.fresh("taker"), 128) as mount:
        path = mount.path(sample.link)
        read("whole", path)
        settle(mount.pid)  # the whole file's SHA-1 is proven once it is complete
        yield Warm(mount.mountpoint, path, mount.stored_file(sample))
    bench.fresh("taker")


@contextmanager
def _warm_rclone(bench: Bench, url: str, sample: Sample) -> Iterator[Warm]:
    folder = bench.fresh("rclone")
    with rclone(url, folder, "full", 128) as mountpoint:
        path = Path(f"{mountpoint}{sample.static_path}")
        read("whole", path)
        yield Warm(mountpoint, path, cached_file(folder))
    bench.fresh("rclone")


def present(bench: Bench) -> Row:
    """Blocks present, the mount's pages dropped, the backing file warm."""
    sample = bench.sample("sequential")
    with ExitStack() as stack:
        mount = stack.enter_context(_warm_mount(bench, bench.servers["kacheryfs serve"], sample))
        other = stack.enter_context(_warm_rclone(bench, bench.servers["nginx"], sample))
        contenders: Rates = {}
        for kib in READ_AHEADS_KIB:
            contenders[f"mount, {kib}"] = partial(mount.rate, sample, kib)
            contenders[f"rclone full, {kib}"] = partial(other.rate, sample, kib)
        rates = interleave(bench.scale.n_runs, contenders)
    verdicts = tuple(
        at_least(
            f"blocks present, read-ahead {kib}, against rclone's second read",
            median(rates[f"mount, {kib}"]) / median(rates[f"rclone full, {kib}"]),
            limit,
        )
        for kib, limit in zip(READ_AHEADS_KIB, (1.1, 2.0), strict=True)
    )
    return Row(
        "present",
        _title("Blocks present, pages dropped, backing file warm", sample),
        verdicts,
        to_series(rates, "MB/s"),
    )


def _rate_again(path: Path, sample: Sample, run: int) -> float:
    """Bring the file into the kernel's cache, then read it six times; the median counts."""
    drop_caches()
    return sample.size_bytes / median(read("again", path, 6).seconds) / 1e6


def _rate_again_at(mountpoint: Path, path: Path, kib: int, sample: Sample, run: int) -> float:
    set_read_ahead(mountpoint, kib)
    return _rate_again(path, sample, run)


def cached(bench: Bench) -> Row:
    """Read again, in the kernel's cache."""
    sample = bench.sample("sequential")
    with ExitStack() as stack:
        mount = stack.enter_context(_warm_mount(bench, bench.servers["kacheryfs serve"], sample))
        other = stack.enter_context(_warm_rclone(bench, bench.servers["nginx"], sample))
        contenders: Rates = {"local file": partial(_rate_again, sample.path, sample)}
        for kib in READ_AHEADS_KIB:
            contenders[f"mount, {kib}"] = partial(_rate_again_at, mount.mountpoint, mount.path, kib, sample)
        contenders["rclone full, 128"] = partial(_rate_again_at, other.mountpoint, other.path, 128, sample)
        rates = interleave(bench.scale.n_runs, contenders)
    verdicts = tuple(
        at_least(
            f"read again from the kernel's cache, read-ahead {kib}, against the local file",
            median(rates[f"mount, {kib}"]) / median(rates["local file"]),
            0.9,
        )
        for kib in READ_AHEADS_KIB
    )
    notes = (
        "No request reaches a mount here: rclone's row shows what the kernel itself makes of any FUSE file. Where the "
        "local file system caches in large folios (ext4 since Linux 6.16) and FUSE in single pages, that is the gap.",
    )
    return Row("cached", _title("Read again, in the kernel's cache", sample), verdicts, to_series(rates, "MB/s"), notes)
