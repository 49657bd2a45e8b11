from __future__ import annotations

import hashlib
import struct

import pytest
from blake3 import blake3
from core_strategies import sha1s
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.manifest import (
    GROUP_BLOCKS,
    GROUP_BYTES,
    MAGIC,
    MAX_FILE_BYTES,
    GroupedProof,
    Root,
    VerifiedBlock,
    WholeProof,
    binding_of,
    build,
    n_groups_of,
)
from kacheryfs.core.model import BLOCK_BYTES, Binding, Blake3, Layout, Sha1
from kacheryfs.errors import ProofError

CONTENT = bytes(range(256)) * (3 * BLOCK_BYTES // 256) + b"the end"


def _build(data: bytes) -> tuple[Root, list[bytes]]:
    blocks = [data[i : i + BLOCK_BYTES] for i in range(0, len(data), BLOCK_BYTES)]
    return build(len(data), Sha1.of(data), (blake3(block).digest() for block in blocks))


def _constructed(size_bytes: int) -> tuple[Root, list[bytes]]:
    """Return a manifest for a file of any size, whose blocks have made-up digests."""
    return build(size_bytes, Sha1(bytes(20)), (b"%032d" % block for block in range(Layout(size_bytes).n_blocks)))


def _proof_of(data: bytes) -> GroupedProof:
    root, groups = _build(data)
    proof = GroupedProof(root)
    for index, group in enumerate(groups):
        proof.add_group(index, group)
    return proof


def test_a_root_is_what_the_specification_says() -> None:
    root, (group,) = _build(CONTENT)
    blocks = [CONTENT[i : i + BLOCK_BYTES] for i in range(0, len(CONTENT), BLOCK_BYTES)]
    assert group == b"".join(blake3(block).digest() for block in blocks)
    by_hand = b"kacheryfs-mani-1" + struct.pack("<Q", len(CONTENT)) + hashlib.sha1(CONTENT).digest()
    assert root.encode() == by_hand + blake3(group).digest()
    assert root.digest.raw == blake3(root.encode()).digest()


def test_one_content_has_the_same_manifest_for_ever() -> None:
    assert _build(CONTENT)[0].digest.hex == "95cc668dd58d96697e6003e907e739e32ee2ca78b06d69b56eeb839e8952dbb5"


@given(st.integers(0, 40 * GROUP_BLOCKS * BLOCK_BYTES), sha1s)
def test_a_root_decodes_to_itself_at_every_size(size_bytes: int, sha1: Sha1) -> None:
    root = Root(size_bytes, sha1, tuple(Blake3.of(b"%d" % group) for group in range(n_groups_of(size_bytes))))
    assert Root.decode(root.encode(), root.digest) == root


@given(st.data())
def test_a_changed_root_is_refused(data: st.DataObject) -> None:
    root, _ = _build(CONTENT)
    encoded = bytearray(root.encode())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ProofError, match="another digest"):
        Root.decode(bytes(encoded), root.digest)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a manifest of version 1"),
        (MAGIC, "not a manifest of version 1"),
        (b"kacheryfs-mani-2" + bytes(28), "no other version"),
        (MAGIC + struct.pack("<Q", 1) + bytes(20), "has 1 groups"),
        (MAGIC + struct.pack("<Q", 0) + bytes(20 + 32), "has 0 groups"),
        (MAGIC + struct.pack("<Q", 1) + bytes(20 + 31), "has 1 groups"),
        (MAGIC + struct.pack("<Q", 1) + bytes(20 + 64), "has 1 groups"),
        (MAGIC + struct.pack("<Q", MAX_FILE_BYTES + 1) + bytes(20), "absurd"),
        (MAGIC + b"\xff" * 8 + bytes(20), "absurd"),
    ],
)
def test_a_malformed_root_is_refused_though_its_digest_is_right(data: bytes, reason: str) -> None:
    with pytest.raises(ProofError, match=reason):
        Root.decode(data, Blake3.of(data))


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_root_or_a_proof_error(data: bytes, has_magic: bool) -> None:
    data = MAGIC + data if has_magic else data
    try:
        root = Root.decode(data, Blake3.of(data))
    except ProofError:
        return
    assert root.encode() == data


