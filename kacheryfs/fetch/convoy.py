"""Batches of one run that a thread receives, verifies and stores one after the other, without coming back between them.

A hop to a thread and back takes 0.1 ms while the event loop is idle, and 1 to 2 ms beside a reader that makes it
answer the kernel: as long as a batch of 1 MiB itself. So the thread goes on by itself while bytes come, and only posts
what has landed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

import trio

from ..core.manifest import VerifiedBlock
from ..core.model import BlockRange
from ..errors import ProofError
from .openfile import OpenFile
from .recent import Buffer

LONGEST_HOP_S = 0.05
"""After this the thread comes back for the next batch: until it is back, nobody can cancel it."""
MAX_BATCHES = 8


class Checking:
    """Verifies and stores a batch that was received; called once, in a thread."""

    def __init__(self, file: OpenFile, blocks: BlockRange, buffer: Buffer) -> None:
        """``buffer`` is at least as long as the blocks."""
        self.blocks = blocks
        self.buffer = buffer
        self.view = memoryview(buffer)[: len(file.layout.bytes_of(blocks))]
        self.landed: list[VerifiedBlock | None] = []
        """What came before the first false block: None each, or the block itself where the store can't keep it."""
        self.error: ProofError | None = None
        self._file = file

    @property
    def is_ready(self) -> bool:
        """Whether all that it verifies by is there."""
        proof = self._file.proof
        return all(proof.missing_group(block) is None for block in (self.blocks.start, self.blocks.stop - 1))

    def __call__(self) -> None:
        verified = []
        for block in self.blocks:
            try:
                verified.append(self._file.proof.verify(block, self._data_of(block)))
            except ProofError as exc:
                self.error = exc
                break
        if verified and self._file.stored.put_all(verified):
            self.landed = [None] * len(verified)
        else:
            self.landed = [self._put(block) for block in verified]

    def _data_of(self, block: int) -> memoryview:
        layout = self._file.layout
        at = (block - self.blocks.start) * layout.block_bytes
        return self.view[at : at + layout.block_size(block)]

    def _put(self, block: VerifiedBlock) -> VerifiedBlock | None:
        if self._file.stored.put(block):
            return None
        # The buffer is used again: what the store can't keep is verified anew on a copy of its own.
        return self._file.proof.verify(block.index, bytes(block.data))


class Convoy:
    """Consecutive batches, the first of them first. ``advance`` runs in a thread while nothing else here is used."""

    def __init__(
        self,
        checkings: Sequence[Checking],
        *,
        on_received: Callable[[int], None],
        on_checked: Callable[[Checking], None],
    ) -> None:
        """Both are called in the event loop: with how many more bytes came, and with each batch once it is checked.

        What they raise comes out of ``raise_error``.
        """
        self._checkings = checkings
        self._on_received = on_received
        self._on_checked = on_checked
        self._token = trio.lowlevel.current_trio_token()
        self._n_checked = 0
        self._received_bytes = 0
        self._checked_bytes = 0
        self._told_bytes = 0  # of those received; each counts all batches
        self._untold: deque[tuple[Checking, int]] = deque()
        self._back_at = 0.0
        self._failure: Exception | None = None

    @property
    def front(self) -> Checking | None:
        """The first batch that isn't checked; None once all are."""
        return self._checkings[self._n_checked] if self._n_checked < len(self._checkings) else None

    @property
    def rest(self) -> memoryview:
        """What of the first batch has still to be received."""
        return self._checkings[self._n_checked].view[self._received_bytes - self._checked_bytes :]

    def begin_hop(self) -> None:
        """Let a thread go on by itself for so long from now."""
        self._back_at = time.monotonic() + LONGEST_HOP_S

    def note_received(self, n_bytes: int) -> None:
        """Count what a hop has brought, checked or not."""
        self.tell()
        self._received_bytes += n_bytes
        self._tell_received(self._received_bytes)

    def advance(self) -> memoryview | None:
        """Check the first batch, which is full; return the next one's buffer where the thread may go on."""
        checking = self._checkings[self._n_checked]
        checking()
        self._n_checked += 1
        self._checked_bytes += len(checking.view)
        self._untold.append((checking, self._checked_bytes))
        following = self.front
        if following is None or checking.error or not following.is_ready or time.monotonic() > self._back_at:
            return None
        self._token.run_sync_soon(self.tell)  # of the last one whoever called tells, so that the run ends with it
        return following.view

    def raise_error(self) -> None:
        """Raise what was found wrong with a batch; ProofError, or what ``on_checked`` raised."""
        if self._failure is not None:
            raise self._failure
        for checking in self._checkings[: self._n_checked]:
            if checking.error is not None:
                raise checking.error

    def tell(self) -> None:
        """Tell of what was checked and not told of yet; called when a thread is back, too."""
        while self._untold:
            checking, received_bytes = self._untold.popleft()
            try:
                self._tell_received(received_bytes)
                self._on_checked(checking)
            except Exception as exc:  # an outer edge: trio ends at what a posted call raises, and with it the mount
                self._failure = exc

    def _tell_received(self, received_bytes: int) -> None:
        if received_bytes > self._told_bytes:
            self._on_received(received_bytes - self._told_bytes)
            self._told_bytes = received_bytes
