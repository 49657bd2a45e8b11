"""The row about peers without manners: a mount reads while its server is overrun."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .data import Sample
from .machine import Peak, drop_caches, n_descriptors, rss_anon_bytes
from .peers import Mount, mounted, share
from .processes import first_line, module_argv, running
from .readers import read, warm
from .rows_swarm import MAX_RUNS, ORIGIN_BYTES_PER_S
from .rude import CROWD
from .setting import READ_AHEADS_KIB, Bench
from .swarm import providers
from .table import Row, Series, at_least, median
from .web import Proxied, free_port

BAIT_BYTES = 64_000_000
_WHO = (
    "Rude: " + ", ".join(f"{n} {kind}" for kind, (_, n) in CROWD.items()) + " (see `benchmarks/rude.py`), all at once, "
    "from three addresses, over loopback without a cap; the program runs at the lowest priority."
)


@dataclass(frozen=True, slots=True)
class Overrun:
    """A whole read, and the most that the mount and its server took meanwhile."""

    rate: float
    mount_bytes: int
    server_bytes: int
    server_descriptors: int


def server_of(mount: Mount) -> int:
    """Return the process that serves beside a mount: its only child."""
    (pid,) = " ".join(path.read_text() for path in Path(f"/proc/{mount.pid}/task").glob("*/children")).split()
    return int(pid)


def _share_bait(bench: Bench, folder: Path) -> str:
    """Share something large that isn't what is read, so that there is much to ask for; returns its path."""
    path = bench.folder / "bait.dat"
    if not path.exists():
        path.write_bytes(os.urandom(BAIT_BYTES))
    digest = share(path, folder).removeprefix("sha1://").partition("/")[0]
    return f"/sha1/{digest}"


def read_overrun(bench: Bench, sample: Sample, line: Proxied, kinds: tuple[str, ...] | None) -> Overrun:
    """Read the file beside rude peers of these kinds (none: of every kind; None: beside nobody)."""
    folder, port = bench.fresh("reader"), free_port()
    target = _share_bait(bench, folder)
    flags = ["--serve", "--listen", f"127.0.0.1:{port}"]
    with ExitStack() as stack:
        mount = stack.enter_context(mounted(line.url, folder, READ_AHEADS_KIB[0], is_fresh=False, flags=flags))
        drop_caches()
        warm(sample.path)
        if kinds is not None:
            log = bench.folder / "rude.log"
            words = [word for kind in kinds for word in ("--kind", kind)]
            argv = module_argv("rude", f"127.0.0.1:{port}", target, *words)
            first_line(stack.enter_context(running(argv, log)), log)
        server = server_of(mount)
        peaks = [
            stack.enter_context(Peak(partial(of, pid)))
            for of, pid in ((rss_anon_bytes, mount.pid), (rss_anon_bytes, server), (n_descriptors, server))
        ]
        reading = read("whole", mount.path(sample.link))
        return Overrun(sample.size_bytes / reading.total_s / 1e6, *(peak.highest for peak in peaks))


def rude(bench: Bench) -> Row:
    """A mount that serves reads from an origin of 20 MB/s, with and without rude peers at its server."""
    sample = bench.sample("proxied")
    alone: list[Overrun] = []
    beside: list[Overrun] = []
    with providers(bench, sample, [ORIGIN_BYTES_PER_S]) as (line,):
        for _ in range(min(bench.scale.n_runs, MAX_RUNS)):
            alone.append(read_overrun(bench, sample, line, None))
            beside.append(read_overrun(bench, sample, line, ()))
    ratio = median([run.rate for run in beside]) / median([run.rate for run in alone])
    what = f"read beside {sum(n for _, n in CROWD.values())} rude connections to this mount's server, against alone"
    series = [s for label, runs in (("alone", alone), ("beside them", beside)) for s in _series(label, runs)]
    title = f"A mount that serves reads {sample.size_bytes / 1e6:,.0f} MB at 20 MB/s while its server is overrun"
    return Row("rude", title, (at_least(what, ratio, 0.9),), tuple(series), (_WHO,))


def _series(label: str, runs: list[Overrun]) -> tuple[Series, ...]:
    return (
        Series(f"{label}: read", tuple(run.rate for run in runs), "MB/s"),
        Series(f"{label}: peak RssAnon of the mount", tuple(run.mount_bytes / 1e6 for run in runs), "MB"),
        Series(f"{label}: peak RssAnon of its server", tuple(run.server_bytes / 1e6 for run in runs), "MB"),
        Series(f"{label}: most descriptors of its server", tuple(run.server_descriptors for run in runs), ""),
    )
