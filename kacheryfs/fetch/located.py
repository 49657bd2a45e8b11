"""What a name turned out to be: a file of the network, or an original on this very machine."""

from __future__ import annotations

from typing import Protocol

import trio

from ..core.model import Binding, ByteRange, Layout
from ..core.request import Trust
from ..errors import CancelledError
from ..store.originals import OpenOriginal, Original
from .openfile import OpenFile
from .reader import Engines, FileReader


class Reader(Protocol):
    """An open handle."""

    @property
    def size_bytes(self) -> int: ...

    def read_now(self, offset: int, n_bytes: int) -> memoryview | None: ...

    async def read(self, offset: int, n_bytes: int) -> bytes | memoryview: ...

    def close(self) -> None: ...


class Located(Protocol):
    """A file that was found, ready to be opened."""

    @property
    def size_bytes(self) -> int: ...

    @property
    def trust(self) -> Trust: ...

    @property
    def binding(self) -> Binding: ...

    def open(self) -> Reader: ...

    def present_bytes(self) -> int: ...


class LocatedFile:
    """A file read through the store, as far trusted as its name was: a link's manifest holds only under its names."""

    def __init__(self, file: OpenFile, engines: Engines, trust: Trust) -> None:
        self.file = file
        self._engines = engines
        self._trust = trust

    @property
    def size_bytes(self) -> int:
        return self.file.layout.size_bytes

    @property
    def trust(self) -> Trust:
        return Trust.PROVEN if self.file.trust is Trust.PROVEN else self._trust

    @property
    def binding(self) -> Binding:
        return self.file.binding

    def open(self) -> FileReader:
        self.file.check_readable(self._trust)
        return FileReader(self.file, self._engines, self._trust)

    def present_bytes(self) -> int:
        return self.file.stored.present_bytes


class LocatedOriginal:
    """A file that this machine shares: read in place, nothing is copied into the store."""

    trust = Trust.LINKED

    def __init__(self, original: Original) -> None:
        self.original = original
        self.size_bytes = original.size_bytes
        self.binding = Binding(original.sha1, original.manifest, None if original.manifest else original.size_bytes)

    def open(self) -> OriginalReader:
        """ChangedError where it is not what was hashed any more."""
        return OriginalReader(self.original.open())

    def present_bytes(self) -> int:
        return self.size_bytes


class OriginalReader:
    """Reads an original while it is what was hashed: its identity is compared before and after each read."""

    def __init__(self, opened: OpenOriginal) -> None:
        self._opened = opened
        self.size_bytes = opened.size_bytes
        self._n_reads = 0
        self._is_closed = False

    def read_now(self, offset: int, n_bytes: int) -> memoryview | None:
        """Return None: whose file it is also says how long a read takes (a network drive)."""
        return None

    async def read(self, offset: int, n_bytes: int) -> bytes | memoryview:
        """Return the bytes of ``[offset, offset + n_bytes)``; ChangedError where the file was changed."""
        span = Layout(self.size_bytes).clip(offset, n_bytes)
        if self._is_closed:
            raise CancelledError("the file was closed")
        self._n_reads += 1
        try:
            return await trio.to_thread.run_sync(self._read, span)
        finally:
            self._n_reads -= 1
            self._close_if_over()

    def _read(self, span: ByteRange) -> memoryview:
        data = memoryview(bytearray(len(span)))
        self._opened.read_into(span.start, data)
        return data

    def close(self) -> None:
        """Close it, after reads under way in threads: a closed descriptor's number is another file's at once."""
        self._is_closed = True
        self._close_if_over()

    def _close_if_over(self) -> None:
        if self._is_closed and not self._n_reads:
            self._opened.close()
