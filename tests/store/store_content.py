"""Files with known content and their proofs, for the tests of the store."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path

from kacheryfs.core.manifest import ChunkProof, GroupedProof, Root, VerifiedBlock, build
from kacheryfs.core.model import BLOCK_BYTES as BLOCK_BYTES
from kacheryfs.core.model import Binding, Blake3, BlockRange, ByteRange, Layout, Sha1
from kacheryfs.store.blocks import Store, StoredFile


@dataclass(frozen=True)
class Content:
    """A file under a manifest of version 1."""

    data: bytes
    root: Root
    groups: list[bytes]

    @property
    def sha1(self) -> Sha1:
        return self.root.sha1

    @property
    def binding(self) -> Binding:
        return Binding(self.root.sha1, self.root.digest)

    @property
    def layout(self) -> Layout:
        return self.root.layout

    @property
    def n_blocks(self) -> int:
        return self.layout.n_blocks

    def proof(self) -> GroupedProof:
        """Return a new proof that has all groups."""
        proof = GroupedProof(self.root)
        for number, group in enumerate(self.groups):
            proof.add_group(number, group)
        return proof

    def block(self, index: int) -> bytes:
        return block_of(self.data, self.layout, index)

    def verified(self, index: int) -> VerifiedBlock:
        return self.proof().verify(index, self.block(index))


def block_of(data: bytes, layout: Layout, index: int) -> bytes:
    span = layout.bytes_of(BlockRange(index, index + 1))
    return data[span.start : span.stop]


def make_content(n_bytes: int, seed: int = 0, *, claimed_sha1: Sha1 | None = None) -> Content:
    """Make a random file; ``claimed_sha1`` makes a coherent manifest that claims another file's name."""
    data = random.Random(seed).randbytes(n_bytes)
    layout = Layout(n_bytes)
    digests = [Blake3.of(block_of(data, layout, i)).raw for i in range(layout.n_blocks)]
    root, groups = build(n_bytes, claimed_sha1 or Sha1.of(data), digests)
    return Content(data, root, groups)


def make_chunk_proof(data: bytes, chunk_bytes: int, manifest: Sha1) -> ChunkProof:
    layout = Layout(len(data), chunk_bytes)
    chunks = tuple(Sha1.of(block_of(data, layout, i)).raw for i in range(layout.n_blocks))
    return ChunkProof(Sha1.of(data), manifest, layout, chunks)


def put_all(file: StoredFile, content: Content, blocks: range | None = None) -> None:
    proof = content.proof()
    for index in range(content.n_blocks) if blocks is None else blocks:
        assert file.put(proof.verify(index, content.block(index)))


def put_manifest(store: Store, content: Content) -> None:
    store.put_manifest_part(content.root.digest, content.root.encode())
    for group in content.groups:
        store.put_manifest_part(Blake3.of(group), group)


def read(file: StoredFile, start: int, stop: int) -> bytes:
    buffer = bytearray(stop - start)
    file.read_into(ByteRange(start, stop), memoryview(buffer))
    return bytes(buffer)


def check_all(file: StoredFile) -> list[bool]:
    return [file.check(index) for index in range(file.layout.n_blocks)]


def data_path(root: Path, binding: Binding) -> Path:
    """Return where the data lie now: in the complete file, else in the partial one."""
    text = binding.sha1.hex
    complete = root / "sha1" / text[:2] / text[2:4] / text[4:6] / text
    assert binding.manifest is not None
    return complete if complete.exists() else partial_path(root, binding) / "data"


def partial_path(root: Path, binding: Binding) -> Path:
    assert binding.manifest is not None
    return root / "partial" / binding.sha1.hex[:2] / f"{binding.sha1.hex}-{binding.manifest.hex}"


def spoil(path: Path, offset: int, data: bytes = b"\xff") -> None:
    """Change bytes on disk behind the store's back."""
    with path.open("r+b") as file:
        file.seek(offset)
        old = file.read(len(data))
        file.seek(offset)
        file.write(bytes(a ^ b ^ 0x55 for a, b in zip(old, data, strict=True)) if data else b"")


def punch(path: Path, start: int, stop: int) -> None:
    """Make a hole: zeros where there were data."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(stop - start))


def open_descriptors(root: Path) -> int:
    """Return how many this process has below ``root``; whatever else it runs may open and close at any time."""
    links = (_read_link(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd"))
    return sum(link.startswith(f"{root}/") for link in links)


def _read_link(path: str) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:  # the one that listed them
        return ""
