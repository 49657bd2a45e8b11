"""What a running engine tells of itself, as JSON: peers, files, waiting reads, what it has done, the store."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import trio

from ..errors import StoreError
from ..fetch.counters import WAIT_BOUNDS_S

if TYPE_CHECKING:
    from ..core.model import Sha1
    from ..fetch.counters import Tally
    from ..fetch.engine import Engine
    from ..fetch.openfile import OpenFile
    from ..fetch.waits import Wait
    from ..peers.peer import Peer
    from ..store.blocks import Store

Json = dict[str, Any]
Labels = Mapping["Sha1", str]

MAX_WAITS = 1000
"""So many are told one by one; ``n_waits`` counts them all."""


def report_engine(engine: Engine, labels: Labels) -> Json:
    """Return the state of everything that changes while files are read; ``labels`` are names for people."""
    waits = sorted(engine.waits, key=lambda wait: wait.since)
    return {
        "is_offline": engine.peers.is_offline,
        "peers": [report_peer(engine, peer) for peer in engine.peers],
        "files": [report_file(file, labels) for file in engine.files],
        "n_waits": len(waits),
        "waits": [report_wait(wait, labels) for wait in waits[:MAX_WAITS]],
        **_report_counters(engine),
    }


def _report_counters(engine: Engine) -> Json:
    """Return what only grows; two of them tell what went on between them."""
    counters = engine.counters
    return {
        "reads": {
            "from_memory": _report_tally(counters.from_memory),
            "from_store": _report_tally(counters.from_store),
            "from_network": _report_tally(counters.from_network),
        },
        "waited": {
            "bounds_s": list(WAIT_BOUNDS_S),
            "bins": list(counters.waited.bins),
            "total_s": counters.waited.total_s,
            "longest_s": counters.waited.longest_s,
        },
        "received_bytes": counters.received_bytes,
        "wasted_bytes": counters.wasted_bytes,
    }


def _report_tally(tally: Tally) -> Json:
    return {"n_reads": tally.n_reads, "n_bytes": tally.n_bytes}


def report_peer(engine: Engine, peer: Peer) -> Json:
    stats = peer.stats
    received = engine.counters.received.get(peer.url)
    return {
        "url": peer.url,
        "is_asked": not engine.peers.is_offline,
        "is_reachable": stats.last_answer_at is not None and not engine.peers.is_resting(peer),
        "says": engine.peers.last_word(peer),
        "round_trip_s": stats.round_trip_s,
        "rate_bytes_per_s": stats.rate_bytes_per_s,
        "bytes_received": stats.bytes_received,
        "wasted_bytes": received.wasted_bytes if received else 0,
        "n_bans": engine.peers.count_bans(peer),
        "n_requests": stats.n_requests,
        "last_error": stats.last_error,
    }


def report_file(file: OpenFile, labels: Labels) -> Json:
    manifest = file.proof.manifest
    return {
        "sha1": file.proof.sha1.hex,
        "label": labels.get(file.proof.sha1, ""),
        "manifest": manifest and manifest.hex,
        "size_bytes": file.layout.size_bytes,
        "present_bytes": file.stored.present_bytes,
        "trust": file.trust.value,
        "n_readers": file.n_readers,
        "n_flights": len(file.flights),
        "retired": file.retired or file.contested,
    }


def report_wait(wait: Wait, labels: Labels) -> Json:
    span = wait.file.layout.bytes_of(wait.blocks)
    now = trio.current_time()
    return {
        "sha1": wait.file.proof.sha1.hex,
        "label": labels.get(wait.file.proof.sha1, ""),
        "start": span.start,
        "stop": span.stop,
        "waiting_s": now - wait.since,
        "gives_up_in_s": wait.scope.deadline - now,
        "for": wait.file.words(),
    }


def report_store(store: Store) -> Json:
    """Return what the store holds; blocking."""
    files = list(store.files())
    return {
        "path": str(store.root),
        "is_writable": store.is_writable,
        "n_files": len(files),
        "n_complete": sum(file.is_proven for file in files),
        "present_bytes": sum(file.present_bytes for file in files),
        "free_bytes": _free_bytes(store),
    }


def report_cache(store: Store) -> Json | None:
    """Return what the cache takes and has given back, None where its folder was removed under us; blocking."""
    try:
        return asdict(store.cache.stats())
    except StoreError:
        return None


def _free_bytes(store: Store) -> int | None:
    try:
        return shutil.disk_usage(store.root).free
    except OSError:
        return None  # the folder was removed under us: that is not what is asked
