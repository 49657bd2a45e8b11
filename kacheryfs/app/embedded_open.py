"""What a remote file is read from: an original of this machine, or the store, and the engine for what is missing.

What is here already is read in the caller's own thread: a hop to the engine's and back takes 0.1 ms, as long as
reading 256 KiB.
"""

from __future__ import annotations

import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio

from ..core.model import BlockRange, ByteRange
from ..core.readahead import ReadPattern
from ..core.request import Trust
from ..errors import StoreError
from ..fetch.located import LocatedFile, LocatedOriginal

if TYPE_CHECKING:
    from ..core.request import FileRequest
    from ..fetch.engine import Engine
    from ..fetch.reader import FileReader
    from ..store.originals import Original
    from .embedded_thread import EngineThread


class Opened(Protocol):
    """An open file, closed when nobody refers to it any more."""

    @property
    def size_bytes(self) -> int: ...

    @property
    def trust(self) -> Trust: ...

    @property
    def is_usable(self) -> bool: ...

    def read_into(self, span: ByteRange, buffer: memoryview) -> None: ...

    def read_end(self) -> None: ...

    def close(self) -> None: ...


def open_request(thread: EngineThread, request: FileRequest) -> Opened:
    """Find and open a file; NotFoundError, UnreachableError, ProofError, ClaimError, TrustRefusedError."""
    return thread.ask(partial(_open, thread, request))


async def _open(thread: EngineThread, request: FileRequest, engine: Engine) -> Opened:
    await thread.follow_peers()
    located = await engine.locate(request)
    if isinstance(located, LocatedOriginal):
        return await trio.to_thread.run_sync(OpenedOriginal, located.original)
    assert isinstance(located, LocatedFile)
    return OpenedFile(thread, located, located.open())


class OpenedOriginal:
    """A file that this machine shares, read in place; needs no engine, and may be inherited by a forked child."""

    trust = Trust.LINKED
    is_usable = True

    def __init__(self, original: Original) -> None:
        self._opened = original.open()
        self.size_bytes = original.size_bytes
        weakref.finalize(self, self._opened.close).atexit = False

    def read_into(self, span: ByteRange, buffer: memoryview) -> None:
        """Fill ``buffer``; ChangedError where the file is not what was hashed any more."""
        self._opened.read_into(span.start, buffer)

    def read_end(self) -> None:
        """Make sure of where the file ends."""
        self._opened.check()

    def close(self) -> None:
        """Leave that to the last who refers to it: a closed descriptor's number is another file's at once."""


class OpenedFile:
    """A file of the network; of this process only."""

    def __init__(self, thread: EngineThread, located: LocatedFile, reader: FileReader) -> None:
        self._thread = thread
        self._located = located
        self._reader = reader
        self._file = located.file
        self._lock = threading.Lock()
        self._pattern = ReadPattern(thread.readahead_bytes)  # Invariant: used under the lock
        self._finalizer = weakref.finalize(self, thread.run_soon, reader.close)
        self._finalizer.atexit = False

    @property
    def size_bytes(self) -> int:
        return self._located.size_bytes

    @property
    def trust(self) -> Trust:
        return self._located.trust

    @property
    def is_usable(self) -> bool:
        return self._thread.is_usable

    def read_into(self, span: ByteRange, buffer: memoryview) -> None:
        """Fill ``buffer``; waits for peers where something is missing (TimedOutError, CancelledError, ClaimError)."""
        self._hint_ahead(span)
        with self._thread.reading():
            is_done = self._read_here(span, buffer)
        if not is_done:
            buffer[:] = self._thread.ask(partial(self._read, span.start, len(span)))

    def read_end(self) -> None:
        """Make sure of where the file ends: a size that is only claimed is proven by a block."""
        self._thread.ask(partial(self._read, self.size_bytes, 1))

    def close(self) -> None:
        """Give up the reader; reads under way in other threads go on."""
        self._finalizer()

    async def _read(self, offset: int, n_bytes: int, engine: Engine) -> bytes:
        return bytes(await self._reader.read(offset, n_bytes))

    def _read_here(self, span: ByteRange, buffer: memoryview) -> bool:
        """Read from the store alone; False where that can't be."""
        file, stored = self._file, self._file.stored
        file.check_readable(self.trust)
        for block in file.layout.blocks_of(span):
            if not stored.is_checked(block) and not (stored.is_present(block) and stored.check(block)):
                return False
        try:
            stored.read_into(span, buffer)
        except StoreError:
            return False  # missing now: the engine sees to it
        file.check_readable(self.trust)
        return True

    def _hint_ahead(self, span: ByteRange) -> None:
        with self._lock:
            ahead = self._pattern.observe(span)
        layout = self._file.layout
        if ahead is None or self._file.stored.is_full():
            return
        wanted, first = layout.blocks_of(layout.clip(ahead.start, len(ahead))), layout.blocks_of(span).stop
        blocks = BlockRange(min(max(wanted.start, first), wanted.stop), wanted.stop)
        if not all(map(self._file.stored.is_present, blocks)):
            self._thread.hint(self._file, blocks)
