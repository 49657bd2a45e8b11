"""What every reader of one binding shares: its proof, its place in the store, its providers and its flights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ..core.manifest import Proof, binding_of
from ..core.model import Binding, Layout
from ..core.request import Trust
from ..errors import ClaimError
from ..peers.peer import Peer
from ..store.blocks import StoredFile
from .flights import Flight
from .providers import ProviderBook

if TYPE_CHECKING:
    from .recent import Batch


class OpenFile:
    """One binding's shared state within this process."""

    def __init__(self, proof: Proof, stored: StoredFile, providers: ProviderBook, trust: Trust) -> None:
        self.proof = proof
        self.stored = stored
        self.providers = providers
        self.trust = trust
        self.flights: dict[int, Flight] = {}
        self.recent: dict[int, Batch] = {}
        """The batch in which each block was fetched, while it is in memory; ``Recent``'s."""
        self.claimants: list[Peer] = []
        """Who claimed this manifest; banned if it turns out false."""
        self.retired: str | None = None
        """Why nothing is read from it any more: its manifest was proven false."""
        self.contested: str | None = None
        """Why nothing is read from it on claims alone for now: peers disagree."""
        self.own_word: str | None = None
        """Why this machine's own copy isn't read."""
        self.waiting: dict[trio.CancelScope, Trust] = {}
        """The reads that wait, each with the trust that its name gives it."""
        self.n_readers = 0
        self.is_being_proven = False
        self.is_left_open = False
        """A thread that nobody waits for any more reads it: it is closed by the end of the process."""

    @property
    def layout(self) -> Layout:
        return self.proof.layout

    @property
    def binding(self) -> Binding:
        return binding_of(self.proof)

    def words(self) -> list[str]:
        """Return why nobody serves it, each peer in turn, for the message of a read that fails."""
        return [*([self.own_word] if self.own_word else []), *self.providers.words()]

    def retire(self, reason: str) -> None:
        """Let nobody read from it any more."""
        self.retired = reason
        self.recent.clear()
        for scope in list(self.waiting):
            scope.cancel()

    def contest(self, reason: str) -> None:
        """Let nobody read from it on claims alone until they agree again; links go on."""
        self.contested = reason
        for scope, trust in list(self.waiting.items()):
            if trust is Trust.CLAIMED and self.trust is not Trust.PROVEN:
                scope.cancel()

    def check_readable(self, trust: Trust) -> None:
        """Raise ClaimError where the file must not be read under a name of this trust."""
        reason = self.retired
        if reason is None and trust is Trust.CLAIMED and self.trust is not Trust.PROVEN:
            reason = self.contested
        if reason is not None:
            raise ClaimError(f"sha1 {self.proof.sha1.short}: {reason}")
