"""Open files: a handle for each open, and reads that are whole or fail."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.model import ByteRange, Sha1
from ..errors import KacheryError, ProofError
from .engine import FileReader
from .misses import FailedReads
from .nodes import File, Readme
from .refusals import BadHandleRefusal

FAILED_READ_TTL_S = 1.0
"""Longer than the kernel takes to ask again for a page of what just failed (under 1 ms), shorter than a person."""


@dataclass(slots=True)
class OpenFile:
    """What a handle stands for."""

    inode: int
    file: File | Readme
    size_bytes: int
    reader: FileReader
    failed: FailedReads


class OpenFiles:
    """The handles of one mount."""

    def __init__(self) -> None:
        self._open: dict[int, OpenFile] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._open)

    def add(self, inode: int, file: File | Readme, size_bytes: int, reader: FileReader) -> int:
        handle, self._next = self._next, self._next + 1
        self._open[handle] = OpenFile(inode, file, size_bytes, reader, FailedReads(FAILED_READ_TTL_S))
        return handle

    def get(self, handle: int) -> OpenFile:
        opened = self._open.get(handle)
        if opened is None:
            raise BadHandleRefusal(f"handle {handle} is not open")
        return opened

    def read_now(self, handle: int, offset: int, n_bytes: int) -> memoryview | None:
        """Return all that is asked for and that the file has, where it is at hand, else None. KacheryError.

        Also of what failed a moment ago: where a larger read ran into what is missing, the kernel asks for its pages
        one by one.
        """
        opened = self._open.get(handle)
        if opened is None or offset >= opened.size_bytes:
            return None
        n_bytes = min(n_bytes, opened.size_bytes - offset)
        data = opened.reader.read_now(offset, n_bytes)
        return data if data is not None and len(data) == n_bytes else None

    def close(self, handle: int) -> None:
        opened = self._open.pop(handle, None)
        if opened is not None:
            opened.reader.close()

    def labels(self) -> dict[Sha1, str]:
        """Return a name of each open file that was opened by one."""
        opened = (opened.file for opened in self._open.values())
        return {file.request.sha1: file.label for file in opened if isinstance(file, File) and file.label}

    def close_all(self) -> None:
        for handle in list(self._open):
            self.close(handle)


async def read_whole(opened: OpenFile, offset: int, n_bytes: int) -> bytes | memoryview:
    """Return every byte asked for that the file has, or raise; what is returned lives until the next await.

    A short reply would be padded with zeros by the kernel, so that one from below is an error, whatever its reason.
    """
    stop = min(offset + n_bytes, opened.size_bytes)
    if offset >= stop:
        return b""
    opened.failed.check(offset)
    try:
        data = await opened.reader.read(offset, stop - offset)
        if len(data) != stop - offset:
            raise ProofError(
                f"a read of {stop - offset} bytes at {offset} gave {len(data)}: a fault of kacheryfs, please report it"
            )
    except KacheryError as exc:
        opened.failed.add(ByteRange(offset, stop), exc)
        raise
    return data
