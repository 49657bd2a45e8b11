"""Arrays in ``.npy`` files: written in one form, read from strangers without a pickle and without surprises."""

from __future__ import annotations

import io
import math
from typing import Any, Protocol

import numpy as np
from numpy.lib import format as npy_format

from ..errors import ProofError

MAX_HEADER_BYTES = 16 * 1024
"""Numpy's own headers have 128; those of structured arrays with dozens of columns a few thousand."""
_KINDS = "biufcmMSUV"
READ_BYTES = 16 * 1024 * 1024

Array = np.ndarray[Any, Any]


class _File(Protocol):
    """A ``RemoteFile``, or what reads like one."""

    size_bytes: int

    def pread(self, offset: int, n_bytes: int) -> bytes: ...

    def pread_into(self, offset: int, buffer: memoryview) -> int: ...


def encode_npy(array: Array) -> bytes:
    """Return the file of an array of numbers or texts: little-endian, C order; the same array gives the same bytes."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
    file = io.BytesIO()
    npy_format.write_array(file, little, version=(1, 0), allow_pickle=False)
    return file.getvalue()


def read_npy(file: _File, *, what: str, max_bytes: int) -> Array:
    """Return the array of a stranger's file; ProofError for object arrays, and where header and size don't fit."""
    if file.size_bytes > max_bytes:
        raise ProofError(f"{what} has {file.size_bytes} bytes, more than the {max_bytes} that are read")
    shape, is_fortran, dtype, begin = _read_header(file.pread(0, MAX_HEADER_BYTES), what)
    n_bytes = math.prod(shape) * dtype.itemsize
    if begin + n_bytes != file.size_bytes:
        raise ProofError(f"{what} has {file.size_bytes} bytes, but its header tells of {begin + n_bytes}")
    buffer = bytearray(n_bytes)
    with memoryview(buffer) as view:
        for offset in range(0, n_bytes, READ_BYTES):
            _fill(file, begin + offset, view[offset : offset + READ_BYTES], what)
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order="F" if is_fortran else "C")


def _read_header(head: bytes, what: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    file = io.BytesIO(head)
    try:
        version = npy_format.read_magic(file)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, is_fortran, dtype = read(file, max_header_size=MAX_HEADER_BYTES)
    except Exception as exc:  # numpy evaluates the header as a literal, which raises whatever Python's parser does
        raise ProofError(f"{what} is no npy file: {str(exc).splitlines()[0][:200] if str(exc) else exc!r}") from exc
    if dtype.hasobject or dtype.kind not in _KINDS:
        raise ProofError(f"{what} holds objects, which are loaded by running code: refused")
    if any(type(length) is not int or not 0 <= length < 1 << 53 for length in shape) or len(shape) > 32:
        raise ProofError(f"{what} has a shape that no array can have")
    if not dtype.itemsize:
        raise ProofError(f"{what} holds items of no bytes, of which any number would fit")
    return tuple(shape), is_fortran, dtype, file.tell()


def _fill(file: _File, offset: int, view: memoryview, what: str) -> None:
    if file.pread_into(offset, view) != len(view):
        raise ProofError(f"{what} ends before its header says")
