"""Manifests of the kachery lineage: JSON, one SHA-1 a chunk, in chunk sizes that each writer chose for itself."""

from __future__ import annotations

from ..errors import ProofError
from .manifest import MAX_FILE_BYTES, ChunkProof
from .model import BLOCK_BYTES, MAX_BLOCK_BYTES, Layout, Sha1
from .strict_json import parse_strict_json

MAX_LEGACY_MANIFEST_BYTES = 16 * 1024 * 1024
"""Some 180,000 chunks: a file of 3.6 TB in the lineage's chunks of 20 MB. Parsing takes some 100 MB of memory."""


def decode_legacy_manifest(data: bytes, digest: Sha1, expected_sha1: Sha1) -> ChunkProof:
    """Parse and prove the legacy manifest ``digest`` of the file ``expected_sha1``; ProofError says what is wrong."""
    if Sha1.of(data) != digest:
        raise ProofError(f"manifest {digest.short}: the bytes received have another SHA-1")
    what = f"manifest {digest.short}"
    value = parse_strict_json(data, what=what, max_bytes=MAX_LEGACY_MANIFEST_BYTES)
    try:
        sha1, layout, chunks = _decode(value)
    except ValueError as exc:
        raise ProofError(f"{what} is refused: {exc}") from exc
    if sha1 != expected_sha1:
        raise ProofError(f"{what} is for another file, sha1 {sha1.short}, not {expected_sha1.short}")
    return ChunkProof(sha1, digest, layout, chunks)


def _decode(value: object) -> tuple[Sha1, Layout, tuple[bytes, ...]]:
    if not isinstance(value, dict) or value.keys() != {"size", "sha1", "chunks"}:
        raise ValueError("it is not an object of size, sha1 and chunks")
    size_bytes, chunks = _take_int(value["size"]), value["chunks"]
    if size_bytes > MAX_FILE_BYTES:
        raise ValueError(f"{size_bytes} bytes are over the limit of 1 PiB")
    if not isinstance(chunks, list):
        raise ValueError("'chunks' is not a list")
    parsed = [_decode_chunk(chunk) for chunk in chunks]
    layout = _layout_of(size_bytes, [(start, end) for start, end, _ in parsed])
    return _take_sha1(value["sha1"]), layout, tuple(sha1 for _, _, sha1 in parsed)


def _decode_chunk(chunk: object) -> tuple[int, int, bytes]:
    if not isinstance(chunk, dict) or chunk.keys() != {"start", "end", "sha1"}:
        raise ValueError("a chunk is not an object of start, end and sha1")
    return _take_int(chunk["start"]), _take_int(chunk["end"]), _take_sha1(chunk["sha1"]).raw


def _take_int(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{str(value)[:40]!r} is not a number of bytes")
    return value


def _take_sha1(value: object) -> Sha1:
    if not isinstance(value, str):
        raise ValueError("a 'sha1' is not text")
    return Sha1.from_hex(value)


def _layout_of(size_bytes: int, spans: list[tuple[int, int]]) -> Layout:
    """Return the layout whose blocks are exactly ``spans``, else ValueError."""
    block_bytes = spans[0][1] if spans else BLOCK_BYTES
    if not 0 < block_bytes <= MAX_BLOCK_BYTES:
        raise ValueError(f"chunks of {block_bytes} bytes: from 1 byte to 64 MiB are read")
    layout = Layout(size_bytes, block_bytes)
    if layout.n_blocks != len(spans):
        raise ValueError(f"{size_bytes} bytes in chunks of {block_bytes} are not {len(spans)} chunks")
    for index, span in enumerate(spans):
        start = index * block_bytes
        if span != (start, min(start + block_bytes, size_bytes)):
            raise ValueError(f"chunk {index} is {span}: chunks must be contiguous, and equal but for the last")
    return layout
