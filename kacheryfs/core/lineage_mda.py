"""MDA files, MountainSort's: the header, and the text of ``geom.csv`` that lies beside a recording.

A header is little-endian int32: a code of the type, the bytes of one entry, the number of dimensions (negative where
the dimensions that follow are int64), the dimensions. The array follows, its first dimension running fastest.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from ..errors import ProofError
from .lineage_fields import take_positions
from .manifest import MAX_FILE_BYTES

MAX_DIMENSIONS = 6
MAX_HEADER_BYTES = 12 + 8 * MAX_DIMENSIONS
MAX_GEOM_BYTES = 16 * 1024 * 1024

_DTYPES = {-2: "|u1", -3: "<f4", -4: "<i2", -5: "<i4", -6: "<u2", -7: "<f8", -8: "<u4"}


@dataclass(frozen=True, slots=True)
class MdaHeader:
    """What a file of ``size_bytes`` must hold; ``dtype`` is numpy's short name."""

    dtype: str
    shape: tuple[int, ...]
    header_bytes: int

    @property
    def size_bytes(self) -> int:
        return self.header_bytes + math.prod(self.shape) * int(self.dtype[2:])


def parse_mda_header(data: bytes, what: str) -> MdaHeader:
    """Parse the first bytes of a file (MAX_HEADER_BYTES are enough); ProofError says what is wrong with it."""
    code, n_bytes, n_dimensions = _unpack(data, "<3i", 0, what)
    dtype = _DTYPES.get(code)
    if dtype is None:
        raise ProofError(f"{what} is no MDA file that is read here: its type has the code {code}")
    if n_bytes != int(dtype[2:]):
        raise ProofError(f"{what} is damaged: its entries have {n_bytes} bytes and the type {dtype}")
    if not 0 < abs(n_dimensions) <= MAX_DIMENSIONS:
        raise ProofError(f"{what} is damaged: an MDA file of {n_dimensions} dimensions")
    kind, width = ("q", 8) if n_dimensions < 0 else ("i", 4)
    shape = _unpack(data, f"<{abs(n_dimensions)}{kind}", 12, what)
    header = MdaHeader(dtype, shape, 12 + width * len(shape))
    if min(shape) < 0 or header.size_bytes > MAX_FILE_BYTES:
        raise ProofError(f"{what} is damaged: no MDA file has the dimensions {' × '.join(map(str, shape))}")
    return header


def _unpack(data: bytes, form: str, offset: int, what: str) -> tuple[int, ...]:
    try:
        return struct.unpack_from(form, data, offset)
    except struct.error as exc:
        raise ProofError(f"{what} is damaged: it ends within the header of an MDA file") from exc


def parse_geom_csv(data: bytes, what: str = "geom.csv") -> tuple[tuple[float, ...], ...]:
    """Parse lines of ``x,y`` in µm, one a channel; empty lines and ``#`` comments don't count."""
    if len(data) > MAX_GEOM_BYTES:
        raise ProofError(f"{what} of {len(data)} bytes is over the limit of {MAX_GEOM_BYTES}")
    try:
        lines = [line.partition("#")[0].strip() for line in data.decode("utf-8").splitlines()]
        rows: list[object] = [[float(number) for number in line.split(",")] for line in lines if line]
    except ValueError as exc:
        raise ProofError(f"{what} is not lines of numbers with commas between them") from exc
    return take_positions(rows, what)
