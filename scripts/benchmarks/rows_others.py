"""The row beside rclone, btfs and python-libtorrent: the same file, from providers with the same caps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .bittorrent import Swarm, swarm
from .counters import Counters
from .data import Sample
from .machine import drop_caches
from .peers import mounted
from .rclone import rclone
from .readers import Reader, Reading, read_together, warm
from .rows_random import READ_BYTES
from .setting import READ_AHEADS_KIB, Bench
from .swarm import providers
from .table import Row, Series, Verdict, at_least, median
from .torrent_ends import N_PEERS
from .web import Proxied, proxied

LINE_BYTES_PER_S = 25e6
MAX_RUNS = 2
N_PLACES = 40
OURS = "kacheryfs mount"
RCLONE = "rclone off"
Start = Callable[..., Reader]
"""Starts a reader of one contender by what ``reader`` takes after the path."""


@dataclass(frozen=True, slots=True)
class Providers:
    """Who has the file, for each kind of contender."""

    peers: Sequence[Proxied]
    web: Proxied
    torrent: Swarm

    def counters(self, contender: str) -> Sequence[Counters]:
        """Return what counts the bytes that this contender is sent."""
        if contender == OURS:
            return [line.counters for line in self.peers]
        return [self.web.counters] if contender == RCLONE else self.torrent.counters


@contextmanager
def _providers(bench: Bench, sample: Sample) -> Iterator[Providers]:
    with ExitStack() as stack:
        peers = stack.enter_context(providers(bench, sample, [LINE_BYTES_PER_S] * N_PEERS))
        near = proxied(bench.servers["nginx"], bench.folder / "slow proxy", LINE_BYTES_PER_S)
        seeders = swarm(sample, bench.fresh("swarm"), LINE_BYTES_PER_S)
        yield Providers(peers, stack.enter_context(near), stack.enter_context(seeders))


@contextmanager
def _ours(bench: Bench, sample: Sample, found: Providers) -> Iterator[Start]:
    with mounted([line.url for line in found.peers], bench.fresh("taker"), READ_AHEADS_KIB[0]) as mount:
        yield lambda how, *numbers: Reader(how, mount.path(sample.link), *numbers)


@contextmanager
def _rclone(bench: Bench, sample: Sample, found: Providers) -> Iterator[Start]:
    with rclone(found.web.url, bench.fresh("rclone"), "off", READ_AHEADS_KIB[0]) as mountpoint:
        yield lambda how, *numbers: Reader(how, f"{mountpoint}{sample.static_path}", *numbers)


@contextmanager
def _btfs(bench: Bench, sample: Sample, found: Providers) -> Iterator[Start]:
    with found.torrent.btfs(bench.fresh("btfs"), READ_AHEADS_KIB[0]) as mountpoint:
        yield lambda how, *numbers: Reader(how, mountpoint / sample.path.name, *numbers)


@contextmanager
def _libtorrent(bench: Bench, sample: Sample, found: Providers) -> Iterator[Start]:
    folder: Path = bench.fresh("libtorrent")
    yield lambda how, *numbers: found.torrent.reader(folder, how, *numbers)


_CONTENDERS = {OURS: _ours, RCLONE: _rclone, "btfs": _btfs, "libtorrent": _libtorrent}
MAGNET = "libtorrent, by a magnet link"
RANDOM = "64 KiB at random"
_MEASURES: dict[str, Callable[[int], tuple[object, ...]]] = {
    "first byte": lambda run: ("first", 0),
    "cold sequential": lambda run: ("whole",),
    RANDOM: lambda run: ("random", run, N_PLACES, READ_BYTES),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """A reading, and what all lines of its contender carried down for it."""

    reading: Reading
    sent_bytes: int

    def value(self, measure: str) -> float:
        """Return MB/s of the whole file, else the milliseconds of a read: their mean, as what is read ahead counts."""
        if measure == "cold sequential":
            return self.reading.n_bytes / self.reading.total_s / 1e6
        return self.reading.total_s / len(self.reading.seconds) * 1e3

    @property
    def bytes_ratio(self) -> float:
        return self.sent_bytes / self.reading.n_bytes


def _reset(lines: Sequence[Counters]) -> None:
    for line in lines:
        line.reset()


def _measure(bench: Bench, sample: Sample, found: Providers, contender: str, arguments: tuple[object, ...]) -> Measured:
    lines = found.counters(contender)
    with _CONTENDERS[contender](bench, sample, found) as start:
        drop_caches()
        warm(sample.path)
        (reading,) = read_together([start(*arguments)], before=partial(_reset, lines))
        measured = Measured(reading, sum(line.since_reset().down_bytes for line in lines))
    for name in ("taker", "rclone", "btfs", "libtorrent"):
        bench.fresh(name)
    return measured


def others(bench: Bench) -> Row:
    """The same file, providers and caps for four programs."""
    sample = bench.sample("proxied")
    values: dict[tuple[str, str], list[float]] = {}
    ratios: dict[str, list[float]] = {}
    with _providers(bench, sample) as found:
        for run in range(min(bench.scale.n_runs, MAX_RUNS)):
            for measure, arguments in _MEASURES.items():
                for contender in _CONTENDERS:
                    measured = _measure(bench, sample, found, contender, arguments(run))
                    values.setdefault((measure, contender), []).append(measured.value(measure))
                    if measure == RANDOM:
                        ratios.setdefault(contender, []).append(measured.bytes_ratio)
            measured = _measure(bench, sample, found, "libtorrent", ("magnet", 0))
            values.setdefault(("first byte", MAGNET), []).append(measured.value("first byte"))
    series = tuple(
        Series(f"{measure}: {contender}", tuple(numbers), "MB/s" if measure == "cold sequential" else "ms")
        for (measure, contender), numbers in values.items()
    )
    series += tuple(
        Series(f"{RANDOM}: {contender}: bytes sent for each read", tuple(numbers), "×")
        for contender, numbers in ratios.items()
    )
    medians = {key: median(numbers) for key, numbers in values.items()}
    title = f"Beside other programs: {sample.size_bytes / 1e6:,.0f} MB from {N_PEERS} providers of 25 MB/s, 20 ms"
    return Row("others", title, to_verdicts(medians), series, _NOTES)


def to_verdicts(medians: dict[tuple[str, str], float]) -> tuple[Verdict, ...]:
    """Hold ours against the best of the others in each measure; over 1 is ahead."""
    verdicts = []
    for measure in _MEASURES:
        theirs = [medians[measure, contender] for contender in _CONTENDERS if contender != OURS]
        ours = medians[measure, OURS]
        ratio = ours / max(theirs) if measure == "cold sequential" else min(theirs) / ours
        verdicts.append(at_least(f"{measure}, against the best of rclone, btfs and libtorrent", ratio, 1.0))
    ratio = medians["first byte", MAGNET] / medians["first byte", OURS]
    verdicts.append(at_least("first byte with a link in hand, against libtorrent with a magnet link", ratio, 1.0))
    return tuple(verdicts)


_NOTES = (
    "Each provider stands behind a proxy of its own. rclone knows one server, so it has one of the four. Pieces of the "
    "torrent are 256 KiB. btfs and libtorrent start connected to all seeders, or as far as btfs has come when it shows "
    "its file, and know the torrent; the mount knows its peers, and looks the file up within the time. libtorrent has "
    "no file: first byte and random places by set_piece_deadline, the whole by sequential download until the last "
    "piece is verified, which no reader has got by then. btfs asks for pieces on and on once anything was read, so "
    "that after some seconds it has the whole file: random reads are told by their mean, and by the bytes "
    "that were sent.",
    "Where libtorrent is ahead: it begins with every connection open and the torrent in hand, where the mount asks its "
    "peers who has the file and fetches the manifest's root and a group first (by a magnet link it has to do the "
    "same); and the mount's four lines are full only after some tenths of a second, once it knows what each delivers.",
)
