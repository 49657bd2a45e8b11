"""The bound is hard, what is cold goes first, what is pinned or in use stays, and nobody ever sees a hole."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from evicting_child import LIMIT_BYTES
from store_content import (
    BLOCK_BYTES,
    Content,
    check_all,
    data_path,
    make_chunk_proof,
    make_content,
    open_descriptors,
    partial_path,
    put_all,
    put_manifest,
    read,
    spoil,
)

from kacheryfs.core.legacy import decode_legacy_manifest
from kacheryfs.core.manifest import WholeProof
from kacheryfs.core.model import Binding, Blake3, BlockRange, Layout, Sha1, salted
from kacheryfs.core.quantities import CacheSize
from kacheryfs.errors import StoreError
from kacheryfs.store import evictor, holding
from kacheryfs.store.blocks import Store, StoredFile
from kacheryfs.store.index import Row
from kacheryfs.store.ledger import Ledger, now_ms
from kacheryfs.store.presence import EXTENT_BLOCKS
from kacheryfs.store.punching import punch_blocks

MIB = 1024 * 1024
HERE = Path(__file__).parent


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def open_store(root: Path, limit_bytes: int) -> Store:
    return Store(root, min_free_fraction=0, cache_size=CacheSize(n_bytes=limit_bytes))


def disk_bytes(root: Path) -> int:
    """Return what ``du`` says."""
    return int(subprocess.run(["du", "-sB1", root], capture_output=True, check=True, text=True).stdout.split()[0])


def put_whole(store: Store, content: Content, *, is_proven: bool = False) -> None:
    file = store.open(content.proof())
    put_all(file, content)
    assert not is_proven or file.prove()
    file.close()


def present(store: Store, content: Content) -> list[bool]:
    file = store.open(content.proof())
    try:
        return [file.is_present(block) for block in range(content.n_blocks)]
    finally:
        file.close()


def test_a_file_larger_than_the_cache_is_kept_as_far_as_it_fits(root: Path) -> None:
    store, content = open_store(root, 24 * MIB), make_content(160 * BLOCK_BYTES)
    file = store.open(content.proof())
    proof = content.proof()
    for first in range(0, content.n_blocks, 8):
        assert file.put_all([proof.verify(block, content.block(block)) for block in range(first, first + 8)])
        assert disk_bytes(root) <= 24 * MIB
    assert file.is_checked(159), "what came last is there"
    assert not file.is_present(0), "what came first is gone"
    for block in range(content.n_blocks):
        assert (
            not file.is_checked(block)
            or read(file, block * BLOCK_BYTES, block * BLOCK_BYTES + 9) == (content.block(block)[:9])
        )
    assert store.cache.used_bytes() <= store.cache.limit_bytes == 24 * MIB
    assert store.cache.stats().evicted_blocks >= EXTENT_BLOCKS
    file.close()
    store.close()


def test_evicted_blocks_are_holes_in_the_file(root: Path) -> None:
    store, content = open_store(root, 1 << 40), make_content(2 * EXTENT_BLOCKS * BLOCK_BYTES)
    file = store.open(content.proof())
    put_all(file, content)
    before = disk_bytes(root)
    assert store.cache.evict([content.sha1], 1) == EXTENT_BLOCKS * BLOCK_BYTES
    assert disk_bytes(root) <= before - EXTENT_BLOCKS * BLOCK_BYTES
    assert os.path.getsize(data_path(root, content.binding)) == len(content.data)
    with pytest.raises(StoreError):
        read(file, 0, 10)
    assert not file.read_now(content.layout.bytes_of(BlockRange(0, 1)), memoryview(bytearray(BLOCK_BYTES)))
    assert file.put(content.verified(0))
    assert read(file, 0, 10) == content.data[:10]
    file.close()
    store.close()


def test_whole_files_that_nobody_has_open_go_before_cold_parts_of_open_ones(root: Path) -> None:
    store = open_store(root, 1 << 40)
    opened, older, newer = (make_content(3 * BLOCK_BYTES, seed) for seed in range(3))
    file = store.open(opened.proof())
    put_all(file, opened)
    for content in (older, newer):
        put_whole(store, content)
        time.sleep(0.01)  # a millisecond makes one older than the other
    assert store.cache.evict(n_bytes=1) > 0
    assert present(store, older) == [False] * 3
    assert present(store, newer) == [True] * 3
    assert not partial_path(root, older.binding).exists()
    assert store.cache.evict(n_bytes=1) > 0
    assert present(store, newer) == [False] * 3
    assert file.is_full()
    assert store.cache.evict(n_bytes=1) > 0
    assert not file.is_present(0)
    file.close()
    store.close()


def test_what_was_used_or_was_dear_goes_later(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, content = open_store(root, 1 << 40), make_content(3 * EXTENT_BLOCKS * BLOCK_BYTES)
    file = store.open(content.proof())
    put_all(file, content, range(EXTENT_BLOCKS, EXTENT_BLOCKS + 1))
    file.refetch_s_per_mib = 1.0
    put_all(file, content, range(1))
    file.refetch_s_per_mib = 0.0
    put_all(file, content, range(2 * EXTENT_BLOCKS, 2 * EXTENT_BLOCKS + 1))
    monkeypatch.setattr("kacheryfs.store.heat._AGAIN_S", 0.0)
    file.note_use(BlockRange(EXTENT_BLOCKS, EXTENT_BLOCKS + 1))
    gone = []
    for _ in range(3):
        assert store.cache.evict(n_bytes=1) == BLOCK_BYTES
        gone.append([n for n in range(3) if not file.is_present(n * EXTENT_BLOCKS)])
    assert [len(extents) for extents in gone] == [1, 2, 3]
    assert 0 not in gone[1], "a block that took a second a MiB stays for ten minutes more"
    file.close()
    store.close()


def test_what_is_pinned_stays_until_it_is_unpinned(root: Path) -> None:
    store, content = open_store(root, 1 << 40), make_content(3 * BLOCK_BYTES)
    put_whole(store, content)
    store.pins.pin("a link", [content.sha1])
    assert store.cache.clear() == 0
    assert store.cache.evict([content.sha1]) == 0
    assert store.cache.stats().pinned_bytes > 3 * BLOCK_BYTES
    assert store.pins.unpin("a link")
    assert store.cache.clear() > 3 * BLOCK_BYTES
    assert present(store, content) == [False] * 3
    store.close()


@pytest.mark.expects_warnings
def test_a_cache_full_of_what_is_pinned_keeps_nothing_more_and_stays_below_its_bound(root: Path) -> None:
    store = open_store(root, 4 * MIB)
    pinned, other = make_content(14 * BLOCK_BYTES), make_content(8 * BLOCK_BYTES, seed=1)
    store.pins.pin("a link", [pinned.sha1])
    put_whole(store, pinned)
    file = store.open(other.proof())
    kept = [file.put(other.verified(block)) for block in range(8)]
    assert not kept[-1]
    assert all(present(store, pinned))
    assert disk_bytes(root) <= 4 * MIB
    file.close()
    store.close()


def test_a_proven_file_that_is_open_gives_its_cold_parts_and_what_lies_under_sha1_stays_whole(root: Path) -> None:
    store, other = (open_store(root, 1 << 40) for _ in range(2))
    content = make_content(2 * EXTENT_BLOCKS * BLOCK_BYTES + 5)
    put_whole(store, content, is_proven=True)
    file, others = store.open(content.proof()), other.open(content.proof())
    assert file.is_proven
    assert others.is_full()
    assert other.cache.evict([content.sha1], 1) == EXTENT_BLOCKS * BLOCK_BYTES
    assert store.complete_size(content.sha1) is None
    assert not (root / "sha1" / content.sha1.hex[:2]).exists()
    for opened in (file, others):
        assert [opened.is_present(block) for block in (0, EXTENT_BLOCKS, 2 * EXTENT_BLOCKS)] == [False, True, True]
        assert opened.check(EXTENT_BLOCKS)
    put_all(file, content, range(EXTENT_BLOCKS))
    assert others.check(3)
    assert file.prove()
    assert data_path(root, content.binding).read_bytes() == content.data
    assert others.is_full()
    assert others.prove()
    for opened in (file, others):
        opened.close()
    assert store.cache.clear() > len(content.data)
    assert store.complete_size(content.sha1) is None
    assert list(store.files()) == []
    store.close()
    other.close()


def test_a_file_that_is_evicted_refilled_and_proven_again_takes_no_more_descriptors(root: Path) -> None:
    store, content = open_store(root, 1 << 40), make_content((EXTENT_BLOCKS + 1) * BLOCK_BYTES)
    file = store.open(content.proof())
    put_all(file, content)
    assert file.prove()
    before = open_descriptors(store.root)
    for _ in range(3):
        assert store.cache.evict([content.sha1], 1)
        put_all(file, content)
        assert file.prove()
        assert data_path(root, content.binding).read_bytes() == content.data
        assert open_descriptors(store.root) == before
    file.close()
    assert store.cache.evict([content.sha1]) > len(content.data), "nobody has it open any more"
    store.close()


def test_who_writes_by_the_backing_from_before_a_proof_keeps_who_writes_after_an_eviction_waiting(root: Path) -> None:
    store, content = open_store(root, 1 << 40), make_content((EXTENT_BLOCKS + 1) * BLOCK_BYTES)
    file = store.open(content.proof())
    put_all(file, content)
    earlier = file._backer.backing
    assert file.prove()
    assert store.cache.evict([content.sha1], 1)
    put_all(file, content)
    later = file._backer.backing
    assert later is not earlier
    assert later.fd == earlier.fd
    assert later._writing is earlier._writing, "an unlock by one would free what the other has locked"
    file.close()
    store.close()


def test_a_spoilt_block_of_a_proven_file_is_replaced_under_the_same_descriptors(root: Path) -> None:
    store, content = open_store(root, 1 << 40), make_content(3 * BLOCK_BYTES)
    put_whole(store, content, is_proven=True)
    file = store.open(content.proof())
    before = open_descriptors(store.root)
    spoil(data_path(root, content.binding), BLOCK_BYTES)
    assert [file.check(block) for block in range(3)] == [True, False, True]
    assert not file.is_proven
    assert file.put(content.verified(1))
    assert read(file, 0, len(content.data)) == content.data
    assert file.prove()
    assert open_descriptors(store.root) == before
    file.close()
    store.close()


def test_a_proven_file_whose_presence_was_lost_goes_whole_where_it_is_spoilt(root: Path) -> None:
    stores, content = [open_store(root, 1 << 40) for _ in range(2)], make_content((EXTENT_BLOCKS + 1) * BLOCK_BYTES)
    put_whole(stores[0], content, is_proven=True)
    files = [store.open(content.proof()) for store in stores]
    assert all(check_all(files[0]))
    (partial_path(root, content.binding) / "present").unlink()
    spoil(data_path(root, content.binding), BLOCK_BYTES)
    assert not files[1].check(1)
    assert stores[1].complete_size(content.sha1) is None
    put_all(files[1], content)
    assert stores[1].cache.evict([content.sha1]) > len(content.data) // 2, "of a new data file"
    assert files[0].is_checked(0)
    assert read(files[0], 0, BLOCK_BYTES) == content.block(0), "a hole would read as zeros"
    for file, store in zip(files, stores, strict=True):
        file.close()
        store.close()


def test_a_proven_file_that_is_sent_whole_is_not_touched(root: Path) -> None:
    store, content = open_store(root, 1 << 40), make_content(2 * EXTENT_BLOCKS * BLOCK_BYTES)
    put_whole(store, content, is_proven=True)
    fd = store.open_complete(content.sha1)
    assert store.cache.evict([content.sha1]) == 0
    assert os.pread(fd, 10, len(content.data) - 10) == content.data[-10:]
    os.close(fd)
    assert store.cache.evict([content.sha1]) > len(content.data)
    store.close()


def test_a_large_file_that_nobody_has_open_loses_its_coldest_extents_only(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kacheryfs.store.evictor._WHOLE_BYTES", MIB)
    for is_proven in (False, True):
        store, content = open_store(root, 1 << 40), make_content(2 * EXTENT_BLOCKS * BLOCK_BYTES, seed=is_proven)
        put_whole(store, content, is_proven=is_proven)
        assert store.cache.evict([content.sha1], 1) == EXTENT_BLOCKS * BLOCK_BYTES
        assert sum(present(store, content)) == EXTENT_BLOCKS
        assert store.cache.evict([content.sha1]) > EXTENT_BLOCKS * BLOCK_BYTES
        store.close()


def test_a_file_of_one_block_goes_whole_and_only_while_nobody_has_it_open(root: Path) -> None:
    store, data = open_store(root, 1 << 40), b"forty-two"
    proof = WholeProof(Sha1.of(data), len(data))
    file = store.open(proof)
    assert file.put(proof.verify(0, data))
    file.note_use(BlockRange(0, 1))
    assert store.cache.evict([proof.sha1]) == 0
    file.close()
    assert store.cache.evict([proof.sha1]) > 0
    assert store.complete_size(proof.sha1) is None
    store.close()


def put_legacy(store: Store, data: bytes, block_bytes: int, blocks: range) -> StoredFile:
    """Put blocks of a file under a legacy manifest, and return it open."""
    proof = make_chunk_proof(data, block_bytes, Sha1.of(b"its JSON"))
    file = store.open(proof)
    for index in blocks:
        assert file.put(proof.verify(index, data[index * block_bytes : (index + 1) * block_bytes]))
    return file


def test_a_file_under_a_legacy_manifest_goes_only_whole_and_only_while_nobody_has_it_open(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kacheryfs.store.evictor._WHOLE_BYTES", 0)
    store, data = open_store(root, 1 << 40), make_content(100 * 30_001, seed=5).data
    file = put_legacy(store, data, 30_001, range(100))
    assert store.cache.evict([file.binding.sha1], 1) == 0
    assert read(file, 0, len(data)) == data
    file.close()
    assert store.cache.evict([file.binding.sha1], 1) > len(data)
    store.close()


def put_with_legacy_manifest(store: Store, data: bytes) -> tuple[StoredFile, Sha1]:
    """Put a file whole under a legacy manifest that is in the store, too; return it open, and the manifest's SHA-1."""
    spans = [(start, min(start + 30_001, len(data))) for start in range(0, len(data), 30_001)]
    chunks = [{"start": start, "end": end, "sha1": Sha1.of(data[start:end]).hex} for start, end in spans]
    written = json.dumps({"size": len(data), "sha1": Sha1.of(data).hex, "chunks": chunks}).encode()
    manifest = WholeProof(Sha1.of(written), len(written))
    with closing(store.open(manifest)) as file:
        assert file.put(manifest.verify(0, written))
    file = store.open(decode_legacy_manifest(written, manifest.sha1, Sha1.of(data)))
    for index, (start, end) in enumerate(spans):
        assert file.put(file.proof.verify(index, data[start:end]))
    return file, manifest.sha1