def test_groups_hold_2048_blocks_and_the_last_what_is_left() -> None:
    _, groups = _constructed(2 * GROUP_BLOCKS * BLOCK_BYTES + 1)
    assert [len(group) for group in groups] == [GROUP_BYTES, GROUP_BYTES, 32]


def test_the_first_byte_of_a_terabyte_needs_less_than_200_kb_of_manifest() -> None:
    root_bytes = len(Root(10**12, Sha1(bytes(20)), (Blake3(bytes(32)),) * n_groups_of(10**12)).encode())
    assert root_bytes + GROUP_BYTES < 200_000


def test_an_empty_file_has_a_root_without_groups() -> None:
    root, groups = _build(b"")
    assert groups == []
    assert Root.decode(root.encode(), root.digest).layout.n_blocks == 0


def test_each_block_is_proven_by_its_group() -> None:
    proof = _proof_of(CONTENT)
    for block in range(proof.layout.n_blocks):
        data = CONTENT[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]
        verified = proof.verify(block, memoryview(data))
        assert (verified.index, bytes(verified.data)) == (block, data)


@pytest.mark.parametrize(
    ("block", "data"),
    [
        (0, CONTENT[:BLOCK_BYTES][:-1]),
        (0, CONTENT[: BLOCK_BYTES + 1]),
        (0, b"x" + CONTENT[1:BLOCK_BYTES]),
        (0, b""),
        (0, bytes(BLOCK_BYTES)),
        (3, CONTENT[:BLOCK_BYTES]),
        (3, b"the end."),
        (3, b"the enD"),
    ],
)
def test_bytes_of_another_content_or_length_are_not_the_block(block: int, data: bytes) -> None:
    with pytest.raises(ProofError, match=f"block {block}: the bytes have another digest"):
        _proof_of(CONTENT).verify(block, data)


def test_a_group_is_missing_until_it_was_added() -> None:
    root, groups = _constructed(2 * GROUP_BLOCKS * BLOCK_BYTES)
    proof = GroupedProof(root)
    assert (proof.missing_group(GROUP_BLOCKS - 1), proof.missing_group(GROUP_BLOCKS)) == (0, 1)
    proof.add_group(1, groups[1])
    assert (proof.missing_group(0), proof.missing_group(GROUP_BLOCKS)) == (0, None)


def test_a_block_of_a_missing_group_is_our_own_mistake_not_a_false_proof() -> None:
    root, _ = _build(CONTENT)
    with pytest.raises(AssertionError, match="group 0 was not added"):
        GroupedProof(root).verify(0, CONTENT[:BLOCK_BYTES])


def test_a_group_in_the_place_of_another_is_refused() -> None:
    root, groups = _constructed(2 * GROUP_BLOCKS * BLOCK_BYTES)
    proof = GroupedProof(root)
    with pytest.raises(ProofError, match="group 0: the bytes received have another digest"):
        proof.add_group(0, groups[1])
    assert proof.missing_group(0) == 0


@given(st.binary(max_size=300))
def test_a_file_of_one_block_is_proven_by_its_sha1(data: bytes) -> None:
    proof = WholeProof(Sha1.of(data), len(data))
    assert proof.layout.n_blocks == (1 if data else 0)
    if data:
        assert proof.missing_group(0) is None
        assert proof.verify(0, data).data == data
        for wrong in (data + b"\0", data[:-1], bytes([data[0] ^ 1]) + data[1:]):
            with pytest.raises(ProofError, match="another SHA-1"):
                proof.verify(0, wrong)


def test_only_a_proof_makes_a_verified_block() -> None:
    with pytest.raises(AssertionError, match="only a Proof"):
        VerifiedBlock(0, b"forged", object())


def test_the_binding_of_a_proof_names_its_manifest_or_else_its_size() -> None:
    proof = _proof_of(CONTENT)
    assert binding_of(proof) == Binding(Sha1.of(CONTENT), proof.root.digest)
    assert binding_of(WholeProof(Sha1.of(b"abc"), 3)) == Binding(Sha1.of(b"abc"), None, 3)
