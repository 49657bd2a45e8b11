from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache

import pytest
from core_strategies import json_values
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.legacy import MAX_LEGACY_MANIFEST_BYTES, decode_legacy_manifest
from kacheryfs.core.manifest import ChunkProof, binding_of
from kacheryfs.core.model import MAX_BLOCK_BYTES, Binding, Sha1
from kacheryfs.errors import ProofError

H = Sha1(bytes(range(20)))
HEX = "ab" * 20


def content(n_bytes: int) -> bytes:
    """Return the content of the vectors: bytes 00..ff repeated, cut to ``n_bytes``."""
    return (bytes(range(256)) * (n_bytes // 256 + 1))[:n_bytes]


def _chunks(data: bytes, chunk_bytes: int) -> Iterator[dict[str, object]]:
    for start in range(0, len(data), chunk_bytes):
        chunk = data[start : start + chunk_bytes]
        yield {"start": start, "end": start + len(chunk), "sha1": Sha1.of(chunk).hex}


def encode_kachery_06(data: bytes, chunk_bytes: int | None = None) -> bytes | None:
    """Return the manifest that kachery 0.6 wrote; None where it wrote none. As a dict literal, in its key order."""
    if chunk_bytes is None and len(data) <= 4_000_000:
        return None
    chunk_bytes = chunk_bytes or (20_000_000 if len(data) >= 10**9 else 10_000_000)
    return json.dumps({"size": len(data), "sha1": Sha1.of(data).hex, "chunks": [*_chunks(data, chunk_bytes)]}).encode()


def encode_kachery_p2p_08(data: bytes, chunk_bytes: int | None = None) -> bytes | None:
    """Return the manifest that kachery-p2p 0.8 wrote; None where it wrote none."""
    if chunk_bytes is None and len(data) <= 20_000_000:
        return None
    chunks = [*_chunks(data, chunk_bytes or 20_000_000)]
    value = {"size": len(data), "sha1": Sha1.of(data).hex, "chunks": chunks}
    return json.dumps(value, separators=(",", ":")).encode()


VECTORS = [
    (5_000_000, "f44fb545e66b2277a119655760e050a8889fe146", "4f17726151c36f85366a4718105bcbf82f05f23e", None),
    (20_000_000, "8364394487c5b076b1bd176d855b9dab6416a07c", "9f57b72da4d3d6359052cf529e8990ea173416ba", None),
    (20_000_001, "c46c66d606692ee5904d6f0403aaa620265ccbb4", "", "7346f2fa81fc32ef33b8ac3f608db435deb5f7c8"),
    (
        45_000_000,
        "497f23702eb05d9879e8e4836eff4d65de938889",
        "d280082cfe9b0048f8144aa307f7cf29615aaa2c",
        "e4676e399f7ef0fab27150214320112248e2fb01",
    ),
]
"""Size, SHA-1, 0.6 manifest ("" where the reference gives none), 0.8 manifest: reference/kachery-formats.md."""


@cache
def encoded_vectors(n_bytes: int) -> tuple[Sha1, bytes | None, bytes | None]:
    data = content(n_bytes)
    return Sha1.of(data), encode_kachery_06(data), encode_kachery_p2p_08(data)


@pytest.mark.parametrize(("n_bytes", "sha1", "manifest_06", "manifest_08"), VECTORS)
def test_the_vectors_of_both_dialects_are_written_as_the_lineage_did(
    n_bytes: int, sha1: str, manifest_06: str, manifest_08: str | None
) -> None:
    of_content, in_06, in_08 = encoded_vectors(n_bytes)
    assert of_content.hex == sha1
    assert in_06 is not None
    assert manifest_06 in ("", Sha1.of(in_06).hex)
    assert (in_08 and Sha1.of(in_08).hex) == manifest_08


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector[0]))
def test_the_vectors_of_both_dialects_prove_their_file(vector: tuple[int, str, str, str | None]) -> None:
    n_bytes, data = vector[0], content(vector[0])
    sha1, *manifests = encoded_vectors(n_bytes)
    for manifest in filter(None, manifests):
        proof = decode_legacy_manifest(manifest, Sha1.of(manifest), sha1)
        assert proof.layout.size_bytes == n_bytes
        assert binding_of(proof) == Binding(sha1, Sha1.of(manifest))
        for block in range(proof.layout.n_blocks):
            start = block * proof.layout.block_bytes
            chunk = data[start : start + proof.layout.block_size(block)]
            assert proof.verify(block, chunk).data == chunk


def test_the_two_dialects_of_one_file_bring_their_own_chunk_sizes() -> None:
    sha1, *manifests = encoded_vectors(45_000_000)
    proofs = [decode_legacy_manifest(manifest, Sha1.of(manifest), sha1) for manifest in manifests if manifest]
    assert [proof.layout.block_bytes for proof in proofs] == [10_000_000, 20_000_000]


@given(st.binary(max_size=300), st.integers(1, 350))
def test_a_manifest_in_any_chunk_size_proves_its_file_and_no_other(data: bytes, chunk_bytes: int) -> None:
    for encode in (encode_kachery_06, encode_kachery_p2p_08):
        manifest = encode(data, chunk_bytes)
        assert manifest is not None
        proof = decode_legacy_manifest(manifest, Sha1.of(manifest), Sha1.of(data))
        for block in range(proof.layout.n_blocks):
            span = data[block * proof.layout.block_bytes :][: proof.layout.block_size(block)]
            assert proof.missing_group(block) is None
            assert proof.verify(block, memoryview(span)).index == block
            for wrong in (span + b"\0", span[:-1], bytes([span[0] ^ 1]) + span[1:]):
                with pytest.raises(ProofError, match=f"chunk {block}"):
                    proof.verify(block, wrong)


