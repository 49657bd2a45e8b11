"""One file behind a link, read by ``pread`` or as a file object."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Protocol

from ..core.model import ByteRange
from ..errors import ClaimError, InputError
from .garbage import keep_from_h5py

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..config import Settings
    from ..core.request import FileRequest, Trust
    from .embedded_open import Opened

PIECE_BYTES = 32 * 1024 * 1024
"""How much is waited for at once: the read timeout holds for each piece."""
FILE_BUFFER_BYTES = 64 * 1024


class Opener(Protocol):
    """Whoever opens files, in this process or in a forked child."""

    @property
    def settings(self) -> Settings: ...

    def open_request(self, request: FileRequest) -> Opened: ...


class RemoteFile:
    """A file behind a link, open for reading at any place, by any number of threads.

    In a forked child, or after the fetcher was closed, the next read opens it again; pickled, it is opened again
    where it is unpickled. ``close`` it when done.
    """

    def __init__(self, opener: Opener, request: FileRequest) -> None:
        """Take ``Fetcher.open_file`` instead."""
        self.request = request
        self._opener = opener
        opened = opener.open_request(request)
        self._opened: Opened | None = opened
        self.size_bytes = opened.size_bytes

    @property
    def trust(self) -> Trust:
        """How far the file is to be trusted; ``str()`` of it is linked, proven or claimed."""
        return self._current().trust

    def pread(self, offset: int, n_bytes: int) -> bytes:
        """Return the bytes of ``[offset, offset + n_bytes)``, fewer only at the end of the file.

        Parameters
        ----------
        offset : int
            Where to begin, in bytes.
        n_bytes : int
            How many bytes to read.

        Returns
        -------
        bytes
            Verified bytes: exactly what the digest stands for.

        Raises
        ------
        TimedOutError
            No peer could serve it within ``read_timeout``; the message names the peers and what each said.
        KacheryError
            Any other reason: a claim that was proven false, a shared file that was changed since.
        """
        span = self._clip(offset, n_bytes)
        if n_bytes and not span:
            self._current().read_end()
        data = bytearray(len(span))
        self._read_into(span, memoryview(data))
        return bytes(data)

    def pread_into(self, offset: int, buffer: memoryview) -> int:
        """Fill ``buffer`` from ``offset`` on; return how many bytes that were, fewer only at the end of the file."""
        with memoryview(buffer) as given:
            span = self._clip(offset, given.nbytes)
            if not span:
                if given.nbytes:
                    self._current().read_end()
                return 0
            with given.cast("B") as view:
                self._read_into(span, view)
            return len(span)

    def _read_into(self, span: ByteRange, view: memoryview) -> None:
        for start in range(span.start, span.stop, PIECE_BYTES):
            piece = ByteRange(start, min(start + PIECE_BYTES, span.stop))
            with view[start - span.start : piece.stop - span.start] as part:
                self._current().read_into(piece, part)

    def as_file(self) -> io.BufferedReader:
        """Return a seekable read-only file object with a place of its own; closing it doesn't close this."""
        keep_from_h5py()
        return io.BufferedReader(RawFile(self), FILE_BUFFER_BYTES)

    def close(self) -> None:
        """Close it, once the reads under way in other threads are over; more than once does no harm."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def _clip(self, offset: int, n_bytes: int) -> ByteRange:
        if offset < 0 or n_bytes < 0:
            raise InputError(f"a read of {n_bytes} bytes at {offset}: neither can be negative")
        start = min(offset, self.size_bytes)
        return ByteRange(start, min(start + n_bytes, self.size_bytes))

    def _current(self) -> Opened:
        """Return what to read from, opened again where it was of another process, or of an engine that has ended."""
        opened = self._opened
        if opened is None:
            raise InputError(f"sha1 {self.request.sha1.short}: the file was closed")
        if opened.is_usable:
            return opened
        again = self._opener.open_request(self.request)
        if again.size_bytes != self.size_bytes:
            name = f"sha1 {self.request.sha1.short}"
            raise ClaimError(f"{name}: it had {self.size_bytes} bytes when it was opened, now {again.size_bytes}")
        if self._opened is opened:
            self._opened = again
        return again

    def __reduce__(self) -> tuple[object, ...]:
        from .embedded import open_again

        return open_again, (self._opener.settings, self.request)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RemoteFile sha1 {self.request.sha1}, {self.size_bytes} bytes>"


class RawFile(io.RawIOBase):
    """A place in a ``RemoteFile``."""

    def __init__(self, file: RemoteFile) -> None:
        super().__init__()
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size_bytes}[whence]
        if start + offset < 0:
            raise InputError(f"a seek to {start + offset}, before the file's beginning")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        n_bytes = self._file.pread_into(self._at, buffer)
        self._at += n_bytes
        return n_bytes
