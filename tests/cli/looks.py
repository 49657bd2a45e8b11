"""What a mount answers to ``watch`` and ``why``, for tests of what is shown of it."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

URL = "http://lab2.example:27180"
SHA1 = "2b6f" * 10
BOUNDS_S = (0.01, 0.1, 1.0)


def peer(url: str = URL, **changed: Any) -> Json:
    return {
        "url": url,
        "is_asked": True,
        "is_reachable": True,
        "says": "answers",
        "round_trip_s": 0.02,
        "rate_bytes_per_s": 25e6,
        "bytes_received": 0,
        "wasted_bytes": 0,
        "n_bans": 0,
        "n_requests": 3,
        "last_error": None,
        **changed,
    }


def file(**changed: Any) -> Json:
    return {
        "sha1": SHA1,
        "label": "rec.dat",
        "manifest": None,
        "size_bytes": 1_000_000_000,
        "present_bytes": 250_000_000,
        "trust": "linked",
        "n_readers": 1,
        "n_flights": 4,
        "retired": None,
        **changed,
    }


def wait(**changed: Any) -> Json:
    return {
        "sha1": SHA1,
        "label": "rec.dat",
        "start": 262_144,
        "stop": 393_216,
        "waiting_s": 14.2,
        "gives_up_in_s": 285.8,
        "for": [f"{URL}: answers"],
        **changed,
    }


def reads(memory: int = 0, store: int = 0, network: int = 0) -> Json:
    """Return so many reads of 128 KiB each."""
    kinds = {"from_memory": memory, "from_store": store, "from_network": network}
    return {kind: {"n_reads": n, "n_bytes": n * 131_072} for kind, n in kinds.items()}


def waited(*bins: int, longest_s: float = 0.0) -> Json:
    return {"bounds_s": list(BOUNDS_S), "bins": list(bins or (0, 0, 0, 0)), "total_s": 0.0, "longest_s": longest_s}


def cache(**changed: Any) -> Json:
    return {
        "limit_bytes": 50_000_000_000,
        "used_bytes": 12_300_000_000,
        "pinned_bytes": 0,
        "evicted_bytes": 0,
        **changed,
    }


def mount(**changed: Any) -> Json:
    return {
        "mountpoint": "/home/ann/kachery",
        "pid": 812,
        "is_offline": False,
        "peers": [peer()],
        "files": [file()],
        "n_waits": 0,
        "waits": [],
        "reads": reads(),
        "waited": waited(),
        "received_bytes": 0,
        "wasted_bytes": 0,
        "cache": cache(),
        **changed,
    }
