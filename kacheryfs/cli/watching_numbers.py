"""What happened between two looks at a mount: rates, hits and waits out of numbers that only grow; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Flow:
    """One mount, from one look at it to the next."""

    reads_per_s: float
    read_bytes_per_s: float
    hit_share: float | None
    """Of the reads, those that waited for nobody; None where nothing was read."""
    median_wait_s: float | None
    """Of the reads that waited, at most this long; None where none did."""
    slowest_wait_s: float | None
    """99 of 100 waited no longer."""
    received_bytes_per_s: float
    peer_bytes_per_s: Mapping[str, float]
    """By the peers' URLs."""

    def as_json(self) -> Json:
        return asdict(self)


def flow_between(before: Json, after: Json, elapsed_s: float) -> Flow:
    """Compare two looks at one mount; what was not there before counts from zero."""
    hits, misses = (_grown(before, after, kinds, "n_reads") for kinds in (_AT_HAND, _FETCHED))
    n_reads = hits + misses
    bins = _bins_between(before, after)
    peers = _peers_between(before, after)
    return Flow(
        reads_per_s=n_reads / elapsed_s,
        read_bytes_per_s=_grown(before, after, (*_AT_HAND, *_FETCHED), "n_bytes") / elapsed_s,
        hit_share=hits / n_reads if n_reads else None,
        median_wait_s=quantile(bins, _waited(after), 0.5),
        slowest_wait_s=quantile(bins, _waited(after), 0.99),
        received_bytes_per_s=sum(peers.values()) / elapsed_s,
        peer_bytes_per_s={url: n_bytes / elapsed_s for url, n_bytes in peers.items()},
    )


_AT_HAND = ("from_memory", "from_store")
_FETCHED = ("from_network",)


def _grown(before: Json, after: Json, kinds: Sequence[str], number: str) -> int:
    return sum(after["reads"][kind][number] - before["reads"][kind][number] for kind in kinds)


def _waited(look: Json) -> Json:
    waited: Json = look["waited"]
    return waited


def _bins_between(before: Json, after: Json) -> list[int]:
    pairs = zip(_waited(before)["bins"], _waited(after)["bins"], strict=True)
    return [late - early for early, late in pairs]


def _peers_between(before: Json, after: Json) -> dict[str, int]:
    known = {peer["url"]: peer["bytes_received"] for peer in before["peers"]}
    # A peer that was removed and added again began anew.
    return {peer["url"]: max(peer["bytes_received"] - known.get(peer["url"], 0), 0) for peer in after["peers"]}


def quantile(bins: Sequence[int], waited: Json, share: float) -> float | None:
    """Return the upper end of the bin below which ``share`` of the waits lie; the longest of all for the last bin."""
    wanted, seen = share * sum(bins), 0
    for bound_s, n in zip([*waited["bounds_s"], waited["longest_s"]], bins, strict=True):
        seen += n
        if n and seen >= wanted:
            return float(bound_s)
    return None
