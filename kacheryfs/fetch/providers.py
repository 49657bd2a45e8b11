"""Who has one file, and how much of it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import trio

from ..core.choice import Candidate, expected_s
from ..core.manifest import GROUP_BLOCKS
from ..core.model import Binding, BlockRange
from ..core.rate import MIN_RATE_BYTES_PER_S
from ..errors import PeerError, PeerLackedGroupError, PeerLacksError, PeerLiedError
from ..peers.peer import Peer
from .flights import Flight
from .loads import Loads
from .peerset import PeerSet

log = logging.getLogger(__name__)

PRESENCE_FRESH_S = 2.0
EXTENT_BLOCKS = 64
"""The store notes by so many blocks what somebody has under way."""
HOLDS_AGAIN_S = 2.0
HELD_TOO_LONG_S = 10.0
"""Who froze isn't waited for at every unit that it owns."""
LACKS_FOR_S = 5.0
"""A provider that answered "I don't have it" is asked again after this."""


@dataclass(slots=True)
class Presence:
    """What a partial provider said that it has of one group, and when."""

    blocks: list[bool]
    asked_at: float


@dataclass(slots=True)
class Provider:
    """One peer as the provider of one file."""

    peer: Peer
    is_partial: bool
    lacks_until: float = 0.0
    refusal: str = ""
    """What it said when it lacked the file: that it has none, or that its original was changed."""
    presence: dict[int, Presence] = field(default_factory=dict)
    holds_again_at: dict[int, float] = field(default_factory=dict)
    """When it may be asked again to hold an answer back, by extent: nothing of that was on its way to it."""
    holds_any_again_at: float = 0.0

    def note_lack(self, error: PeerLacksError) -> None:
        """Ask it no more for a moment, and remember why."""
        self.lacks_until, self.refusal = trio.current_time() + LACKS_FOR_S, str(error)

    def may_have(self, block: int, now: float) -> bool:
        """Tell whether asking for ``block`` makes sense: it is there, or nothing fresh says that it isn't."""
        if not self.is_partial:
            return True
        known = self.presence.get(block // GROUP_BLOCKS)
        if known is None or now - known.asked_at > PRESENCE_FRESH_S:
            return True
        return known.blocks[block % GROUP_BLOCKS]

    def has(self, block: int) -> bool:
        """Tell whether it said that it has ``block``."""
        known = self.presence.get(block // GROUP_BLOCKS)
        return known is not None and known.blocks[block % GROUP_BLOCKS]

    def may_hold(self, block: int, now: float) -> bool:
        """Tell whether it may be asked for a block that it lacks, and to answer when that has come to it."""
        return now >= max(self.holds_any_again_at, self.holds_again_at.get(block // EXTENT_BLOCKS, 0.0))

    def note_held_nothing(self, block: int, now: float) -> None:
        """Remember that nothing around ``block`` is on its way to it."""
        self.holds_again_at = {extent: at for extent, at in self.holds_again_at.items() if at > now}
        self.holds_again_at[block // EXTENT_BLOCKS] = now + HOLDS_AGAIN_S

    def note_held_too_long(self, now: float) -> None:
        """Remember that it held an answer back for longer than somebody could wait."""
        self.holds_any_again_at = now + HELD_TOO_LONG_S

    def note_presence(self, group: int, blocks: list[bool], now: float) -> None:
        """Remember which blocks of a group it has; what is known of others is forgotten once it isn't fresh."""
        fresh = {g: known for g, known in self.presence.items() if now - known.asked_at <= PRESENCE_FRESH_S}
        self.presence = fresh | {group: Presence(blocks, now)}

    def cut_to_present(self, blocks: BlockRange) -> BlockRange:
        """Return the leading blocks that it has, as far as presence is known."""
        stop = blocks.start
        while stop < blocks.stop and self.has(stop):
            stop += 1
        return BlockRange(blocks.start, stop)


class ProviderBook:
    """The providers of one file."""

    def __init__(self, binding: Binding, peers: PeerSet) -> None:
        self._binding = binding
        self._peers = peers
        self._providers: dict[str, Provider] = {}

    def __iter__(self) -> Iterator[Provider]:
        return iter(self._providers.values())

    def __len__(self) -> int:
        return len(self._providers)

    def add(self, peer: Peer, *, is_partial: bool) -> None:
        known = self._providers.get(peer.url)
        if known is None or known.peer is not peer:
            self._providers[peer.url] = Provider(peer, is_partial)
        else:
            known.is_partial, known.lacks_until = is_partial, 0.0

    def knows(self, peer: Peer) -> bool:
        known = self._providers.get(peer.url)
        return known is not None and known.peer is peer and known.lacks_until <= trio.current_time()

    @property
    def has_partial(self) -> bool:
        """Whether anybody is known who has a part of the file: somebody may be reading it, as we are."""
        return any(provider.is_partial for provider in self._providers.values())

    def usable(self) -> list[Provider]:
        """Return the providers that may be asked now: neither banned nor resting nor known to lack the file."""
        now = trio.current_time()
        return [
            provider
            for provider in self._providers.values()
            if provider.lacks_until <= now
            and not self._peers.is_resting(provider.peer)
            and not self._peers.is_ourselves(provider.peer)
            and self._find_ban(provider.peer) is None
        ]

    def usable_for(self, block: int, tried: Collection[str]) -> list[Provider]:
        """Return those that may be asked for ``block`` now, none of those whose URLs were tried."""
        now = trio.current_time()
        return [p for p in self.usable() if p.peer.url not in tried and p.may_have(block, now)]

    @property
    def best_rate_bytes_per_s(self) -> float:
        """What the fastest of those delivers who may be asked now: by it dear files are told from cheap ones."""
        rates = [provider.peer.stats.rate_bytes_per_s for provider in self.usable()]
        return max((rate for rate in rates if rate), default=MIN_RATE_BYTES_PER_S)

    def is_faster_than_asking(self, n_bytes: int) -> bool:
        """Whether somebody who may be asked now delivers so much in less time than a question and its answer take."""
        every = [provider.peer.stats for provider in self.usable()]
        return any(n_bytes <= (stats.rate_bytes_per_s or 0.0) * (stats.round_trip_s or 0.0) for stats in every)

    def count_partial(self, block: int) -> int:
        """Count the providers of a part that are known to have ``block``: whoever has all of the file has it too."""
        return sum(p.is_partial and p.has(block) for p in self._providers.values())

    def find_expected_s(self, flight: Flight, n_bytes: int, loads: Loads) -> float | None:
        """Return how soon the best who wasn't asked for a block should deliver it, None where there is nobody."""
        others = self.usable_for(flight.block, flight.asked)
        return min((expected_s(candidate_of(0, other, loads), n_bytes) for other in others), default=None)

    def blame(self, provider: Provider, error: PeerError) -> None:
        """Take note of why a run of ``provider`` broke off."""
        log.log(error.log_level, "sha1 %s: %s", self._binding.sha1.short, error)
        if isinstance(error, PeerLackedGroupError):
            return
        if isinstance(error, PeerLiedError):
            self._peers.ban(provider.peer, self._binding.sha1, self._binding.manifest, str(error))
        elif isinstance(error, PeerLacksError) and not provider.is_partial:
            provider.note_lack(error)
        self._peers.note_failure(provider.peer, error)

    def _find_ban(self, peer: Peer) -> str | None:
        return self._peers.find_ban(peer, self._binding.sha1, self._binding.manifest)

    def words(self) -> list[str]:
        """Return what each peer said of this file, for the message of a read that fails."""
        if not len(self._peers):
            return ["no peer is configured: kacheryfs peer add URL"]
        return [f"{peer.url}: {self._word_of(peer).removeprefix(f'{peer.url}: ')}" for peer in self._peers]

    def _word_of(self, peer: Peer) -> str:
        if reason := self._find_ban(peer):
            return f"not asked, {reason.removeprefix(f'{peer.url}: ')}"
        if self._peers.is_resting(peer):
            return self._peers.last_word(peer)
        provider = self._providers.get(peer.url)
        if provider is None:
            return "does not have it"
        if provider.lacks_until > trio.current_time():
            return provider.refusal
        return "has a part of it" if provider.is_partial else self._peers.last_word(peer)


def candidate_of(index: int, provider: Provider, loads: Loads, slower: float = 1.0) -> Candidate:
    """Return what is known of a provider now."""
    stats = provider.peer.stats
    return Candidate(index, stats.round_trip_s, stats.rate_bytes_per_s, loads.of(provider.peer).n_bytes, slower)
