"""An open file, as fsspec's users expect it: seekable, buffered, with a size, and pickled by its name."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, SupportsIndex, cast

from ..app.embedded_file import FILE_BUFFER_BYTES, RawFile
from ..app.garbage import keep_from_h5py

if TYPE_CHECKING:
    from ..app.embedded import RemoteFile
    from .filesystem import LinkFileSystem


class LinkFile(io.BufferedReader):
    """Reads one file; closing it closes the file behind it."""

    mode = "rb"

    def __init__(self, filesystem: LinkFileSystem, path: str, file: RemoteFile) -> None:
        keep_from_h5py()
        super().__init__(cast(io.RawIOBase, RawFile(file)), FILE_BUFFER_BYTES)
        self.fs = filesystem
        self.path = path
        self.size = file.size_bytes
        self._file = file

    @property
    def full_name(self) -> str:
        """The link."""
        return str(self.fs.unstrip_protocol(self.path))

    def close(self) -> None:
        super().close()
        self._file.close()

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        """Pickle it by its name; not by ``__reduce__``, which Python's own class overrules."""
        return _open_at, (self.fs, self.path, self.tell())


def _open_at(filesystem: LinkFileSystem, path: str, offset: int) -> LinkFile:
    file = filesystem.open(path, "rb")
    assert isinstance(file, LinkFile)
    file.seek(offset)
    return file
