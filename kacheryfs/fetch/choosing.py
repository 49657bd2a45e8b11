"""Who is asked for a block, and how: whoever has it, the reader that is to fetch it, or the origin.

While several mounts read one file, each unit of it has an owner among them (``core/ownership``). What nobody of them
has yet is asked of its owner, who may hold the answer back until the block has come to it; what is our own is asked of
those who have the whole file. Only what was guessed from reading, or is prefetched, is waited for in this way: it is
asked for early enough, and a reader who jumps about is better off with the origin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from ..core.choice import choose
from ..core.ownership import find_owner, unit_of
from .flights import Flight, Urgency
from .loads import Loads
from .openfile import OpenFile
from .providers import Provider, candidate_of

HOLD_S = 5.0
"""How long an owner may hold an answer back: what a window takes on an origin's line of 25 Mbit/s."""
MAX_HELD = 8
"""Answers that one peer holds back for us at once."""
SPARED = 4.0
"""Who has all of a file is thought this much slower than who has the part that is wanted: an origin is spared."""

Follows = Callable[[int], bool]
Source = Provider | bool
"""Who is to fetch a block from the origin: another reader, or ourselves (False); True: some reader has it already."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Whom to ask, and which blocks after the first may go with it."""

    provider: Provider
    may_follow: Follows
    is_full: bool = False
    """It has enough to do for now."""
    hold_s: float = 0.0


class Chooser:
    """Chooses for each run."""

    def __init__(self, loads: Loads, our_id: bytes | None) -> None:
        """``our_id`` is by what others know us, None where we serve nobody."""
        self._loads = loads
        self._our_id = our_id

    def choose(self, file: OpenFile, flight: Flight) -> Choice | None:
        """Return whom to ask for a block, none of those who were asked; None where there is nobody.

        One that has enough to do is returned only where all others have, too.
        """
        n_bytes = file.layout.block_size(flight.block)
        if not file.providers.has_partial:
            return self._choose_among(file.providers.usable_for(flight.block, flight.asked), flight, n_bytes, _any)
        source = self._source_of(file, flight.block)
        if isinstance(source, Provider) and flight.is_guessed and source.peer.url not in flight.asked:
            return self._wait_for(source, file)
        return self._choose_of_parts(file, flight, n_bytes, source)

    def _choose_of_parts(self, file: OpenFile, flight: Flight, n_bytes: int, source: Source) -> Choice | None:
        usable = file.providers.usable_for(flight.block, flight.asked)
        sure = [p for p in usable if not p.is_partial or p.has(flight.block)] or usable
        choice = self._choose_among(sure, flight, n_bytes, lambda block: self._source_of(file, block) is source)
        if choice is not None and choice.provider.is_partial:
            return Choice(choice.provider, choice.provider.has, choice.is_full)
        return choice

    def _choose_among(self, usable: list[Provider], flight: Flight, n_bytes: int, may_follow: Follows) -> Choice | None:
        free = [p for p in usable if not self._loads.is_full_for(Urgency.DEMAND, p.peer)] or usable
        is_spared = any(provider.is_partial for provider in free)
        candidates = [
            candidate_of(index, provider, self._loads, SPARED if is_spared and not provider.is_partial else 1.0)
            for index, provider in enumerate(free)
        ]
        index = choose(candidates, n_bytes)
        if index is None:
            return None
        return Choice(free[index], may_follow, self._loads.is_full_for(flight.urgency, free[index].peer))

    def _wait_for(self, owner: Provider, file: OpenFile) -> Choice:
        is_full = self._loads.of(owner.peer).n_held >= MAX_HELD
        return Choice(owner, lambda block: self._source_of(file, block) is owner, is_full, HOLD_S)

    def _source_of(self, file: OpenFile, block: int) -> Source:
        partial = [provider for provider in file.providers.usable() if provider.is_partial]
        if any(provider.has(block) for provider in partial):
            return True
        now = trio.current_time()
        readers = {p.peer.peer_id: p for p in partial if p.peer.peer_id and p.may_hold(block, now)}
        ids = {peer_id for peer_id in (*readers, self._our_id) if peer_id}
        owner = find_owner(ids, file.binding, unit_of(block, file.layout.block_bytes))
        return readers.get(owner, False) if owner else False


def _any(block: int) -> bool:
    return True
