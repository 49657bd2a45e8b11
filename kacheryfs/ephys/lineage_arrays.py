"""Arrays in the lineage's files: MDA and npz, read whole into memory, bounded, and never by a pickle."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.lineage_mda import MAX_HEADER_BYTES, parse_mda_header
from ..errors import InputError, ProofError
from .npy import read_npy

if TYPE_CHECKING:
    from ..app.embedded import RemoteFile

MAX_ARRAY_BYTES = 4 << 30
"""Of a sorting: 100 million spikes, of 24 bytes each in firings, have 2.4 GB."""
MAX_MEMBERS = 1000
READ_BYTES = 16 * 1024 * 1024

_DAMAGE = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, EOFError, OSError, InputError)

Array = np.ndarray[Any, Any]


class BytesFile:
    """Bytes in memory, read as a ``RemoteFile`` is."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = memoryview(data)
        self.size_bytes = len(data)

    def pread(self, offset: int, n_bytes: int) -> bytes:
        return bytes(self._data[offset : offset + n_bytes])

    def pread_into(self, offset: int, buffer: memoryview) -> int:
        piece = self._data[offset : offset + len(buffer)]
        buffer[: len(piece)] = piece
        return len(piece)


def read_mda(file: RemoteFile, what: str) -> Array:
    """Return the array of an MDA file, its first dimension as in the header."""
    header = parse_mda_header(file.pread(0, MAX_HEADER_BYTES), what)
    if file.size_bytes < header.size_bytes:
        raise ProofError(f"{what} is damaged: {file.size_bytes} bytes, where its header tells of {header.size_bytes}")
    if header.size_bytes > MAX_ARRAY_BYTES:
        raise ProofError(f"{what} has {header.size_bytes} bytes, more than the {MAX_ARRAY_BYTES} that are read")
    data = bytearray(header.size_bytes - header.header_bytes)
    with memoryview(data) as view:
        for at in range(0, len(view), READ_BYTES):
            piece = view[at : at + READ_BYTES]
            if file.pread_into(header.header_bytes + at, piece) != len(piece):
                raise ProofError(f"{what} ends before its header says")
    return np.frombuffer(data, dtype=header.dtype).reshape(header.shape, order="F")


def read_npz(file: RemoteFile, names: Iterable[str], what: str) -> dict[str, Array]:
    """Return some arrays of an npz; ProofError for one that is missing, damaged, or would be loaded by running code."""
    try:
        with zipfile.ZipFile(file.as_file()) as archive:
            if len(archive.infolist()) > MAX_MEMBERS:
                raise ProofError(f"{what} holds more than {MAX_MEMBERS} files")
            return {name: _read_member(archive, name, what) for name in names}
    except _DAMAGE as exc:  # an InputError: zipfile's seek before the beginning of a file that is too short to be one
        reason = str(exc).splitlines()[0][:200] if str(exc) else type(exc).__name__
        raise ProofError(f"{what} is no npz file, or a damaged one: {reason}") from exc


def _read_member(archive: zipfile.ZipFile, name: str, what: str) -> Array:
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError as exc:
        raise ProofError(f"{what} has no '{name}'") from exc
    if info.file_size > MAX_ARRAY_BYTES:
        raise ProofError(
            f"'{name}' of {what} has {info.file_size} bytes, more than the {MAX_ARRAY_BYTES} that are read"
        )
    content = bytearray()
    with archive.open(info) as member:  # piece by piece: a read of all unpacks 2 GB, whatever the size that it claims
        while piece := member.read(READ_BYTES):
            content += piece
    return read_npy(BytesFile(content), what=f"'{name}' of {what}", max_bytes=MAX_ARRAY_BYTES)
