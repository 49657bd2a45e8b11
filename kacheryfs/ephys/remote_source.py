"""Where a recording's file comes from, as values that survive a pickle, a fork and SpikeInterface's JSON."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.link import FileLink, parse_link
from ..core.manifest import MAX_FILE_BYTES
from ..core.request import FileRequest
from ..errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..app.embedded import RemoteFile
    from ..core.tree import FileEntry


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its digest, what it is proven by, and its size where that is known."""

    request: FileRequest

    @classmethod
    def of(cls, entry: FileEntry) -> Self:
        """Return a file of a tree as a source."""
        return cls(FileRequest(entry.sha1, entry.manifest, entry.size_bytes))

    @classmethod
    def parse(cls, value: object) -> Self:
        """Take ``{"link", "size_bytes"}`` or a link; InputError for anything else."""
        fields: Mapping[str, Any] = value if isinstance(value, Mapping) else {"link": value}
        link, size_bytes = fields.get("link"), fields.get("size_bytes")
        parsed = parse_link(link) if isinstance(link, str) else None
        if not isinstance(parsed, FileLink) or not fields.keys() <= {"link", "size_bytes"}:
            raise InputError(f"{str(value)[:120]!r} names no file: sha1://<40 hex>?manifest=<64 hex> is one")
        if size_bytes is not None and (type(size_bytes) is not int or not 0 <= size_bytes <= MAX_FILE_BYTES):
            raise InputError(f"{str(size_bytes)[:40]!r} is no size of a file")
        return cls(FileRequest(parsed.sha1, parsed.manifest, size_bytes))

    def to_json(self) -> dict[str, object]:
        """Return what ``parse`` takes."""
        link = str(FileLink(self.request.sha1, "", self.request.manifest))
        size_bytes = self.request.size_bytes
        return {"link": link} if size_bytes is None else {"link": link, "size_bytes": size_bytes}


class LazyFile:
    """Opens its file at the first use, once, from whichever thread comes first; closes it when nobody refers to it."""

    def __init__(self, source: Source, open_file: Callable[[FileRequest], RemoteFile]) -> None:
        self.source = source
        self._open_file = open_file
        self._lock = threading.Lock()
        self._file: RemoteFile | None = None

    @property
    def file(self) -> RemoteFile:
        """The open file; KacheryError where nobody has it."""
        with self._lock:
            if self._file is None:
                self._file = self._open_file(self.source.request)
                weakref.finalize(self, self._file.close).atexit = False
            return self._file

    @property
    def size_bytes(self) -> int:
        """The size that was promised, or else the size that peers tell."""
        promised = self.source.request.size_bytes
        return self.file.size_bytes if promised is None else promised
