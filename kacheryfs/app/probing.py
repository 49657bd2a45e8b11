"""Asks peers for a sign of life, or about one file, without an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio

from ..core.model import Sha1
from ..errors import PeerError, PeerLacksError
from ..peers.peer import Peer

Json = dict[str, Any]

ANSWERS = "answers"
_NOBODYS = Sha1(b"\0" * 20)


async def probe(peers: Sequence[Peer], timeout_s: float) -> list[Json]:
    """Tell of each peer whether it answers, in order; in the words of the running mount's status. Closes them."""
    answers = await _ask_all(peers, _NOBODYS, timeout_s)
    return [
        _peer_row(answer["url"], answer["error"] or ANSWERS, is_asked=True, round_trip_s=answer["round_trip_s"])
        for answer in answers
    ]


def spare(urls: Sequence[str]) -> list[Json]:
    """Tell of each peer that it is not asked, since nobody is."""
    return [_peer_row(url, "not asked, offline", is_asked=False) for url in urls]


def _peer_row(url: str, says: str, *, is_asked: bool, round_trip_s: float | None = None) -> Json:
    return {
        "url": url,
        "is_asked": is_asked,
        "is_reachable": says == ANSWERS,
        "says": says,
        "round_trip_s": round_trip_s,
        "rate_bytes_per_s": None,
        "bytes_received": 0,
        "n_bans": 0,
    }


async def ask_providers(peers: Sequence[Peer], sha1: Sha1, timeout_s: float) -> list[Json]:
    """Tell of each peer whether it has a file, and what it claims about it. Closes them."""
    return await _ask_all(peers, sha1, timeout_s)


async def _ask_all(peers: Sequence[Peer], sha1: Sha1, timeout_s: float) -> list[Json]:
    answers: list[Json] = [{} for _ in peers]
    async with trio.open_nursery() as nursery:
        for answer, peer in zip(answers, peers, strict=True):
            nursery.start_soon(_ask, peer, sha1, timeout_s, answer)
    return answers


async def _ask(peer: Peer, sha1: Sha1, timeout_s: float, answer: Json) -> None:
    answer |= {"url": peer.url, "has": "nothing", "size_bytes": None, "manifest": None, "error": None}
    try:
        with trio.fail_after(timeout_s):
            if (await peer.have([sha1]))[0]:
                answer["has"] = "a part"
                info = await peer.describe(sha1)
                manifest = info.manifest.hex if info.manifest else None
                answer |= {"has": "all", "size_bytes": info.size_bytes, "manifest": manifest}
    except trio.TooSlowError:
        answer |= {"has": "unknown", "error": f"no answer within {timeout_s:g} s"}
    except PeerLacksError:
        pass  # it has a part, under somebody else's manifest
    except PeerError as exc:
        answer |= {"has": "unknown", "error": str(exc)}
    finally:
        answer["round_trip_s"] = peer.stats.round_trip_s
        with trio.CancelScope(shield=True):
            await peer.aclose()
