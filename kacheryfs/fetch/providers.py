"""Who has one file, and how much of it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import trio

from ..core.choice import Candidate, choose
from ..core.manifest import GROUP_BLOCKS
from ..core.model import Binding, BlockRange
from ..errors import PeerError, PeerLackedGroupError, PeerLacksError, PeerLiedError
from ..peers.peer import Peer
from .loads import Loads
from .peerset import PeerSet

log = logging.getLogger(__name__)

PRESENCE_FRESH_S = 2.0
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

    def note_presence(self, group: int, blocks: list[bool], now: float) -> None:
        """Remember which blocks of a group it has; what is known of others is forgotten once it isn't fresh."""
        fresh = {g: known for g, known in self.presence.items() if now - known.asked_at <= PRESENCE_FRESH_S}
        self.presence = fresh | {group: Presence(blocks, now)}

    def cut_to_present(self, blocks: BlockRange) -> BlockRange:
        """Return the leading blocks that it has, as far as presence is known."""
        stop = blocks.start
        while stop < blocks.stop:
            known = self.presence.get(stop // GROUP_BLOCKS)
            if known is None or not known.blocks[stop % GROUP_BLOCKS]:
                break
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

    def add(self, peer: Peer, *, is_partial: bool) -> None:
        known = self._providers.get(peer.url)
        if known is None or known.peer is not peer:
            self._providers[peer.url] = Provider(peer, is_partial)
        else:
            known.is_partial, known.lacks_until = is_partial, 0.0

    def knows(self, peer: Peer) -> bool:
        known = self._providers.get(peer.url)
        return known is not None and known.peer is peer and known.lacks_until <= trio.current_time()

    def usable(self) -> list[Provider]:
        """Return the providers that may be asked now: neither banned nor resting nor known to lack the file."""
        now = trio.current_time()
        return [
            provider
            for provider in self._providers.values()
            if provider.lacks_until <= now
            and not self._peers.is_resting(provider.peer)
            and self._find_ban(provider.peer) is None
        ]

    def choose(self, block: int, n_bytes: int, tried: Collection[str], loads: Loads) -> Provider | None:
        """Return the provider that should deliver ``block`` first, none of those whose URLs were tried.

        One that has enough to do is returned only where all others have, too.
        """
        now = trio.current_time()
        usable = [p for p in self.usable() if p.peer.url not in tried and p.may_have(block, now)]
        usable = [p for p in usable if not loads.of(p.peer).is_full] or usable
        candidates = [
            Candidate(
                index,
                provider.peer.stats.round_trip_s,
                provider.peer.stats.rate_bytes_per_s,
                loads.of(provider.peer).n_bytes,
            )
            for index, provider in enumerate(usable)
        ]
        index = choose(candidates, n_bytes)
        return None if index is None else usable[index]

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
            return f"not asked, {reason}"
        if self._peers.is_resting(peer):
            return self._peers.last_word(peer)
        provider = self._providers.get(peer.url)
        if provider is None:
            return "does not have it"
        if provider.lacks_until > trio.current_time():
            return provider.refusal
        return "has a part of it" if provider.is_partial else self._peers.last_word(peer)
