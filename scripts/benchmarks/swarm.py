"""Many providers of one file: peers with folders of their own, each behind its own proxy; and mounts that serve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from . import peers
from .data import Sample
from .peers import Mount, mounted
from .processes import BenchError
from .setting import READ_AHEADS_KIB, Bench
from .web import Proxied, free_port, proxied


@contextmanager
def providers(bench: Bench, sample: Sample, rates: Sequence[float]) -> Iterator[list[Proxied]]:
    """Serve the file from as many peers as there are rates, each behind a line of its own with that cap."""
    with ExitStack() as stack:
        yield [stack.enter_context(_provider(bench, sample, i, rate)) for i, rate in enumerate(rates)]


@contextmanager
def _provider(bench: Bench, sample: Sample, number: int, rate: float) -> Iterator[Proxied]:
    folder = bench.folder / f"provider{number}"
    if peers.share(sample.path, folder) != sample.link:
        raise BenchError(f"provider {number} shares {sample.path.name} under another link")
    with peers.serving(folder) as url, proxied(url, folder / "proxy", rate) as line:
        yield line


@contextmanager
def co_readers(bench: Bench, origin_url: str, n: int) -> Iterator[list[Mount]]:
    """Mount ``n`` times, each with the origin and all the others as its peers, and serving what it has."""
    ports = [free_port() for _ in range(n)]
    with ExitStack() as stack:
        mounts = []
        for i, port in enumerate(ports):
            urls = [origin_url, *(f"http://127.0.0.1:{other}" for other in ports if other != port)]
            flags = ["--serve", "--listen", f"127.0.0.1:{port}"]
            taking = mounted(urls, bench.fresh(f"reader{i}"), READ_AHEADS_KIB[0], flags=flags)
            mounts.append(stack.enter_context(taking))
        yield mounts
    for i in range(n):
        bench.fresh(f"reader{i}")


def down_bytes(lines: Sequence[Proxied]) -> int:
    """Return what came down from all of them since the counters were reset."""
    return sum(line.counters.since_reset().down_bytes for line in lines)


def reset(lines: Sequence[Proxied]) -> None:
    for line in lines:
        line.counters.reset()
