"""Random data, and the static layout of a peer that offers it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from blake3 import blake3

from kacheryfs.core.manifest import build
from kacheryfs.core.model import BLOCK_BYTES, Sha1
from kacheryfs.core.wire import manifest_path

PIECE_BYTES = 32 * BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class Sample:
    """A file that is read in the bench."""

    path: Path
    size_bytes: int
    sha1: Sha1
    link: str

    @property
    def static_path(self) -> str:
        return f"/sha1/{self.sha1.hex}"


def _pieces(size_bytes: int, seed: int) -> Iterator[bytes]:
    generator = np.random.Generator(np.random.SFC64(seed))
    for start in range(0, size_bytes, PIECE_BYTES):
        n_bytes = min(PIECE_BYTES, size_bytes - start)
        yield generator.integers(0, 1 << 64, -(-n_bytes // 8), dtype=np.uint64).tobytes()[:n_bytes]


def make_sample(path: Path, size_bytes: int, seed: int, root: Path) -> Sample:
    """Write random data, and its manifest and name into the static layout at ``root``."""
    sha1, digests = hashlib.sha1(), []
    with path.open("wb") as file:
        for piece in _pieces(size_bytes, seed):
            file.write(piece)
            sha1.update(piece)
            view = memoryview(piece)
            digests += [blake3(view[i : i + BLOCK_BYTES]).digest() for i in range(0, len(piece), BLOCK_BYTES)]
    digest = Sha1(sha1.digest())
    manifest = write_manifest(root, size_bytes, digest, digests)
    (root / "sha1").mkdir(parents=True, exist_ok=True)
    (root / "sha1" / digest.hex).symlink_to(path)
    return Sample(path, size_bytes, digest, f"sha1://{digest.hex}/{path.name}?manifest={manifest}")


def write_manifest(root: Path, size_bytes: int, sha1: Sha1, digests: list[bytes]) -> str:
    """Write root and groups under ``manifest/``; return M in hex."""
    head, groups = build(size_bytes, sha1, digests)
    for digest, part in [(head.digest, head.encode()), *zip(head.groups, groups, strict=True)]:
        path = root / manifest_path(digest).lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(part)
    return head.digest.hex
