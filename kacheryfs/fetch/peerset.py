"""The peers that are asked, how each has done lately, and who is banned for what."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import trio

from ..core.model import ManifestDigest, Sha1
from ..errors import PeerError, PeerUnreachableError
from ..peers.peer import Peer
from .tasks import Tasks

log = logging.getLogger(__name__)

FIRST_REST_S = 0.25
LONGEST_REST_S = 5.0
"""A peer that fell silent is asked again after 0.25, 0.5, … 5 s: a reader that waits for it waits that much longer."""
FIRST_BAN_S = 60.0
LONGEST_BAN_S = 3600.0
MAX_BANS = 10_000
PING_TIMEOUT_S = 5.0
_NOBODYS = Sha1(b"\0" * 20)


@dataclass(slots=True)
class _Health:
    peer: Peer
    last_word: str = "not asked yet"
    is_resting: bool = False


@dataclass(slots=True)
class _Ban:
    until: float
    duration_s: float
    reason: str


class PeerSet:
    """The configured peers; a peer that fails rests until it answers a ping. Offline all of them rest, for good."""

    def __init__(self, tasks: Tasks, *, our_id: bytes | None = None, is_offline: bool = False) -> None:
        self._tasks = tasks
        self._our_id = our_id
        self.is_offline = is_offline
        self._health: dict[str, _Health] = {}
        self._bans: dict[tuple[str, Sha1, ManifestDigest | None], _Ban] = {}
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever a peer is added or answers again."""
        self._listeners.append(listener)

    def __iter__(self) -> Iterator[Peer]:
        return iter([health.peer for health in self._health.values()])

    def __len__(self) -> int:
        return len(self._health)

    def find(self, url: str) -> Peer | None:
        health = self._health.get(url)
        return health.peer if health else None

    def add(self, peer: Peer) -> None:
        if peer.url in self._health:
            return
        health = _Health(peer)
        self._health[peer.url] = health
        if self.is_offline:
            health.last_word, health.is_resting = "not asked, offline", True
            return
        self._tasks.start_soon(self._greet, health)
        self._announce()

    async def remove(self, url: str) -> None:
        health = self._health.pop(url)
        await health.peer.aclose()

    def is_resting(self, peer: Peer) -> bool:
        """Tell whether to leave ``peer`` alone: it doesn't answer, or was removed (its URL may have another now)."""
        health = self._health.get(peer.url)
        return health is None or health.peer is not peer or health.is_resting

    def is_ourselves(self, peer: Peer) -> bool:
        """Tell whether ``peer`` serves the very store that we read into: it has nothing that we lack."""
        return self._our_id is not None and peer.peer_id == self._our_id

    def last_word(self, peer: Peer) -> str:
        health = self._health.get(peer.url)
        return health.last_word if health else "removed"

    def note_success(self, peer: Peer) -> None:
        health = self._health.get(peer.url)
        if health is not None and health.peer is peer:
            health.last_word = "answers"

    def note_failure(self, peer: Peer, error: PeerError) -> None:
        """Remember what a peer said; one that can't be reached rests until it answers again."""
        health = self._health.get(peer.url)
        if health is None or health.peer is not peer:
            return
        health.last_word = str(error)
        if isinstance(error, PeerUnreachableError) and not health.is_resting:
            log.log(error.log_level, "%s rests: %s", peer.url, error)
            health.is_resting = True
            self._tasks.start_soon(self._revive, health)

    def ban(self, peer: Peer, sha1: Sha1, manifest: ManifestDigest | None, reason: str) -> None:
        """Ask ``peer`` no more for this file under this manifest for a while, twice as long each time.

        None: for what it claims of the bare name. What fails a stranger's false manifest may be the true bytes, so a
        ban never holds for another manifest.
        """
        now = trio.current_time()
        name = (peer.url, sha1, manifest)
        old = self._bans.get(name)
        if old and old.until > now:
            return
        duration_s = min(old.duration_s * 2, LONGEST_BAN_S) if old else FIRST_BAN_S
        log.warning("%s is not asked for sha1 %s for %.0f s: %s", peer.url, sha1.short, duration_s, reason)
        self._bans.pop(name, None)
        while len(self._bans) >= MAX_BANS:
            del self._bans[next(iter(self._bans))]  # the oldest
        self._bans[name] = _Ban(now + duration_s, duration_s, reason)

    def find_ban(self, peer: Peer, sha1: Sha1, manifest: ManifestDigest | None = None) -> str | None:
        """Return why ``peer`` is not asked for this file under this manifest now, None where it may be."""
        if not self._bans:
            return None  # as nearly always, and asked for each provider of each run: hashing the name takes 2 µs
        ban = self._bans.get((peer.url, sha1, manifest))
        return ban.reason if ban and ban.until > trio.current_time() else None

    def count_bans(self, peer: Peer) -> int:
        """Return for how many files ``peer`` is not asked now, since it lied about them."""
        now = trio.current_time()
        return sum(url == peer.url and ban.until > now for (url, _, _), ban in self._bans.items())

    async def _greet(self, health: _Health) -> None:
        await self._ping(health)

    async def _revive(self, health: _Health) -> None:
        rest_s = FIRST_REST_S
        while health.is_resting and self._health.get(health.peer.url) is health:
            await trio.sleep(rest_s)
            await self._ping(health)
            rest_s = min(rest_s * 2, LONGEST_REST_S)

    async def _ping(self, health: _Health) -> None:
        try:
            with trio.fail_after(PING_TIMEOUT_S):
                await health.peer.connect()
                await health.peer.have([_NOBODYS])
        except trio.TooSlowError:
            self.note_failure(
                health.peer, PeerUnreachableError(f"{health.peer.url}: no answer within {PING_TIMEOUT_S:.0f} s")
            )
        except PeerError as exc:
            self.note_failure(health.peer, exc)
            if not isinstance(exc, PeerUnreachableError):
                health.is_resting = False
        else:
            health.last_word = "answers"
            if health.is_resting:
                health.is_resting = False
                log.info("%s answers again", health.peer.url)
                self._announce()

    def _announce(self) -> None:
        for listener in self._listeners:
            listener()