@pytest.mark.parametrize("is_proven", [True, False])
def test_a_legacy_manifest_stays_as_long_as_its_file(root: Path, is_proven: bool) -> None:
    store, data = open_store(root, 1 << 40), make_content(100_000, seed=5).data
    file, manifest = put_with_legacy_manifest(store, data)
    assert not is_proven or file.prove()
    assert store.cache.evict() == store.cache.evict(n_bytes=1) == store.cache.evict([manifest]) == 0, "it is open"
    file.close()
    store.pins.pin("a link", [file.binding.sha1])
    assert store.cache.evict() == 0, "its file is pinned"
    assert store.pins.unpin("a link")
    found = store.find_partial(file.binding)
    assert found is not None
    assert found.is_full()
    found.close()
    assert store.cache.evict() > len(data)
    assert list(store.files()) == []
    store.close()


@pytest.mark.expects_warnings
def test_a_put_does_not_wait_for_a_legacy_manifest_that_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, content = open_store(root, 3 * MIB), make_content(12 * BLOCK_BYTES)
    file, _ = put_with_legacy_manifest(store, make_content(100_000, seed=5).data)
    file.close()
    store.pins.pin("a link", [file.binding.sha1, content.sha1])
    monkeypatch.setattr("kacheryfs.store.growth.time.sleep", lambda s: pytest.fail("nothing is busy"))
    other = store.open(content.proof())
    assert not all(other.put(content.verified(block)) for block in range(content.n_blocks))
    other.close()
    store.close()


