"""What the engine asks of a peer, whatever it is made of: HTTP, a fake in a test, or a wrapper around either."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ..core.model import Binding, Blake3, ByteRange, Sha1
from ..core.wire import FileInfo
from .stats import PeerStats

WhenFull = Callable[[], memoryview | None]
"""Called in a thread by which a buffer came to be full; returns what to fill next, None to come back."""


class RangeStream(Protocol):
    """The bytes of one span on their way."""

    async def receive_into(self, buffer: memoryview, when_full: WhenFull | None = None) -> int:
        """Fill the front of ``buffer`` and return how many bytes: at least 1, 0 only once the whole span was given.

        Never more than the span in all. PeerError where the bytes stop coming. A checkpoint. Where ``buffer`` came to
        be full in a thread, ``when_full`` may have been called there (it saves the caller a hop): the caller looks.
        What that returns is filled too, and belongs to the span; what came into it counts in what is returned.
        """


class Peer(Protocol):
    """One peer, not trusted: what it answers is well formed and bounded, but not verified.

    Every method raises PeerError and its kinds, never anything else of the network's; each message names the peer.
    """

    @property
    def url(self) -> str: ...

    @property
    def stats(self) -> PeerStats: ...

    @property
    def peer_id(self) -> bytes | None:
        """Who it says it is, by whatever URL; None while that isn't known, and of who names no id."""

    async def connect(self) -> None:
        """Learn whether the peer speaks the protocol or is static; costs nothing once known.

        The other methods do it by themselves; this is for asking ahead, and for finding out whether it is there.
        """

    async def warm(self) -> None:
        """Have a connection at rest: two questions are about to be asked at once, and the second needs no handshake."""

    async def have(self, sha1s: Sequence[Sha1]) -> list[bool]:
        """Tell for each file whether the peer has some of it, under some manifest; in order."""

    async def describe(self, sha1: Sha1) -> FileInfo:
        """Return the peer's claim about a file's size and manifest; PeerLacksError without one."""

    async def presence(self, binding: Binding, group: int, n_blocks: int) -> list[bool]:
        """Tell for each of the ``n_blocks`` blocks of a group whether the peer has it; PeerLacksError for nothing."""

    async def get_manifest_part(self, digest: Blake3, max_bytes: int) -> bytes:
        """Return a root or a group, not verified."""

    def open_range(
        self, binding: Binding, span: ByteRange, *, is_partial: bool, size_bytes: int, wait_s: float = 0.0
    ) -> AbstractAsyncContextManager[RangeStream]:
        """Ask for ``span`` of a file of ``size_bytes``; the context holds one connection.

        ``is_partial``: by (H, M), from a peer that need not have the whole file. An empty span only of an empty file.
        ``wait_s``: how long such a peer may wait for each block that is missing there but on its way to it (at most
        ``wire.MAX_WAIT_S``); the answer may begin that much later, and comes as the blocks do. PeerLacksError where
        a block didn't come, perhaps after some of the bytes.
        """

    async def aclose(self) -> None:
        """Close every connection at once, also those in use; the peer is of no use after it."""
