"""Rows about many providers: four at once, eight readers that serve each other, providers that fail in the middle."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from .data import Sample
from .machine import cpu_s, drop_caches
from .peers import mounted
from .processes import BenchError, wait_until
from .readers import Reader, Reading, read, read_together, warm
from .setting import READ_AHEADS_KIB, Bench, settle
from .swarm import co_readers, down_bytes, providers, reset
from .table import Row, Series, at_least, at_most, median
from .web import Proxied

LINE_BYTES_PER_S = 25e6
ORIGIN_BYTES_PER_S = 20e6
N_CO_READERS = 8
MAX_RUNS = 3
"""So that no row takes longer than three minutes."""
MAX_CROWD_RUNS = 2
TROUBLE_AT = 0.25
"""As a share of the file that came down: a read of any size is then in its middle."""
BUSY_S = 0.3
WATCHED_S = 10.0
SLOWED_TO = 0.01


def _n_runs(bench: Bench) -> int:
    return min(bench.scale.n_runs, MAX_RUNS)


def _megabytes(sample: Sample) -> str:
    return f"{sample.size_bytes / 1e6:,.0f} MB"


# -- four providers ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spread:
    """A whole read from many providers, and what all their lines carried for it."""

    rate: float
    bytes_ratio: float


def _read_spread(bench: Bench, sample: Sample, lines: Sequence[Proxied], kib: int) -> Spread:
    with mounted([line.url for line in lines], bench.fresh("taker"), kib) as mount:
        drop_caches()
        reading = read("whole", mount.path(sample.link), before=partial(reset, lines))
        settle(mount.pid)
        ratio = down_bytes(lines) / sample.size_bytes
    bench.fresh("taker")
    return Spread(sample.size_bytes / reading.total_s / 1e6, ratio)


def swarm4(bench: Bench) -> Row:
    """One mount, four providers of 25 MB/s."""
    sample = bench.sample("proxied")
    found: dict[int, list[Spread]] = {kib: [] for kib in READ_AHEADS_KIB}
    with providers(bench, sample, [LINE_BYTES_PER_S] * 4) as lines:
        for _ in range(bench.scale.n_runs):
            for kib in READ_AHEADS_KIB:
                found[kib].append(_read_spread(bench, sample, lines, kib))
    verdicts = tuple(
        at_least(f"4 providers of 25 MB/s, read-ahead {kib}", median([run.rate for run in runs]), 90, "MB/s")
        for kib, runs in found.items()
    )
    series = []
    for kib, runs in found.items():
        series.append(Series(f"mount, {kib}", tuple(run.rate for run in runs), "MB/s"))
        series.append(Series(f"mount, {kib}: bytes sent for each read", tuple(run.bytes_ratio for run in runs), "×"))
    title = f"Cold sequential read ({_megabytes(sample)}) of four providers, each behind 20 ms and 25 MB/s of its own"
    return Row("swarm4", title, verdicts, tuple(series))


# -- eight readers ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Crowd:
    """Eight whole reads at once."""

    seconds: float
    origin_bytes: int
    cpu_s: float
    """Of the mounts' own processes; those that serve for them aren't counted."""


def _read_crowd(bench: Bench, sample: Sample, line: Proxied) -> Crowd:
    with co_readers(bench, line.url, N_CO_READERS) as mounts:
        drop_caches()
        warm(sample.path)  # the origin's disk is not what is measured
        readers = [Reader("whole", mount.path(sample.link)) for mount in mounts]
        before_s = sum(cpu_s(mount.pid) for mount in mounts)
        readings = read_together(readers, before=line.counters.reset)
        used_s = sum(cpu_s(mount.pid) for mount in mounts) - before_s
        return Crowd(max(reading.total_s for reading in readings), down_bytes([line]), used_s)


def swarm8(bench: Bench) -> Row:
    """Eight mounts that read one file at once and serve each other; the origin sends 20 MB/s."""
    sample = bench.sample("proxied")
    with providers(bench, sample, [ORIGIN_BYTES_PER_S]) as (line,):
        runs = [_read_crowd(bench, sample, line) for _ in range(min(bench.scale.n_runs, MAX_CROWD_RUNS))]
    alone_s = N_CO_READERS * sample.size_bytes / ORIGIN_BYTES_PER_S
    shares = tuple(run.origin_bytes / sample.size_bytes for run in runs)
    times = tuple(run.seconds / alone_s for run in runs)
    verdicts = (
        at_most(f"{N_CO_READERS} readers of one file: the origin sends, for each byte of it", median(shares), 1.5),
        at_most("the same: all done, against the time that the origin alone would need", median(times), 0.3),
    )
    series = (
        Series("the origin sends, for each byte of the file", shares, "×"),
        Series("all done after", tuple(run.seconds for run in runs), "s"),
        Series("all done, against the origin alone", times, "×"),
        Series("CPU time of the eight mounts", tuple(run.cpu_s for run in runs), "s"),
    )
    notes = (
        f"The origin alone would need {alone_s:,.0f} s for {N_CO_READERS} × {_megabytes(sample)} at 20 MB/s. The peers "
        "reach each other without a cap; everything shares this machine's cores.",
    )
    title = f"{N_CO_READERS} mounts read one file ({_megabytes(sample)}) at once, all serving, origin at 20 MB/s"
    return Row("swarm8", title, verdicts, series, notes)


# -- providers that fail ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Troubled:
    """A checked read in whose middle one provider failed."""

    rate_after: float
    """MB/s over the next ten seconds, or until the end of the file."""
    longest_stall_s: float
    """The longest read of a MiB from then on."""
    bytes_ratio: float


def to_troubled(reading: Reading, trouble_at: float, sent_bytes: int) -> Troubled:
    """Cut the reading at the moment of the trouble (by the machine's monotonic clock)."""
    after = [(end, seconds) for end, seconds in zip(reading.ends, reading.seconds, strict=True) if end > trouble_at]
    if not after:
        raise BenchError("the whole file was read before a provider failed: nothing can be said of what came after")
    n_watched = sum(end <= trouble_at + WATCHED_S for end, _ in after)
    watched_s = min(WATCHED_S, reading.ends[-1] - trouble_at)
    part_bytes = reading.n_bytes / len(reading.ends)
    rate = n_watched * part_bytes / watched_s / 1e6
    return Troubled(rate, max(seconds for _, seconds in after), sent_bytes / reading.n_bytes)


def _busiest(lines: Sequence[Proxied]) -> Proxied:
    """Return the line that carries most now: one that isn't used may fail unnoticed."""
    before = [down_bytes([line]) for line in lines]
    time.sleep(BUSY_S)
    carried = [down_bytes([line]) - n_bytes for line, n_bytes in zip(lines, before, strict=True)]
    return lines[carried.index(max(carried))]


def _read_troubled(bench: Bench, sample: Sample, trouble: Callable[[Proxied], None]) -> Troubled:
    rates = [LINE_BYTES_PER_S] * 3
    with (
        providers(bench, sample, rates) as lines,
        mounted([line.url for line in lines], bench.fresh("taker"), READ_AHEADS_KIB[0]) as mount,
    ):
        drop_caches()
        warm(sample.path)
        moments: list[float] = []
        reader = Reader("checked", mount.path(sample.link), sample.path)

        def meanwhile() -> None:
            wait_until(lambda: down_bytes(lines) >= TROUBLE_AT * sample.size_bytes, "reading as far as the trouble")
            trouble(_busiest(lines))
            moments.append(time.monotonic())

        (reading,) = read_together([reader], before=partial(reset, lines), meanwhile=meanwhile)
        sent = down_bytes(lines)
    bench.fresh("taker")
    return to_troubled(reading, moments[0], sent)


def _measure_troubles(
    bench: Bench, sample: Sample, troubles: Mapping[str, Callable[[Proxied], None]]
) -> tuple[dict[str, list[Troubled]], tuple[Series, ...]]:
    found: dict[str, list[Troubled]] = {label: [] for label in troubles}
    for _ in range(_n_runs(bench)):
        for label, trouble in troubles.items():
            found[label].append(_read_troubled(bench, sample, trouble))
    series = []
    for label, runs in found.items():
        series.append(Series(f"{label}: rate afterwards", tuple(run.rate_after for run in runs), "MB/s"))
        series.append(Series(f"{label}: longest stall", tuple(run.longest_stall_s for run in runs), "s"))
        series.append(Series(f"{label}: bytes sent for each read", tuple(run.bytes_ratio for run in runs), "×"))
    return found, tuple(series)


_CHECKED = (
    "Three providers of 25 MB/s, 20 ms; a reader in requests of 1 MiB, each compared with the original; once "
    f"{TROUBLE_AT:.0%} of the file came down the busiest of the three fails. The rate is that of the next "
    f"{WATCHED_S:.0f} s (or to the end of the file), a stall one request of the reader.",
)


def slowpeer(bench: Bench) -> Row:
    """One of three providers slows to 1 % in the middle of a sequential read."""
    sample = bench.sample("sequential")
    troubles = {"slows to 1 %": lambda line: line.set_rate(LINE_BYTES_PER_S * SLOWED_TO)}
    found, series = _measure_troubles(bench, sample, troubles)
    rate = median([run.rate_after for run in found["slows to 1 %"]])
    what = "one of three slows to 1 %: throughput over the next 10 s, against the remaining two's"
    verdicts = (at_least(what, rate / (2 * LINE_BYTES_PER_S / 1e6), 0.8),)
    return Row("slowpeer", f"One of three providers slows to 1 % ({_megabytes(sample)})", verdicts, series, _CHECKED)


def _stall_row(bench: Bench, name: str, what: str, troubles: Mapping[str, Callable[[Proxied], None]]) -> Row:
    sample = bench.sample("proxied")
    found, series = _measure_troubles(bench, sample, troubles)
    verdicts = tuple(
        at_most(f"one of three {label}: longest stall (worst run)", max(run.longest_stall_s for run in runs), 2.0, "s")
        for label, runs in found.items()
    )
    return Row(name, f"One of three providers {what} ({_megabytes(sample)})", verdicts, series, _CHECKED)


def deadpeer(bench: Bench) -> Row:
    """One of three providers dies, or freezes, in the middle of a sequential read."""
    return _stall_row(bench, "deadpeer", "dies or freezes", {"dies": Proxied.die, "freezes": Proxied.freeze})


def liarpeer(bench: Bench) -> Row:
    """One of three providers lies in every block from the middle of a sequential read on."""
    return _stall_row(bench, "liarpeer", "lies in every block", {"lies in every block": Proxied.lie})