def test_no_hole_is_made_by_the_guessed_blocks_of_a_legacy_manifest(root: Path) -> None:
    store, data = open_store(root, 1 << 40), make_content(2_100_000, seed=3).data
    file = put_legacy(store, data, 2_000_000, range(1))
    store._index.forget(file.binding)
    assert store.cache.evict(n_bytes=0) == 0
    assert read(file, 0, 2_000_000) == data[:2_000_000]
    store.cache.evict(n_bytes=1)
    assert read(file, 0, 2_000_000) == data[:2_000_000]
    file.close()
    store.close()


def test_a_put_corrects_what_the_index_guessed_of_a_legacy_manifest(root: Path) -> None:
    store, data = open_store(root, 1 << 40), make_content(2_100_000, seed=3).data
    put_legacy(store, data, 2_000_000, range(1)).close()
    store.close()
    for path in root.glob("index.sqlite*"):
        path.unlink()
    store = open_store(root, 1 << 40)
    assert [row.layout.block_bytes for row in store._index.rows()] == [1_050_000]
    put_legacy(store, data, 2_000_000, range(1, 2)).close()
    assert [(row.layout.block_bytes, row.is_proven) for row in store._index.rows()] == [(2_000_000, False)]
    store.close()


def test_blocks_that_share_a_page_with_a_neighbour_leave_that_page(tmp_path: Path) -> None:
    data, layout = random.Random(5).randbytes(100 * 30_001), Layout(100 * 30_001, 30_001)
    (tmp_path / "data").write_bytes(data)
    fd = os.open(tmp_path / "data", os.O_RDWR)
    punch_blocks(fd, layout, BlockRange(0, EXTENT_BLOCKS))
    os.close(fd)
    left = (tmp_path / "data").read_bytes()
    assert left[:4096] == bytes(4096)
    assert left[64 * 30_001 :] == data[64 * 30_001 :]


