"""What a server counts, as Prometheus reads it: text, on a listener of its own that strangers don't reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from .. import __version__
from .counters import Counters
from .limits import ServeLimits
from .replies import Reply, refuse
from .routes import NOT_HERE, Refusal, RequestHead, read_request

PATH = "/metrics"
LIMITS = ServeLimits(max_connections=8, max_connections_per_address=8)
_HEADERS = (("Content-Type", "text/plain; version=0.0.4; charset=utf-8"), ("Cache-Control", "no-store"))


class CacheNumbers(Protocol):
    """What is told of the cache."""

    @property
    def limit_bytes(self) -> int: ...
    @property
    def used_bytes(self) -> int: ...
    @property
    def free_bytes(self) -> int: ...
    @property
    def n_files(self) -> int: ...
    @property
    def pinned_bytes(self) -> int: ...
    @property
    def evicted_blocks(self) -> int: ...
    @property
    def evicted_bytes(self) -> int: ...


class Metrics:
    """Answers ``GET /metrics`` and nothing else; thread-safe, blocking."""

    def __init__(self, counters: Counters, read_cache: Callable[[], CacheNumbers | None]) -> None:
        """``read_cache``: None where the store can't be read now."""
        self._counters = counters
        self._read_cache = read_cache

    def respond(self, head: RequestHead) -> Reply:
        asked = read_request(head, LIMITS)
        if isinstance(asked, Refusal) and asked is not NOT_HERE:
            return refuse(asked)
        if head.target.partition("?")[0] != PATH:
            return refuse(NOT_HERE)
        return Reply(200, _HEADERS, "".join(self._lines()).encode())

    def _lines(self) -> Iterator[str]:
        counters = self._counters
        yield from _metric("info", "gauge", "What runs.", {f'{{version="{__version__}"}}': 1})
        yield from _metric("connections", "gauge", "Open connections of peers.", counters.n_open)
        yield from _metric("connections_total", "counter", "Connections that were let in.", counters.n_connections)
        refused = {f'{{reason="{reason}"}}': n for reason, n in sorted(list(counters.refused.items()))}
        yield from _metric("refused_total", "counter", "Connections and requests that were turned away.", refused)
        requests = {f'{{status="{status}"}}': n for status, n in sorted(list(counters.requests.items()))}
        yield from _metric("requests_total", "counter", "Answers, by status.", requests)
        yield from _metric("cut_total", "counter", "Bodies that ended early.", counters.n_cut)
        yield from _metric("sent_bytes_total", "counter", "Heads and bodies sent to peers.", counters.sent_bytes)
        cache = self._read_cache()
        if cache is not None:
            yield from _cache_lines(cache)


def _cache_lines(cache: CacheNumbers) -> Iterator[str]:
    yield from _metric("cache_limit_bytes", "gauge", "What the store may take on disk.", cache.limit_bytes)
    yield from _metric("cache_used_bytes", "gauge", "What the store takes on disk.", cache.used_bytes)
    yield from _metric("cache_disk_free_bytes", "gauge", "What the disk has left for anybody.", cache.free_bytes)
    yield from _metric("cache_files", "gauge", "Files of which the store has something.", cache.n_files)
    yield from _metric("cache_pinned_bytes", "gauge", "What is never evicted.", cache.pinned_bytes)
    yield from _metric("cache_evicted_blocks_total", "counter", "Blocks evicted.", cache.evicted_blocks)
    yield from _metric("cache_evicted_bytes_total", "counter", "Bytes evicted.", cache.evicted_bytes)


def _metric(name: str, kind: str, help_: str, value: int | Mapping[str, int]) -> Iterator[str]:
    """Yield one metric's lines; ``value`` is its number, or one for each set of labels."""
    yield f"# HELP kacheryfs_{name} {help_}\n# TYPE kacheryfs_{name} {kind}\n"
    for labels, number in ({"": value} if isinstance(value, int) else value).items():
        yield f"kacheryfs_{name}{labels} {number}\n"
