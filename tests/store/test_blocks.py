"""The store in one process: what is put is read, what is spoilt is missing."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_content import (
    BLOCK_BYTES,
    Content,
    check_all,
    data_path,
    make_chunk_proof,
    make_content,
    open_descriptors,
    partial_path,
    punch,
    put_all,
    put_manifest,
    read,
    spoil,
)

from kacheryfs.core.manifest import GroupedProof, Root, VerifiedBlock, WholeProof, n_groups_of
from kacheryfs.core.model import Binding, Blake3, ByteRange, Sha1, salted
from kacheryfs.core.wire import FileInfo
from kacheryfs.errors import NotFoundError, StoreError
from kacheryfs.store.blocks import Store, StoredSummary

TB = 10**12


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> Iterator[Store]:
    store = Store(root, min_free_fraction=0)
    yield store
    store.close()


@pytest.fixture
def content() -> Content:
    return make_content(3 * BLOCK_BYTES + 1000)


class CountingProof(GroupedProof):
    """Counts what it verified."""

    n_verified = 0

    def verify(self, block: int, data: bytes | memoryview) -> VerifiedBlock:
        self.n_verified += 1
        return super().verify(block, data)


def test_a_block_that_was_put_is_read_back(store: Store, content: Content) -> None:
    file = store.open(content.proof())
    assert file.put(content.verified(3))
    assert file.put(content.verified(1))
    assert read(file, BLOCK_BYTES, 2 * BLOCK_BYTES) == content.block(1)
    assert read(file, 3 * BLOCK_BYTES + 7, len(content.data)) == content.block(3)[7:]
    file.close()


def test_only_what_was_put_is_present(store: Store, content: Content) -> None:
    file = store.open(content.proof())
    put_all(file, content, range(3, 4))
    assert [file.is_present(i) for i in range(4)] == [False, False, False, True]
    assert [file.is_checked(i) for i in range(4)] == [False, False, False, True]
    assert (file.present_count(), file.present_bytes) == (1, 1000)
    assert file.put(content.verified(0))
    assert (file.present_count(), file.present_bytes) == (2, BLOCK_BYTES + 1000)
    assert not file.is_full()
    file.close()


def test_a_span_over_blocks_is_read_whole(store: Store, content: Content) -> None:
    file = store.open(content.proof())
    put_all(file, content)
    assert read(file, 5, len(content.data) - 5) == content.data[5:-5]
    assert file.is_full()
    file.close()


def test_read_now_takes_from_memory_what_was_just_written(store: Store, content: Content) -> None:
    file = store.open(content.proof())
    put_all(file, content)
    buffer = bytearray(300)
    span = ByteRange(BLOCK_BYTES - 100, BLOCK_BYTES + 100)
    assert file.read_now(span, memoryview(buffer))
    assert bytes(buffer[:200]) == content.data[span.start : span.stop]
    assert bytes(buffer[200:]) == bytes(100)
    file.close()


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
def test_read_now_reads_normally_where_the_file_system_has_no_nowait(
    store: Store, content: Content, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    file = store.open(content.proof())
    put_all(file, content)
    preadv = os.preadv

    def refuse(fd: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        if flags:
            raise OSError(number, "no nowait")
        return preadv(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", refuse)
    buffer = bytearray(100)
    assert file.read_now(ByteRange(50, 150), memoryview(buffer))
    assert bytes(buffer) == content.data[50:150]
    file.close()


def test_read_now_says_no_instead_of_waiting_for_the_disk(
    store: Store, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = store.open(content.proof())
    put_all(file, content)

    def block(*_: object) -> int:
        raise BlockingIOError(11, "would block")

    monkeypatch.setattr(os, "preadv", block)
    assert not file.read_now(ByteRange(0, 100), memoryview(bytearray(100)))
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset, flags=0: 60)  # half of it is in memory
    assert not file.read_now(ByteRange(0, 100), memoryview(bytearray(100)))
    file.close()


def test_a_block_that_is_missing_is_never_read_as_zeros(store: Store, content: Content) -> None:
    file = store.open(content.proof())
    put_all(file, content, range(1))
    with pytest.raises(StoreError):
        read(file, BLOCK_BYTES - 10, BLOCK_BYTES + 10)
    assert not file.read_now(ByteRange(BLOCK_BYTES, BLOCK_BYTES + 10), memoryview(bytearray(10)))
    file.close()


def test_nothing_is_readable_of_a_file_that_was_never_stored(store: Store, root: Path, content: Content) -> None:
    file = store.open(content.proof())
    assert not any(file.is_present(i) or file.is_checked(i) or file.check(i) for i in range(4))
    with pytest.raises(StoreError):
        read(file, 0, 10)
    assert not file.read_now(ByteRange(0, 10), memoryview(bytearray(10)))
    assert not list((root).glob("partial/*/*")), "opening alone writes nothing"
    file.close()


def test_all_who_have_a_file_open_share_one_object(store: Store, content: Content) -> None:
    first, second = store.open(content.proof()), store.open(content.proof())
    assert first is second
    first.close()
    put_all(second, content, range(1))
    assert second.is_checked(0)
    second.close()
    again = store.open(content.proof())
    assert again is not first
    assert again.is_present(0)
    assert not again.is_checked(0)
    again.close()


def test_descriptors_are_bounded_and_closed_with_the_file(store: Store) -> None:
    contents = [make_content(2 * BLOCK_BYTES, seed) for seed in range(5)]
    put_manifest(store, contents[0])  # opens the store's account
    list(store.files())
    before = open_descriptors(store.root)
    files = [store.open(content.proof()) for content in contents]
    for file, content in zip(files, contents, strict=True):
        put_all(file, content)
    assert open_descriptors(store.root) <= before + 3 * len(files)
    files[0].prove()
    spoil(data_path(store.root, contents[1].binding), 0)
    for file in files:
        file.close()
    assert open_descriptors(store.root) == before


# -- a restart, and what the disk did meanwhile


def reopened(root: Path, content: Content) -> tuple[Store, GroupedProof]:
    return Store(root, min_free_fraction=0), content.proof()


def stored(root: Path, content: Content, *, is_proven: bool = False) -> None:
    """Put all of ``content``, prove it or not, and end."""
    store = Store(root, min_free_fraction=0)
    file = store.open(content.proof())
    put_all(file, content)
    put_manifest(store, content)
    if is_proven:
        assert file.prove()
    file.close()
    store.close()


@pytest.mark.parametrize("is_proven", [False, True])
def test_what_was_put_is_there_after_a_restart(root: Path, content: Content, is_proven: bool) -> None:
    stored(root, content, is_proven=is_proven)
    store, proof = reopened(root, content)
    file = store.open(proof)
    assert file.is_proven == is_proven
    assert all(file.is_present(i) and not file.is_checked(i) for i in range(4))
    assert check_all(file) == [True] * 4
    assert read(file, 0, len(content.data)) == content.data
    file.close()
    store.close()


@pytest.mark.parametrize("is_proven", [False, True])
def test_a_present_block_is_verified_once_before_its_first_use(root: Path, content: Content, is_proven: bool) -> None:
    stored(root, content, is_proven=is_proven)
    store = Store(root, min_free_fraction=0)
    proof = CountingProof(content.root)
    proof.add_group(0, content.groups[0])
    file = store.open(proof)
    with pytest.raises(StoreError):
        read(file, 0, 10)
    assert file.check(0)
    assert file.check(0)
    assert proof.n_verified == 1
    assert read(file, 0, 10) == content.data[:10]
    file.close()
    store.close()


@pytest.mark.parametrize("is_proven", [False, True])
@pytest.mark.parametrize("harm", ["flip", "hole", "cut"])
def test_a_block_that_the_disk_spoilt_is_missing(root: Path, content: Content, is_proven: bool, harm: str) -> None:
    stored(root, content, is_proven=is_proven)
    path = data_path(root, content.binding)
    if harm == "flip":
        spoil(path, 2 * BLOCK_BYTES + 5)
    elif harm == "hole":
        punch(path, 2 * BLOCK_BYTES, 3 * BLOCK_BYTES)
    else:
        os.truncate(path, 2 * BLOCK_BYTES + 5)
    store, proof = reopened(root, content)
    file = store.open(proof)
    right = check_all(file)
    assert not right[2]
    assert harm == "cut" or right == [True, True, False, True]
    for index in range(4):
        assert file.is_present(index) == file.is_checked(index) == right[index]
        if right[index]:
            assert read(file, index * BLOCK_BYTES, index * BLOCK_BYTES + 10) == content.block(index)[:10]
        else:
            with pytest.raises(StoreError):
                read(file, index * BLOCK_BYTES, index * BLOCK_BYTES + 10)
            span = ByteRange(index * BLOCK_BYTES, index * BLOCK_BYTES + 10)
            assert not file.read_now(span, memoryview(bytearray(10)))
    file.close()
    store.close()


@pytest.mark.parametrize("is_proven", [False, True])
@pytest.mark.parametrize("harm", ["flip", "cut"])
def test_a_spoilt_file_heals_once_its_blocks_are_put_again(
    root: Path, content: Content, is_proven: bool, harm: str
) -> None:
    stored(root, content, is_proven=is_proven)
    path = data_path(root, content.binding)
    spoil(path, BLOCK_BYTES) if harm == "flip" else os.truncate(path, BLOCK_BYTES)
    store, proof = reopened(root, content)
    file = store.open(proof)
    for index, is_right in enumerate(check_all(file)):
        assert is_right or file.put(content.verified(index))
    assert check_all(file) == [True] * 4
    assert file.prove()
    assert data_path(root, content.binding).read_bytes() == content.data
    assert not (partial_path(root, content.binding) / "data").exists()
    assert read(file, 0, len(content.data)) == content.data
    file.close()
    store.close()


def test_a_proven_file_that_was_spoilt_is_not_among_the_whole_ones(root: Path, content: Content) -> None:
    stored(root, content, is_proven=True)
    spoil(data_path(root, content.binding), 0)
    store, proof = reopened(root, content)
    file = store.open(proof)
    assert not file.check(0)
    assert not file.is_proven
    assert store.complete_info(content.sha1) is None
    with pytest.raises(NotFoundError):
        store.open_complete(content.sha1)
    assert [summary.is_proven for summary in store.files()] == [False]
    assert file.present_count() == 3, "the rest of it is kept"
    file.close()
    store.close()


def test_a_proven_file_that_was_cut_is_not_offered(root: Path, content: Content) -> None:
    stored(root, content, is_proven=True)
    os.truncate(data_path(root, content.binding), 10)
    store = Store(root)
    assert store.complete_size(content.sha1) is None
    assert list(store.files()) == []
    store.close()


def test_a_block_that_one_process_took_back_is_missing_in_the_other(root: Path, content: Content) -> None:
    stored(root, content)
    (one, proof), (other, other_proof) = reopened(root, content), reopened(root, content)
    file, others = one.open(proof), other.open(other_proof)
    assert others.check(1)
    spoil(data_path(root, content.binding), BLOCK_BYTES)
    assert not file.check(1)
    assert not others.is_present(1)
    assert not others.is_checked(1)
    with pytest.raises(StoreError):
        read(others, BLOCK_BYTES, BLOCK_BYTES + 10)
    assert others.put(content.verified(1))
    assert file.check(1)
    for opened in (file, others):
        opened.close()
    one.close()
    other.close()


def test_a_data_file_that_is_cut_while_it_is_open_costs_blocks_but_gives_no_zeros(
    store: Store, root: Path, content: Content
) -> None:
    file = store.open(content.proof())
    put_all(file, content)
    os.truncate(data_path(root, content.binding), BLOCK_BYTES + 10)
    with pytest.raises(StoreError):
        read(file, 2 * BLOCK_BYTES, 2 * BLOCK_BYTES + 10)
    assert not file.is_present(2)
    assert file.put(content.verified(2)), "the cut file is given up, not lengthened"
    for index in range(4):
        if file.is_checked(index):
            assert read(file, index * BLOCK_BYTES, index * BLOCK_BYTES + 10) == content.block(index)[:10]
    assert [file.is_present(index) for index in range(4)] == [False, False, True, False]
    file.close()


def test_presence_without_data_is_not_believed(root: Path, content: Content) -> None:
    stored(root, content)
    data_path(root, content.binding).unlink()
    store, proof = reopened(root, content)
    file = store.open(proof)
    assert file.present_count() == 0
    assert file.put(content.verified(2))
    assert [file.is_present(i) for i in range(4)] == [False, False, True, False]
    file.close()
    store.close()


def test_data_without_presence_are_missing(root: Path, content: Content) -> None:
    stored(root, content)
    (partial_path(root, content.binding) / "present").unlink()
    store, proof = reopened(root, content)
    file = store.open(proof)
    assert file.present_count() == 0
    file.close()
    store.close()


def test_rubbish_in_the_presence_file_is_found_out(root: Path, content: Content) -> None:
    store = Store(root, min_free_fraction=0)
    file = store.open(content.proof())
    put_all(file, content, range(1))
    (partial_path(root, content.binding) / "present").write_bytes(b"\x07\xff\x01\x80")
    assert check_all(file) == [True, False, False, False]
    assert file.present_count() == 1
    file.close()
    store.close()


# -- what a file is proven by


def test_a_file_of_one_block_is_proven_by_being_put(store: Store, root: Path) -> None:
    data = b"forty-two"
    proof = WholeProof(Sha1.of(data), len(data))
    file = store.open(proof)
    assert not file.is_present(0)
    assert file.put(proof.verify(0, data))
    assert file.is_proven
    assert file.is_checked(0)
    assert file.prove()
    assert read(file, 0, 9) == data
    assert store.complete_info(proof.sha1) == FileInfo(9, None)
    assert data_path(root, Binding(proof.sha1, Blake3.of(b""))).read_bytes() == data
    file.close()


def test_a_spoilt_file_of_one_block_is_missing_and_heals(store: Store, root: Path) -> None:
    data = b"forty-two"
    proof = WholeProof(Sha1.of(data), len(data))
    file = store.open(proof)
    file.put(proof.verify(0, data))
    file.close()
    spoil(data_path(root, Binding(proof.sha1, Blake3.of(b""))), 3)
    file = store.open(proof)
    assert not file.check(0)
    assert not file.is_present(0)
    assert store.complete_size(proof.sha1) is None
    assert file.put(proof.verify(0, data))
    assert read(file, 0, 9) == data
    assert store.complete_size(proof.sha1) == 9
    file.close()


def test_an_empty_file_is_proven_without_a_block(store: Store) -> None:
    file = store.open(WholeProof(Sha1.of(b""), 0))
    assert file.is_full()
    assert file.prove()
    assert file.is_proven
    assert store.complete_size(Sha1.of(b"")) == 0
    assert read(file, 0, 0) == b""
    assert [summary.size_bytes for summary in store.files()] == [0]
    file.close()


def test_a_legacy_file_has_blocks_of_its_own_size(store: Store, root: Path) -> None:
    data = make_content(1_000_003, 5).data
    manifest = Sha1.of(b"its JSON")
    proof = make_chunk_proof(data, 300_000, manifest)
    file = store.open(proof)
    for index in (0, 3):
        assert file.put(proof.verify(index, data[index * 300_000 : (index + 1) * 300_000]))
    assert file.present_bytes == 400_003
    assert [summary.present_bytes for summary in store.files()] == [400_003]
    file.close()
    file = store.open(proof)
    assert [file.check(index) for index in range(4)] == [True, False, False, True]
    for index in (1, 2):
        assert file.put(proof.verify(index, data[index * 300_000 : (index + 1) * 300_000]))
    assert file.prove()
    assert store.complete_info(proof.sha1) == FileInfo(1_000_003, manifest)
    file.close()


def test_groups_that_are_on_disk_are_found_for_a_check(root: Path, content: Content) -> None:
    stored(root, content)
    store = Store(root)
    file = store.open(GroupedProof(content.root))
    assert file.check(2)
    file.close()
    store.close()


def test_a_block_whose_group_is_nowhere_is_not_readable_but_stays(root: Path, content: Content) -> None:
    stored(root, content)
    store = Store(root)
    text = Blake3.of(content.groups[0]).hex
    (root / "manifest" / text[:2] / text[2:4] / text[4:6] / text).unlink()
    file = store.open(GroupedProof(content.root))
    assert not file.check(2)
    assert file.is_present(2)
    file.close()
    store.close()


def test_a_strangers_manifest_cannot_spoil_a_proven_file(root: Path, content: Content) -> None:
    stored(root, content, is_proven=True)
    lie = make_content(len(content.data), seed=99, claimed_sha1=content.sha1)
    store = Store(root, min_free_fraction=0)
    file = store.open(lie.proof())
    assert check_all(file) == [False] * 4
    assert store.complete_info(content.sha1) == FileInfo(len(content.data), content.binding.manifest)
    put_all(file, lie)
    assert read(file, 0, 100) == lie.data[:100], "the link's own manifest is what proves its blocks"
    right = store.open(content.proof())
    assert check_all(right) == [True] * 4
    assert right.is_proven
    assert data_path(root, content.binding).read_bytes() == content.data
    file.close()
    right.close()
    store.close()


def test_a_claim_of_another_size_does_not_touch_the_proven_file(root: Path, content: Content) -> None:
    stored(root, content, is_proven=True)
    lie = make_content(BLOCK_BYTES, seed=99, claimed_sha1=content.sha1)
    store = Store(root, min_free_fraction=0)
    file = store.open(lie.proof())
    assert not file.is_present(0)
    put_all(file, lie)
    assert store.complete_size(content.sha1) == len(content.data)
    file.close()
    store.close()


# -- looking without a proof


def test_what_is_partial_is_found_by_its_binding(root: Path, content: Content) -> None:
    store = Store(root, min_free_fraction=0)
    assert store.find_partial(content.binding) is None
    file = store.open(content.proof())
    put_all(file, content, range(1, 3))
    put_manifest(store, content)
    file.close()
    found = store.find_partial(content.binding)
    assert found is not None
    assert [found.check(i) for i in range(4)] == [False, True, True, False]
    assert os.pread(found.fd, 10, BLOCK_BYTES) == content.block(1)[:10]
    found.close()
    store.close()


def test_what_is_complete_is_found_by_its_binding(root: Path, content: Content) -> None:
    stored(root, content, is_proven=True)
    store = Store(root)
    found = store.find_partial(content.binding)
    assert found is not None
    assert found.is_proven
    assert found.check(0)
    found.close()
    store.close()


def test_no_file_is_found_without_its_manifest_or_under_another_name(store: Store, content: Content) -> None:
    file = store.open(content.proof())
    put_all(file, content)
    file.close()
    assert store.find_partial(content.binding) is None
    put_manifest(store, content)
    assert store.find_partial(Binding(Sha1.of(b"other"), content.binding.manifest)) is None


def test_a_file_that_is_too_large_for_one_block_is_not_found_without_a_manifest(
    root: Path, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(root, content, is_proven=True)
    monkeypatch.setattr("kacheryfs.store.blocks.MAX_BLOCK_BYTES", len(content.data) - 1)
    store = Store(root)
    assert store.find_partial(Binding(content.sha1, None, len(content.data))) is None
    store.close()


def test_a_peer_may_ask_by_the_salted_digest(store: Store, content: Content) -> None:
    question = salted(content.sha1)
    assert not store.find_salted(question)
    file = store.open(content.proof())
    assert not store.find_salted(question)
    put_all(file, content, range(1))
    assert store.find_salted(question)
    assert not store.find_salted(content.sha1)
    put_all(file, content)
    file.prove()
    assert store.find_salted(question)
    file.drop()
    assert not store.find_salted(question)
    file.close()


def test_the_store_lists_what_it_has(store: Store, content: Content) -> None:
    other = make_content(2 * BLOCK_BYTES, seed=3)
    file, others = store.open(content.proof()), store.open(other.proof())
    put_all(file, content, range(3, 4))
    put_all(others, other)
    others.prove()
    assert sorted(store.files(), key=lambda summary: summary.size_bytes) == [
        StoredSummary(other.sha1, other.root.digest, 2 * BLOCK_BYTES, 2 * BLOCK_BYTES, True),
        StoredSummary(content.sha1, content.root.digest, len(content.data), 1000, False),
    ]
    file.close()
    others.close()


# -- what it costs


def test_disk_is_used_only_for_what_is_present(store: Store, root: Path) -> None:
    content = make_content(64 * BLOCK_BYTES)
    file = store.open(content.proof())
    put_all(file, content, range(0, 64, 8))
    os.fsync(file.fd)
    assert file.present_bytes == 8 * BLOCK_BYTES
    used = sum(path.stat().st_blocks * 512 for path in partial_path(root, content.binding).iterdir())
    assert used <= 1.01 * file.present_bytes + 64 * 1024
    file.close()


def test_a_proven_file_lies_on_the_disk_once(root: Path, content: Content) -> None:
    stored(root, content, is_proven=True)
    large = [path for path in root.rglob("*") if path.is_file() and path.stat().st_size >= BLOCK_BYTES]
    assert large == [data_path(root, content.binding)]


def test_a_file_of_a_terabyte_opens_without_touching_its_blocks(store: Store, root: Path) -> None:
    groups = tuple(Blake3(bytes([i % 256]) * 32) for i in range(n_groups_of(TB)))
    block = make_content(BLOCK_BYTES)
    last_group = bytearray(64 * 1024)
    last_group[:32] = Blake3.of(block.data).raw
    proof = GroupedProof(Root(TB, Sha1.of(b"a terabyte"), (Blake3.of(bytes(last_group)), *groups[1:])))
    proof.add_group(0, bytes(last_group))
    file = store.open(proof)
    assert file.put(proof.verify(0, block.data))
    assert file.is_checked(0)
    assert not file.is_present(3_000_000)
    assert (file.present_count(), file.is_full()) == (1, False)
    os.fsync(file.fd)
    used = sum(path.stat().st_blocks * 512 for path in root.rglob("*") if path.is_file())
    assert used < BLOCK_BYTES + 16 * 10**6
    file.close()


# -- parts of manifests


def test_parts_of_manifests_are_kept_and_proven_again_when_read(store: Store, root: Path) -> None:
    data = b"a root" * 1000
    digest = Blake3.of(data)
    assert store.find_manifest_part(digest) is None
    store.put_manifest_part(digest, data)
    assert store.find_manifest_part(digest) == data
    text = digest.hex
    path = root / "manifest" / text[:2] / text[2:4] / text[4:6] / text
    spoil(path, 5)
    assert store.find_manifest_part(digest) is None
    assert not path.exists()
    store.put_manifest_part(digest, data)
    assert store.find_manifest_part(digest) == data


def test_nothing_unproven_gets_in(store: Store, content: Content) -> None:
    file = store.open(content.proof())
    with pytest.raises(AssertionError):
        file.put(VerifiedBlock(0, content.block(0), object()))
    with pytest.raises(AssertionError):
        store.put_manifest_part(Blake3.of(b"right"), b"wrong")
    file.close()