def test_where_holes_cannot_be_made_whole_files_go(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kacheryfs.store.evictor.can_punch", lambda folder: False)
    store, content = open_store(root, 1 << 40), make_content(2 * EXTENT_BLOCKS * BLOCK_BYTES)
    file = store.open(content.proof())
    put_all(file, content)
    assert store.cache.evict([content.sha1]) == 0
    file.close()
    assert store.cache.evict([content.sha1], 1) > len(content.data)
    store.close()


def test_manifests_of_evicted_files_go_with_the_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kacheryfs.store.cache._CLEAR_AGE_S", -1.0)
    store, gone, kept = open_store(root, 1 << 40), make_content(3 * BLOCK_BYTES), make_content(BLOCK_BYTES + 1, seed=2)
    for content in (gone, kept):
        put_manifest(store, content)
        put_whole(store, content)
    store.pins.pin("a link", [kept.sha1])
    assert store.cache.clear() > 0
    assert store.find_manifest_part(gone.root.digest) is None
    assert store.find_manifest_part(kept.root.digest) == kept.root.encode()
    store.close()


# -- the notes that processes leave each other


@pytest.mark.parametrize("is_proven", [True, False])
def test_an_index_that_was_lost_costs_no_file_its_manifest(root: Path, is_proven: bool) -> None:
    content = make_content(3 * BLOCK_BYTES, seed=4)
    store = Store(root)
    put_manifest(store, content)
    with closing(store.open(content.proof())) as file:
        put_all(file, content, range(3 if is_proven else 2))
        assert file.prove() is is_proven
    store.close()
    for path in root.glob("index.sqlite*"):
        path.unlink()
    store = Store(root)
    store.pins.pin("link", [content.sha1])
    assert store.cache._counting.remove_orphan_parts(min_age_s=-1) == 0
    for digest in (content.root.digest, *content.root.groups):
        assert store.find_manifest_part(digest) is not None
    store.close()


def test_a_claim_on_a_proven_file_costs_it_no_manifest(root: Path) -> None:
    content = make_content(3 * BLOCK_BYTES, seed=4)
    store = Store(root)
    put_manifest(store, content)
    put_whole(store, content, is_proven=True)
    claimed = Binding(content.sha1, Blake3(b"\xff" * 32))
    store._index.enter(Row(claimed, content.proof().layout, is_proven=False))
    (partial_path(root, content.binding) / "present").unlink()
    partial_path(root, content.binding).rmdir()
    assert store.cache._counting.remove_orphan_parts(min_age_s=-1) == 0
    store.close()


@pytest.mark.parametrize("unreadable", ["partial", "sha1", "manifest"])
def test_no_manifest_is_removed_while_it_cannot_be_told_what_the_store_has(
    root: Path, monkeypatch: pytest.MonkeyPatch, unreadable: str
) -> None:
    store, partial, whole = Store(root), make_content(3 * BLOCK_BYTES, seed=4), make_content(3 * BLOCK_BYTES, seed=5)
    put_manifest(store, partial)
    put_manifest(store, whole)
    with closing(store.open(partial.proof())) as file:
        put_all(file, partial, range(1))
    put_whole(store, whole, is_proven=True)
    (partial_path(root, whole.binding) / "present").unlink()
    partial_path(root, whole.binding).rmdir()

    def failing(call: Callable[..., object]) -> Callable[..., object]:
        def fail(path: object, *arguments: object, **options: object) -> object:
            if Path(str(path)).is_relative_to(root / unreadable):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return call(path, *arguments, **options)

        return fail

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing(os.scandir))
        patch.setattr(Path, "read_bytes", failing(Path.read_bytes))
        with pytest.raises(OSError, match="Too many open files"):
            store.cache._counting.remove_orphan_parts(min_age_s=-1)
        store.cache._counting.count()
    for content in (partial, whole):
        for digest in (content.root.digest, *content.root.groups):
            assert store.find_manifest_part(digest) is not None
    assert store.cache._counting.remove_orphan_parts(min_age_s=-1) == 0
    store.close()


