"""What a running engine tells of itself, as JSON: peers, files, waiting reads, the store."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from ..fetch.engine import Engine
    from ..fetch.openfile import OpenFile
    from ..fetch.waits import Wait
    from ..peers.peer import Peer
    from ..store.blocks import Store

Json = dict[str, Any]

MAX_WAITS = 1000
"""So many are told one by one; ``n_waits`` counts them all."""


def report_engine(engine: Engine) -> Json:
    """Return the state of everything that changes while files are read."""
    waits = sorted(engine.waits, key=lambda wait: wait.since)
    return {
        "peers": [report_peer(engine, peer) for peer in engine.peers],
        "files": [_report_file(file) for file in engine.files],
        "n_waits": len(waits),
        "waits": [_report_wait(wait) for wait in waits[:MAX_WAITS]],
    }


def report_peer(engine: Engine, peer: Peer) -> Json:
    stats = peer.stats
    return {
        "url": peer.url,
        "is_reachable": stats.last_answer_at is not None and not engine.peers.is_resting(peer),
        "says": engine.peers.last_word(peer),
        "round_trip_s": stats.round_trip_s,
        "rate_bytes_per_s": stats.rate_bytes_per_s,
        "bytes_received": stats.bytes_received,
        "n_requests": stats.n_requests,
        "last_error": stats.last_error,
    }


def _report_file(file: OpenFile) -> Json:
    manifest = file.proof.manifest
    return {
        "sha1": file.proof.sha1.hex,
        "manifest": manifest and manifest.hex,
        "size_bytes": file.layout.size_bytes,
        "present_bytes": file.stored.present_bytes,
        "trust": file.trust.value,
        "n_readers": file.n_readers,
        "n_flights": len(file.flights),
        "retired": file.retired or file.contested,
    }


def _report_wait(wait: Wait) -> Json:
    layout = wait.file.layout
    span = layout.bytes_of(wait.blocks)
    return {
        "sha1": wait.file.proof.sha1.hex,
        "start": span.start,
        "stop": span.stop,
        "waiting_s": trio.current_time() - wait.since,
        "for": wait.file.providers.words(),
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


def _free_bytes(store: Store) -> int | None:
    try:
        return shutil.disk_usage(store.root).free
    except OSError:
        return None  # the folder was removed under us: that is not what is asked
