"""One file behind a link, read by ``pread`` or as a file object."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..core.request import FileRequest
    from .embedded_thread import EngineThread

FILE_BUFFER_BYTES = 64 * 1024


class RemoteFile:
    """A file that any thread may read; ``close`` when done."""

    def __init__(self, get_thread: Callable[[], EngineThread], request: FileRequest) -> None:
        self.request = request
        self._thread = get_thread()
        located = self._thread.locate(request)
        self._reader = located.open()
        self.size_bytes = located.size_bytes

    def pread(self, offset: int, n_bytes: int) -> bytes:
        """Return the bytes of ``[offset, offset + n_bytes)``, fewer only at the end of the file."""
        if offset < 0 or n_bytes < 0:
            raise InputError(f"a read of {n_bytes} bytes at {offset}: neither can be negative")
        return self._thread.read(self._reader, offset, n_bytes)

    def pread_into(self, offset: int, buffer: memoryview) -> int:
        """Fill ``buffer`` from ``offset`` on; return how many bytes, fewer only at the end of the file."""
        data = self.pread(offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._thread.run_soon(self._reader.close)

    def as_file(self) -> io.BufferedReader:
        """Return a seekable read-only file object, with a place of its own; closing it doesn't close this."""
        return io.BufferedReader(_RawFile(self), FILE_BUFFER_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _RawFile(io.RawIOBase):
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
        with memoryview(buffer) as view, view.cast("B") as data:
            n_bytes = self._file.pread_into(self._at, data)
        self._at += n_bytes
        return n_bytes