def test_a_child_that_was_forked_while_a_file_was_evicted_does_not_keep_it_from_others(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = make_content(3 * EXTENT_BLOCKS * BLOCK_BYTES, seed=6)
    store = Store(root)
    put_whole(store, content, is_proven=True)
    monkeypatch.setattr(evictor, "_WHOLE_BYTES", 0)
    copies = []

    def take_alone(fd: int) -> bool:
        copies.append(os.dup(fd))  # as a fork leaves it
        return holding.take_alone(fd)

    monkeypatch.setattr(evictor, "take_alone", take_alone)
    assert store.cache.evict([content.sha1], 1)
    assert copies
    with closing(store.open(content.proof())) as file:
        assert not file.is_full()
        assert file.present_count()
    for fd in copies:
        os.close(fd)
    store.close()


def test_mending_makes_the_hole_that_a_killed_process_left_and_tells_who_reads(root: Path) -> None:
    content = make_content(64 * BLOCK_BYTES, seed=5)
    store = Store(root)
    with closing(store.open(content.proof())) as file:
        put_all(file, content)
        place = next(root.glob("partial/??/*"))
        before = bytes(file._backer.backing.presence.bits)
        with (place / "present").open("r+b") as presence:
            presence.write(bytes(48))  # killed after it cleared, before it said so and made the hole
        store.cache.evict([Sha1.of(b"no such file")])
        assert (place / "data").stat().st_blocks * 512 <= 17 * BLOCK_BYTES
        after = file._backer.backing.presence
        assert bytes(after.bits)[after.generation_at] != before[after.generation_at]
        assert not file.is_present(0)
        assert file.is_present(63)
    store.close()


def test_what_one_process_has_under_way_another_knows_for_three_seconds(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (open_store(root, 1 << 40) for _ in range(2))
    content = make_content((EXTENT_BLOCKS + 1) * BLOCK_BYTES)
    put_manifest(one, content)
    file = one.open(content.proof())
    assert not file.is_wanted(0)
    assert other.find_partial(content.binding) is None
    assert not other.find_salted(salted(content.sha1))
    file.note_wanted(BlockRange(0, 2))
    assert other.find_salted(salted(content.sha1))
    others = other.find_partial(content.binding)
    assert others is not None
    assert file.present_count() == 0
    assert [others.is_wanted(block) for block in range(4)] == [True, True, False, False]
    monkeypatch.setattr("kacheryfs.store.files.now_ms", lambda: now_ms() + 4000)
    assert not others.is_wanted(1)
    assert other.find_partial(content.binding) is None
    for opened in (file, others):
        opened.close()
    one.close()
    other.close()


def test_a_use_is_written_once_in_a_while(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, content = open_store(root, 1 << 40), make_content(3 * BLOCK_BYTES)
    file = store.open(content.proof())
    put_all(file, content)
    calls: list[object] = []
    monkeypatch.setattr(os, "pwrite", lambda *arguments: calls.append(arguments))
    for _ in range(1000):
        file.note_use(BlockRange(0, 3))
    assert calls == []
    monkeypatch.undo()
    file.close()
    store.close()


# -- many processes


def start(root: Path, role: str, seed: int, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, HERE / "evicting_child.py", root, role, str(seed), str(seconds)]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parent.parent), str(HERE)])}
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def disk_bytes_of_stopped(root: Path, children: list[subprocess.Popen[str]]) -> int:
    """Return what ``du`` says while nothing moves: it would count a file twice that is renamed under it."""
    for child in children:
        child.send_signal(signal.SIGSTOP)
    try:
        return disk_bytes(root) if root.exists() else 0
    finally:
        for child in children:
            child.send_signal(signal.SIGCONT)


