"""The manifest, version 1: a root, and groups of block digests, all canonical and proven by BLAKE3.

Root: ``magic (16 bytes) | size u64 | SHA-1 (20) | group digests (32 each)``, little-endian; M is its BLAKE3.
Group: the digests of 2,048 consecutive blocks, 32 bytes each (the last group holds what is left).
One content has one root on every machine: block and group sizes are part of the version, not of the file.

Cost at 1 TB: 3.8 M blocks, 1,863 groups, a root of 60 KB and 64 KiB for the group that a read touches.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from blake3 import blake3

from ..errors import ProofError
from .model import BLOCK_BYTES, Binding, Blake3, Layout, ManifestDigest, Sha1

if TYPE_CHECKING:
    from typing_extensions import Self

MAGIC = b"kacheryfs-mani-1"
GROUP_BLOCKS = 2048
GROUP_BYTES = GROUP_BLOCKS * Blake3.n_bytes
_HEAD = struct.Struct("<16sQ20s")
MAX_FILE_BYTES = 1 << 50
"""1 PiB: a root of 63 MB; more is refused as absurd."""
MAX_ROOT_BYTES = _HEAD.size + 64 * 1024 * 1024


_SEAL = object()


@dataclass(frozen=True, slots=True)
class VerifiedBlock:
    """A block whose bytes were proven; only a ``Proof`` can make one, and only these enter the store."""

    index: int
    data: bytes | memoryview
    seal: object

    def __post_init__(self) -> None:
        assert self.seal is _SEAL, "only a Proof makes a VerifiedBlock"


class Proof(Protocol):
    """What proves the blocks of one file; shared by every reader of its binding."""

    @property
    def layout(self) -> Layout: ...

    @property
    def sha1(self) -> Sha1: ...

    @property
    def manifest(self) -> ManifestDigest | None: ...

    def missing_group(self, block: int) -> int | None:
        """Return the group that must be fetched before ``block`` can be verified, or None."""

    def verify(self, block: int, data: bytes | memoryview) -> VerifiedBlock:
        """Return the proven block, else ProofError; AssertionError while its group is missing."""


@dataclass(frozen=True, slots=True)
class Root:
    """The root of a manifest: size, SHA-1 and the digests of its groups."""

    size_bytes: int
    sha1: Sha1
    groups: tuple[Blake3, ...]

    @property
    def layout(self) -> Layout:
        return Layout(self.size_bytes, BLOCK_BYTES)

    def encode(self) -> bytes:
        return _HEAD.pack(MAGIC, self.size_bytes, self.sha1.raw) + b"".join(group.raw for group in self.groups)

    @property
    def digest(self) -> Blake3:
        return Blake3.of(self.encode())

    @classmethod
    def decode(cls, data: bytes, expected: Blake3) -> Self:
        """Parse and prove a root; ProofError names what is wrong with it."""
        if Blake3.of(data) != expected:
            raise ProofError(f"manifest {expected.short}: the bytes received have another digest")
        return cls._parse(data)

    @classmethod
    def _parse(cls, data: bytes) -> Self:
        if len(data) < _HEAD.size or data[:16] != MAGIC:
            raise ProofError("not a manifest of version 1; this kacheryfs reads no other version")
        _, size_bytes, sha1 = _HEAD.unpack_from(data)
        if size_bytes > MAX_FILE_BYTES:
            raise ProofError(f"a manifest for {size_bytes} bytes is absurd (the limit is 1 PiB)")
        tail = data[_HEAD.size :]
        n_groups = n_groups_of(size_bytes)
        if len(tail) != n_groups * Blake3.n_bytes:
            raise ProofError(f"a manifest for {size_bytes} bytes has {n_groups} groups, this one another number")
        return cls(size_bytes, Sha1(sha1), tuple(Blake3(tail[i : i + 32]) for i in range(0, len(tail), 32)))


def n_groups_of(size_bytes: int) -> int:
    """Return how many groups a file of ``size_bytes`` has."""
    return -(-size_bytes // (BLOCK_BYTES * GROUP_BLOCKS))


def build(size_bytes: int, sha1: Sha1, block_digests: Iterable[bytes]) -> tuple[Root, list[bytes]]:
    """Return the root and the encoded groups for a file whose blocks have these digests, in order."""
    packed = b"".join(block_digests)
    assert len(packed) == Layout(size_bytes).n_blocks * Blake3.n_bytes
    groups = [packed[i : i + GROUP_BYTES] for i in range(0, len(packed), GROUP_BYTES)]
    return Root(size_bytes, sha1, tuple(Blake3.of(group) for group in groups)), groups


class GroupedProof:
    """A root and those of its groups that were needed so far."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.layout = root.layout
        self.sha1 = root.sha1
        self.manifest: ManifestDigest = root.digest
        self._groups: dict[int, bytes] = {}  # Invariant: every value was proven by the root

    def missing_group(self, block: int) -> int | None:
        group = block // GROUP_BLOCKS
        return None if group in self._groups else group

    def add_group(self, group: int, data: bytes) -> None:
        """Take a group's digests, else ProofError where they are not what the root says."""
        if Blake3.of(data) != self.root.groups[group]:
            raise ProofError(f"manifest {self.manifest.short}, group {group}: the bytes received have another digest")
        self._groups[group] = data

    def verify(self, block: int, data: bytes | memoryview) -> VerifiedBlock:
        assert self.missing_group(block) is None, f"group {block // GROUP_BLOCKS} was not added"
        digests = self._groups[block // GROUP_BLOCKS]
        at = block % GROUP_BLOCKS * Blake3.n_bytes
        if len(data) != self.layout.block_size(block) or blake3(data).digest() != digests[at : at + Blake3.n_bytes]:
            raise ProofError(f"sha1 {self.sha1.short}, block {block}: the bytes have another digest")
        return VerifiedBlock(block, data, _SEAL)


class WholeProof:
    """The proof of a file of one block, by its SHA-1 alone (also of an empty one, which has no block)."""

    def __init__(self, sha1: Sha1, size_bytes: int) -> None:
        self.sha1 = sha1
        self.layout = Layout(size_bytes, max(size_bytes, 1))
        self.manifest: ManifestDigest | None = None

    def missing_group(self, block: int) -> int | None:
        return None

    def verify(self, block: int, data: bytes | memoryview) -> VerifiedBlock:
        if len(data) != self.layout.block_size(block) or hashlib.sha1(data).digest() != self.sha1.raw:
            raise ProofError(f"sha1 {self.sha1.short}: the bytes have another SHA-1")
        return VerifiedBlock(block, data, _SEAL)


class ChunkProof:
    """The proof of a legacy manifest: one SHA-1 a chunk, all known from the start."""

    def __init__(self, sha1: Sha1, manifest: Sha1, layout: Layout, chunks: tuple[bytes, ...]) -> None:
        assert len(chunks) == layout.n_blocks
        self.sha1 = sha1
        self.manifest: ManifestDigest | None = manifest
        self.layout = layout
        self._chunks = chunks

    def missing_group(self, block: int) -> int | None:
        return None

    def verify(self, block: int, data: bytes | memoryview) -> VerifiedBlock:
        if len(data) != self.layout.block_size(block) or hashlib.sha1(data).digest() != self._chunks[block]:
            raise ProofError(f"sha1 {self.sha1.short}, chunk {block}: the bytes have another SHA-1")
        return VerifiedBlock(block, data, _SEAL)


def binding_of(proof: Proof) -> Binding:
    """Return the binding whose blocks ``proof`` proves."""
    return Binding(proof.sha1, proof.manifest, None if proof.manifest else proof.layout.size_bytes)