def _decode(value: object) -> ChunkProof:
    data = json.dumps(value).encode()
    return decode_legacy_manifest(data, Sha1.of(data), H)


def _manifest(size: object, *spans: tuple[object, object], sha1: object = H.hex) -> dict[str, object]:
    return {"size": size, "sha1": sha1, "chunks": [{"start": a, "end": b, "sha1": HEX} for a, b in spans]}


def test_chunks_that_cover_the_file_are_read() -> None:
    assert _decode(_manifest(25, (0, 10), (10, 20), (20, 25))).layout.n_blocks == 3
    assert _decode(_manifest(20, (0, 10), (10, 20))).layout.n_blocks == 2
    assert _decode(_manifest(5, (0, 5))).layout.block_bytes == 5
    assert _decode(_manifest(0)).layout.n_blocks == 0
    assert _decode(_manifest(MAX_BLOCK_BYTES, (0, MAX_BLOCK_BYTES))).layout.n_blocks == 1


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(_manifest(25, (0, 10), (10, 20)), id="ends before the file"),
        pytest.param(_manifest(15, (0, 10), (10, 20)), id="ends after the file"),
        pytest.param(_manifest(30, (0, 10), (11, 21), (21, 30)), id="hole"),
        pytest.param(_manifest(30, (0, 10), (9, 20), (20, 30)), id="overlap"),
        pytest.param(_manifest(30, (10, 20), (0, 10), (20, 30)), id="order"),
        pytest.param(_manifest(25, (0, 10), (10, 15), (15, 25)), id="unequal"),
        pytest.param(_manifest(25, (0, 10), (10, 25)), id="last one longer"),
        pytest.param(_manifest(10, (1, 10)), id="not from 0"),
        pytest.param(_manifest(10, (0, 10), (10, 10)), id="empty chunk at the end"),
        pytest.param(_manifest(10, (0, 0), (0, 10)), id="empty chunk at the start"),
        pytest.param(_manifest(0, (0, 0)), id="chunk of nothing"),
        pytest.param(_manifest(5), id="no chunks"),
        pytest.param(_manifest(10, (10, 0)), id="backwards"),
        pytest.param(_manifest(10, (-10, 10)), id="negative"),
        pytest.param(_manifest(True, (0, True)), id="bools for integers"),
        pytest.param(_manifest(1.0, (0, 1.0)), id="floats for integers"),
        pytest.param(_manifest("1", (0, "1")), id="text for integers"),
        pytest.param(_manifest(None, (0, None)), id="null for integers"),
        pytest.param(_manifest(float("nan"), (0, float("nan"))), id="NaN"),
        pytest.param(_manifest(2**51, (0, 2**51)), id="over 1 PiB"),
        pytest.param(_manifest(MAX_BLOCK_BYTES + 1, (0, MAX_BLOCK_BYTES + 1)), id="chunk over 64 MiB"),
        pytest.param(_manifest(10**15, (0, 1)), id="far more chunks than are there"),
        pytest.param(_manifest(5, (0, 5), sha1=None), id="no SHA-1"),
        pytest.param(_manifest(5, (0, 5), sha1=H.hex.upper()), id="SHA-1 in capitals"),
        pytest.param({**_manifest(5, (0, 5)), "extra": 1}, id="unknown key"),
        pytest.param({"size": 5, "sha1": H.hex}, id="chunks missing"),
        pytest.param({**_manifest(5, (0, 5)), "chunks": {}}, id="chunks not a list"),
        pytest.param({**_manifest(5, (0, 5)), "chunks": [[0, 5, HEX]]}, id="chunk not an object"),
        pytest.param({**_manifest(5), "chunks": [{"start": 0, "end": 5}]}, id="chunk without SHA-1"),
        pytest.param({**_manifest(5), "chunks": [{"start": 0, "end": 5, "sha1": "x"}]}, id="chunk with a bad SHA-1"),
        pytest.param([], id="a list"),
        pytest.param(None, id="null"),
    ],
)
def test_a_manifest_that_does_not_cover_its_file_in_equal_chunks_is_refused(value: object) -> None:
    with pytest.raises(ProofError):
        _decode(value)


def test_a_manifest_with_another_digest_is_refused() -> None:
    data = json.dumps(_manifest(5, (0, 5))).encode()
    with pytest.raises(ProofError, match="the bytes received have another SHA-1"):
        decode_legacy_manifest(data + b" ", Sha1.of(data), H)


def test_a_manifest_of_another_file_is_refused() -> None:
    data = json.dumps(_manifest(5, (0, 5), sha1=HEX)).encode()
    with pytest.raises(ProofError, match="is for another file"):
        decode_legacy_manifest(data, Sha1.of(data), H)


@pytest.mark.parametrize(
    "data",
    [
        b'{"size": %b, "sha1": "%b", "chunks": []}' % (b"9" * 5000, H.hex.encode()),
        b'{"size": 0, "size": 0, "sha1": "%b", "chunks": []}' % H.hex.encode(),
        b'{"chunks": ' + b"[" * 1_000_000,
        b" " * (MAX_LEGACY_MANIFEST_BYTES + 1),
        b"",
        b"\xff",
    ],
    ids=["huge integer", "size twice", "depth bomb", "too long", "empty", "no text"],
)
def test_hostile_json_is_refused(data: bytes) -> None:
    with pytest.raises(ProofError):
        decode_legacy_manifest(data, Sha1.of(data), H)


@given(json_values)
def test_any_json_is_a_manifest_or_a_proof_error(value: object) -> None:
    for candidate in (value, {"size": 5, "sha1": H.hex, "chunks": value}, {"size": value, "sha1": value, "chunks": []}):
        try:
            _decode(candidate)
        except ProofError:
            continue