def counts_of(output: str) -> dict[str, int]:
    return {name: int(value) for name, _, value in (word.partition("=") for word in output.split())}


def test_nobody_sees_a_hole_and_the_bound_holds_while_processes_read_send_prove_and_evict(
    root: Path, request: pytest.FixtureRequest
) -> None:
    seconds = 60 * (request.config.getoption("--minutes", None) or 1)
    seed = random.randrange(1 << 30)
    print("seed", seed)
    roles = ["reader", "reader", "reader", "sender", "evictor"]
    children = [start(root, role, seed + n, seconds) for n, role in enumerate(roles)]
    largest = 0
    while any(child.poll() is None for child in children):
        largest = max(largest, disk_bytes_of_stopped(root, [child for child in children if child.poll() is None]))
        time.sleep(0.3)
    total: dict[str, int] = {}
    for role, child in zip(roles, children, strict=True):
        out, err = child.communicate(timeout=100)
        assert child.returncode == 0, f"{role}, seed {seed}: {err[-3000:]}"
        for name, count in counts_of(out).items():
            total[name] = total.get(name, 0) + count
    assert LIMIT_BYTES // 2 < largest <= LIMIT_BYTES
    assert min(total["n_read"], total["n_put"], total["n_sent"], total["n_evicted"], total["n_proven"]) > 10, total
    assert -LIMIT_BYTES // 16 <= Ledger(root / "usage").read().used_bytes - disk_bytes(root) <= 2 * MIB


