"""A whole file is held against its SHA-1; only then it stands under ``sha1/``, and all at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from store_content import (
    BLOCK_BYTES,
    Content,
    check_all,
    data_path,
    make_chunk_proof,
    make_content,
    partial_path,
    put_all,
    put_manifest,
    read,
    spoil,
)

from kacheryfs.core.manifest import VerifiedBlock, WholeProof
from kacheryfs.core.model import Binding, ByteRange, Sha1
from kacheryfs.core.wire import FileInfo
from kacheryfs.errors import ClaimError, NotFoundError
from kacheryfs.store import files, promotion
from kacheryfs.store.backing import Backing
from kacheryfs.store.blocks import Store
from kacheryfs.store.evictor import Evictor
from kacheryfs.store.presence import EXTENT_BLOCKS


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


def test_a_file_with_a_missing_block_is_not_proven(store: Store, content: Content) -> None:
    file = store.open(content.proof())
    put_all(file, content, range(3))
    assert not file.prove()
    assert not file.is_proven
    assert store.complete_size(content.sha1) is None
    file.close()


def test_a_whole_file_whose_sha1_is_right_moves_to_its_place(store: Store, root: Path, content: Content) -> None:
    file = store.open(content.proof())
    put_all(file, content)
    inode = os.fstat(file.fd).st_ino
    assert file.prove()
    assert file.is_proven
    place = data_path(root, content.binding)
    assert place.parent.parent.parent.parent == root / "sha1"
    assert (place.stat().st_ino, place.read_bytes()) == (inode, content.data)
    assert not (partial_path(root, content.binding) / "data").exists()
    assert store.complete_info(content.sha1) == FileInfo(len(content.data), content.root.digest)
    fd = store.open_complete(content.sha1)
    assert os.pread(fd, 10, 0) == content.data[:10]
    os.close(fd)
    assert read(file, 0, len(content.data)) == content.data, "what was checked stays so"
    file.close()


def test_a_block_that_is_not_whole_is_no_proven_file(store: Store, content: Content) -> None:
    with pytest.raises(NotFoundError):
        store.open_complete(content.sha1)
    assert store.complete_info(content.sha1) is None


def test_another_store_that_has_the_partial_file_open_reads_on(root: Path, content: Content) -> None:
    one, other = Store(root, min_free_fraction=0), Store(root, min_free_fraction=0)
    file, others = one.open(content.proof()), other.open(content.proof())
    put_all(file, content)
    put_all(others, content, range(1))
    assert check_all(others) == [True] * 4
    assert file.prove()
    assert read(others, 0, len(content.data)) == content.data
    assert others.prove(), "it finds the file proven"
    assert others.is_proven
    for opened in (file, others):
        opened.close()
    one.close()
    other.close()


def test_what_another_store_proved_is_not_hashed_again(
    root: Path, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Store(root, min_free_fraction=0), Store(root, min_free_fraction=0)
    file, others = one.open(content.proof()), other.open(content.proof())
    put_all(file, content)
    put_all(others, content, range(1))
    assert file.prove()
    monkeypatch.setattr("kacheryfs.store.files.sha1_of_file", None)
    assert others.prove()
    for opened in (file, others):
        opened.close()
    one.close()
    other.close()


def test_what_was_proven_before_parts_were_evicted_is_not_hashed_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = make_content((EXTENT_BLOCKS + 1) * BLOCK_BYTES)
    one, other = Store(root, min_free_fraction=0), Store(root, min_free_fraction=0)
    file, others = one.open(content.proof()), other.open(content.proof())
    put_all(file, content)
    assert file.prove()
    assert one.cache.evict([content.sha1], 1)
    put_all(others, content)
    monkeypatch.setattr("kacheryfs.store.files.sha1_of_file", None)
    assert others.prove()
    assert data_path(root, content.binding).read_bytes() == content.data
    for opened in (file, others):
        opened.close()
    one.close()
    other.close()


@pytest.mark.parametrize("harm", ["spoilt", "cut"])
def test_a_file_that_was_proven_before_is_not_proven_again_while_a_block_of_it_is_wrong(
    root: Path, content: Content, harm: str
) -> None:
    store = Store(root, min_free_fraction=0)
    file = store.open(content.proof())
    put_all(file, content)
    assert file.prove()
    spoil(data_path(root, content.binding), 2 * BLOCK_BYTES)
    file.close()
    file = store.open(content.proof())
    assert [file.check(block) for block in range(3)] == [True, True, False]
    assert file.put(content.verified(2))
    assert file.is_full()
    data = partial_path(root, content.binding) / "data"
    if harm == "cut":
        assert file.check(3)
        os.truncate(data, 3 * BLOCK_BYTES)
    else:
        spoil(data, 3 * BLOCK_BYTES)
    assert not file.prove()
    assert store.complete_size(content.sha1) is None
    assert file.put(content.verified(3))
    put_all(file, content)
    assert file.prove()
    assert data_path(root, content.binding).read_bytes() == content.data
    file.close()
    store.close()


def test_what_was_proven_with_a_legacy_manifest_is_hashed_again(
    root: Path, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = make_chunk_proof(content.data, BLOCK_BYTES, Sha1.of(b"its JSON"))
    hashed: list[int] = []
    monkeypatch.setattr(files, "sha1_of_file", lambda fd, size: hashed.append(fd) or promotion.sha1_of_file(fd, size))
    store = Store(root, min_free_fraction=0)
    file = store.open(chunks)
    for block in range(content.n_blocks):
        assert file.put(chunks.verify(block, content.block(block)))
    assert file.prove()
    file.close()
    spoil(data_path(root, Binding(content.sha1, chunks.manifest)), BLOCK_BYTES)
    file = store.open(chunks)
    assert not file.check(1)
    assert file.put(chunks.verify(1, content.block(1)))
    assert file.prove()
    assert len(hashed) == 2
    file.close()
    store.close()


def test_a_false_claim_loses_its_blocks_everywhere(root: Path, content: Content) -> None:
    lie = make_content(len(content.data), seed=9, claimed_sha1=content.sha1)
    one, other = Store(root, min_free_fraction=0), Store(root, min_free_fraction=0)
    file, others = one.open(lie.proof()), other.open(lie.proof())
    put_all(file, lie)
    put_all(others, lie, range(1))
    with pytest.raises(ClaimError, match="the claim was false"):
        file.prove()
    for opened in (file, others):
        assert not any(opened.is_present(i) or opened.is_checked(i) for i in range(4))
    assert not file.put(lie.verified(0)), "nothing more is stored under it"
    assert not partial_path(root, lie.binding).exists()
    assert list(one.files()) == []
    assert one.complete_size(content.sha1) is None
    again = one.open(lie.proof())
    assert again is not file
    assert again.present_count() == 0
    for opened in (file, others, again):
        opened.close()
    one.close()
    other.close()


def test_what_another_process_has_put_is_put_without_waiting_for_its_proof(
    root: Path, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kacheryfs.store.backing._LOCK_TIMEOUT_S", 0)
    one, other = Store(root, min_free_fraction=0), Store(root, min_free_fraction=0)
    file = one.open(content.proof())
    put_all(file, content)
    others = other.open(content.proof())
    with file._holding(ByteRange(0, len(content.data))):  # as it does for the whole SHA-1
        assert not others.is_checked(0)
        assert others.put_all([content.verified(block) for block in range(content.n_blocks)])
    assert all(others.is_checked(block) for block in range(content.n_blocks))
    assert read(others, 0, len(content.data)) == content.data
    for opened in (file, others):
        opened.close()
    one.close()
    other.close()


def test_of_blocks_that_are_put_only_those_are_written_that_are_missing_or_wrong(
    store: Store, root: Path, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = store.open(content.proof())
    put_all(file, content, range(1, 3))
    spoil(data_path(root, content.binding), 2 * BLOCK_BYTES)
    file.close()
    file = store.open(content.proof())
    written: list[range] = []
    write = Backing.write

    def note(backing: Backing, blocks: list[VerifiedBlock], keep: Callable[[int], None]) -> int:
        written.append(range(blocks[0].index, blocks[-1].index + 1))
        return write(backing, blocks, keep)

    monkeypatch.setattr(Backing, "write", note)
    assert file.put_all([content.verified(block) for block in range(content.n_blocks)])
    assert written == [range(1), range(2, 4)]
    assert read(file, 0, len(content.data)) == content.data
    file.close()


def test_a_false_claim_of_an_empty_file_is_found_out(store: Store) -> None:
    file = store.open(WholeProof(Sha1.of(b"something"), 0))
    with pytest.raises(ClaimError):
        file.prove()
    file.close()


def test_a_block_that_the_disk_spoilt_is_not_taken_for_a_false_claim(
    store: Store, root: Path, content: Content
) -> None:
    file = store.open(content.proof())
    put_all(file, content)
    spoil(data_path(root, content.binding), 2 * BLOCK_BYTES)
    assert not file.prove()
    assert [file.is_present(i) for i in range(4)] == [True, True, False, True]
    assert file.put(content.verified(2))
    assert file.prove()
    file.close()


def test_a_disk_that_fails_while_hashing_is_not_taken_for_a_false_claim(
    store: Store, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = store.open(content.proof())
    put_all(file, content)

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(promotion.os, "preadv", fail)
        assert not file.prove()
    assert file.prove()
    file.close()


def test_a_wrong_file_in_its_place_is_replaced_by_a_proven_one(store: Store, root: Path, content: Content) -> None:
    text = content.sha1.hex
    place = root / "sha1" / text[:2] / text[2:4] / text[4:6] / text
    place.parent.mkdir(parents=True)
    place.write_bytes(bytes(len(content.data)))
    file = store.open(content.proof())
    assert check_all(file) == [False] * 4
    put_all(file, content)
    assert file.prove()
    assert place.read_bytes() == content.data
    file.close()


def test_the_data_are_on_the_disk_before_they_move(
    store: Store, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda fd: steps.append("fsync") or fsync(fd))
    monkeypatch.setattr(os, "rename", lambda a, b: steps.append("rename") or rename(a, b))
    file = store.open(content.proof())
    put_all(file, content)
    assert steps == [], "no block is synced by itself"
    assert file.prove()
    assert steps == ["fsync", "rename"]
    file.close()


def test_dropping_removes_a_proven_file_too(store: Store, root: Path, content: Content) -> None:
    file = store.open(content.proof())
    put_all(file, content)
    put_manifest(store, content)
    file.prove()
    file.drop()
    assert not data_path(root, content.binding).exists()
    assert store.complete_info(content.sha1) is None
    assert store.find_partial(content.binding) is None
    file.close()


def test_what_is_proven_with_another_manifest_while_it_is_evicted_keeps_its_bytes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Store(root, min_free_fraction=0), Store(root, min_free_fraction=0)
    content = make_content(65 * BLOCK_BYTES)
    chunks = make_chunk_proof(content.data, BLOCK_BYTES, Sha1.of(b"its JSON"))
    file, others = one.open(content.proof()), other.open(chunks)
    put_all(file, content)
    for block in range(content.n_blocks):
        assert others.put(chunks.verify(block, content.block(block)))
    assert file.prove()
    prover = threading.Thread(target=others.prove)
    real = Evictor._is_proven_with

    def asked(evictor: Evictor, binding: Binding) -> bool:
        answer = real(evictor, binding)
        prover.start()
        prover.join(0.5)  # it ends here only where nothing stops it
        return answer

    monkeypatch.setattr(Evictor, "_is_proven_with", asked)
    assert one.cache.evict([content.sha1], 1)
    prover.join()
    assert others.is_proven
    assert read(others, 0, len(content.data)) == content.data
    for opened in (file, others):
        opened.close()
    one.close()
    other.close()
