"""The values that everything else talks in: digests, ranges, and a file's layout in blocks."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from blake3 import blake3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

BLOCK_BYTES = 256 * 1024
MAX_BLOCK_BYTES = 64 * 1024 * 1024
"""The largest block of a legacy manifest that is accepted: one block is held in memory."""

_HEX = re.compile(r"[0-9a-f]*\Z")


@dataclass(frozen=True, slots=True, order=True)
class _FixedDigest:
    raw: bytes
    n_bytes: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if len(self.raw) != self.n_bytes:
            raise ValueError(f"a {type(self).__name__} digest has {self.n_bytes} bytes, not {len(self.raw)}")

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """Parse lowercase hex of exactly the right length, else ValueError."""
        if len(text) != 2 * cls.n_bytes or not _HEX.match(text):
            raise ValueError(f"{text[:80]!r} is not {2 * cls.n_bytes} lowercase hex digits")
        return cls(bytes.fromhex(text))

    @property
    def hex(self) -> str:
        return self.raw.hex()

    @property
    def short(self) -> str:
        """The first eight hex digits, for messages."""
        return self.raw[:4].hex()

    def __str__(self) -> str:
        return self.raw.hex()


@dataclass(frozen=True, slots=True, order=True)
class Sha1(_FixedDigest):
    """The name of a whole file, or of a chunk of a legacy manifest."""

    n_bytes: ClassVar[int] = 20

    @classmethod
    def of(cls, data: bytes | memoryview) -> Self:
        return cls(hashlib.sha1(data).digest())


@dataclass(frozen=True, slots=True, order=True)
class Blake3(_FixedDigest):
    """What a block, a group or a manifest's root is proven by."""

    n_bytes: ClassVar[int] = 32

    @classmethod
    def of(cls, data: bytes | memoryview) -> Self:
        return cls(blake3(data).digest())


ManifestDigest = Blake3 | Sha1
"""Blake3 names a manifest of version 1, Sha1 a legacy JSON manifest."""


def parse_manifest_digest(text: str) -> ManifestDigest:
    """Parse 64 hex (version 1) or 40 hex (legacy), else ValueError."""
    return Sha1.from_hex(text) if len(text) == 2 * Sha1.n_bytes else Blake3.from_hex(text)


def salted(digest: Sha1) -> Sha1:
    """Return what "have you" asks by, so that the asker reveals no name the peer doesn't know."""
    return Sha1(hashlib.sha1(b"kacheryfs-1:" + digest.hex.encode()).digest())


@dataclass(frozen=True, slots=True, order=True)
class _HalfOpen:
    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise ValueError(f"[{self.start}, {self.stop}) is not a range")

    def __len__(self) -> int:
        return self.stop - self.start

    def __bool__(self) -> bool:
        return self.stop > self.start


@dataclass(frozen=True, slots=True, order=True)
class ByteRange(_HalfOpen):
    """Bytes ``[start, stop)`` of a file."""


@dataclass(frozen=True, slots=True, order=True)
class BlockRange(_HalfOpen):
    """Blocks ``[start, stop)`` of a file; iterates over their indices."""

    def __contains__(self, block: object) -> bool:
        return isinstance(block, int) and self.start <= block < self.stop

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.stop))


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file of ``size_bytes`` falls into blocks: equal but for the last; an empty file has none."""

    size_bytes: int
    block_bytes: int = BLOCK_BYTES

    def __post_init__(self) -> None:
        if self.size_bytes < 0 or not 0 < self.block_bytes <= MAX_BLOCK_BYTES:
            raise ValueError(f"no layout has {self.size_bytes} bytes in blocks of {self.block_bytes}")

    @property
    def n_blocks(self) -> int:
        return -(-self.size_bytes // self.block_bytes)

    def clip(self, offset: int, n_bytes: int) -> ByteRange:
        """Return the bytes of a read at ``offset`` that lie in the file."""
        start = min(max(offset, 0), self.size_bytes)
        return ByteRange(start, min(start + max(n_bytes, 0), self.size_bytes))

    def blocks_of(self, span: ByteRange) -> BlockRange:
        """Return the blocks that ``span`` touches."""
        if not span:
            return BlockRange(span.start // self.block_bytes, span.start // self.block_bytes)
        return BlockRange(span.start // self.block_bytes, -(-span.stop // self.block_bytes))

    def bytes_of(self, blocks: BlockRange) -> ByteRange:
        """Return the bytes of ``blocks``, cut at the file's end."""
        start = min(blocks.start * self.block_bytes, self.size_bytes)
        return ByteRange(start, min(blocks.stop * self.block_bytes, self.size_bytes))

    def block_size(self, block: int) -> int:
        """Return the bytes of one block; IndexError outside the file."""
        if not 0 <= block < self.n_blocks:
            raise IndexError(f"block {block} of {self.n_blocks}")
        return min(self.block_bytes, self.size_bytes - block * self.block_bytes)


@dataclass(frozen=True, slots=True, order=True)
class Binding:
    """A file's SHA-1 together with the manifest that its blocks are proven by.

    Until a file is proven, its place in the store belongs to its binding, not to its SHA-1. A file of one block
    needs no manifest (None): its SHA-1 proves it.
    """

    sha1: Sha1
    manifest: ManifestDigest | None
    size_bytes: int | None = None
    """Set only where there is no manifest: a tree entry's or a claim's size, part of what was promised."""