def test_killed_processes_cost_no_byte_and_their_space_comes_back(root: Path) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    for n in range(12):
        children = [start(root, role, seed + n, 60) for role in ("reader", "evictor")]
        time.sleep(0.8 + rng.random() / 2)
        for child in children:
            assert child.poll() is None, child.communicate()[1][-3000:]
            child.kill()
            child.communicate()
    child = start(root, "reader", seed, 3)
    out, err = child.communicate(timeout=100)
    assert child.returncode == 0, err[-3000:]
    assert counts_of(out)["n_read"] > 10
    store = open_store(root, LIMIT_BYTES)
    store.cache.clear()
    assert disk_bytes(root) < MIB, "what nobody has open is gone, and no data without presence is left"
    store.close()


# -- an older store


def make_old(root: Path, content: Content) -> None:
    """Make a store of version 1 with three of four blocks present."""
    store = Store(root, min_free_fraction=0)
    put_manifest(store, content)
    file = store.open(content.proof())
    put_all(file, content, range(3))
    file.close()
    store.close()
    (root / "VERSION").write_text("kacheryfs-store 1\n")
    os.truncate(partial_path(root, content.binding) / "present", 4)


def test_a_store_of_version_1_is_migrated_and_keeps_what_it_has(root: Path) -> None:
    content = make_content(4 * BLOCK_BYTES)
    make_old(root, content)
    (root / "usage").unlink()
    (root / "index.sqlite").unlink()
    store = Store(root, min_free_fraction=0)
    assert (root / "VERSION").read_text() == "kacheryfs-store 2\n"
    assert [summary.present_bytes for summary in store.files()] == [3 * BLOCK_BYTES]
    file = store.open(content.proof())
    assert [file.check(block) for block in range(4)] == [True, True, True, False]
    assert store.cache.evict([content.sha1]) == 3 * BLOCK_BYTES
    assert [file.is_present(block) for block in range(4)] == [False] * 4
    file.close()
    store.close()


def test_an_old_file_that_was_never_opened_since_is_evicted_by_its_age(root: Path) -> None:
    content = make_content(4 * BLOCK_BYTES)
    make_old(root, content)
    store = Store(root, min_free_fraction=0)
    assert store.cache.clear() > 3 * BLOCK_BYTES
    assert list(store.files()) == []
    store.close()
