"""What all processes together may write: reserves, dead processes, counts, and the floor of free space."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from store_content import BLOCK_BYTES, make_content, put_all

from kacheryfs.core.manifest import WholeProof
from kacheryfs.core.model import Sha1
from kacheryfs.core.quantities import CacheSize
from kacheryfs.store.blocks import Store
from kacheryfs.store.ledger import Ledger
from kacheryfs.store.space import Room

MIB = 1024 * 1024
GB = 10**9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", disk], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"needs root to mount: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_reserves_of_all_count_and_together_stay_below_the_bound(path: Path) -> None:
    one, other = Ledger(path), Ledger(path)
    assert one.take(10, 100, 60)
    assert other.take(30, 100, 60), "40 are left"
    assert not other.take(20, 100, 60)
    assert one.take(40, 100, 60), "out of its reserve"
    one.settle(50, 50)
    assert one.read().used_bytes == 100
    one.close()
    assert other.read().used_bytes == 90, "the reserve that it did not use is free again"
    assert other.take(10, 100, 60)
    other.close()


def test_what_was_taken_and_not_written_may_be_taken_again(path: Path) -> None:
    ledger = Ledger(path)
    assert ledger.take(100, 100, 0)
    assert not ledger.take(1, 100, 0)
    ledger.settle(100, 30)
    assert ledger.take(70, 100, 0)
    ledger.settle(70, 70)
    ledger.close()
    assert ledger.read().used_bytes == 100


def test_what_was_freed_may_be_taken_again_and_is_counted(path: Path) -> None:
    ledger = Ledger(path)
    assert ledger.take(100, 100, 0)
    ledger.settle(100, 100)
    ledger.give_back(40, evicted_blocks=4)
    assert ledger.take(40, 100, 0)
    account = ledger.read()
    assert (account.evicted_blocks, account.evicted_bytes) == (4, 40)
    assert account.evicting_since_ms > 0
    ledger.close()


def take_and_die(path: Path) -> None:
    ledger = Ledger(path)
    assert ledger.take(10, 100, 60)
    os._exit(0)


def test_the_reserve_of_a_killed_process_counts_until_somebody_counts(path: Path) -> None:
    child = multiprocessing.get_context("fork").Process(target=take_and_die, args=(path,))
    child.start()
    child.join()
    ledger = Ledger(path)
    assert not ledger.take(41, 100, 0)
    assert ledger.take(40, 100, 0)
    ledger.settle(40, 40)
    account = ledger.read()
    assert (account.spent, account.slots.count(0)) == (60, len(account.slots) - 1)
    before = ledger.begin_count()
    assert ledger.take(0, 200, 0)
    ledger.note_count(50, before)
    assert ledger.read().used_bytes == 50
    ledger.close()


def test_what_is_written_during_a_count_is_added_to_it(path: Path) -> None:
    ledger, other = Ledger(path), Ledger(path)
    before = ledger.begin_count()
    assert other.take(30, 100, 0)
    other.settle(30, 30)
    other.give_back(20)
    ledger.note_count(5, before)
    assert ledger.read().used_bytes == 35, "whether the 20 were counted before they went, nobody knows"
    for opened in (ledger, other):
        opened.close()


def test_a_child_of_a_fork_has_no_share_in_its_parents_reserve(path: Path) -> None:
    ledger = Ledger(path)
    assert ledger.take(10, 100, 60)
    child = os.fork()
    if child == 0:
        os._exit(0 if ledger.take(40, 100, 0) and not ledger.take(1, 100, 0) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert ledger.take(50, 100, 0), "out of its own reserve"
    ledger.close()


def test_an_account_that_was_removed_or_spoilt_is_made_again(path: Path) -> None:
    ledger = Ledger(path)
    assert ledger.take(10, 100, 0)
    path.unlink()
    ledger.give_back(0)
    assert ledger.read().used_bytes == 0
    path.write_bytes(b"rubbish" * 1000)
    assert ledger.take(100, 100, 0)
    assert ledger.read().used_bytes == 100
    ledger.close()


# -- what the bound is


def test_half_of_what_was_free_at_first_stays_the_bound(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", cache_size=CacheSize())
    ledger = Ledger(tmp_path / "store" / "usage")
    ledger.note_count(0, ledger.begin_count())
    disk = os.statvfs(tmp_path)
    assert store.cache.limit_bytes == pytest.approx(disk.f_bavail * disk.f_frsize / 2, rel=0.05)
    store.close()
    kept = ledger.note_first_free(1, 1)
    ledger.close()
    again = Store(tmp_path / "store", cache_size=CacheSize())
    assert again.cache.limit_bytes == kept // 2
    again.close()


def pretend_disk(monkeypatch: pytest.MonkeyPatch, free_bytes: int, total_bytes: int = 100 * GB) -> None:
    sizes = {"f_frsize": 1, "f_blocks": total_bytes, "f_bavail": free_bytes}
    monkeypatch.setattr("kacheryfs.store.space.os.statvfs", lambda _: SimpleNamespace(**sizes))


@pytest.mark.parametrize("first_free", [0, 1_164_000, 9 * GB])
def test_what_was_free_on_a_nearly_full_disk_does_not_stay_the_bound(
    path: Path, monkeypatch: pytest.MonkeyPatch, first_free: int
) -> None:
    now, ledger = [0.0], Ledger(path)
    ledger.note_first_free(first_free, 1)
    room = Room(path.parent, ledger, CacheSize(), 0.0, lambda: now[0])
    pretend_disk(monkeypatch, 40 * GB)
    assert room.limit_bytes == 20 * GB
    assert ledger.read().first_free == first_free, "what lies in the store isn't known before it is counted"
    ledger.note_count(0, 0)
    for free_bytes, limit_bytes in [(MIB, MIB // 2), (4 * GB, 2 * GB), (60 * GB, 30 * GB), (MIB, 30 * GB)]:
        now[0] += 1
        pretend_disk(monkeypatch, free_bytes)
        assert room.limit_bytes == limit_bytes
    again = Ledger(path)
    assert Room(path.parent, again, CacheSize(), 0.0).limit_bytes == 30 * GB, "what was enough is kept for good"
    for opened in (ledger, again):
        opened.close()


def test_half_of_a_tiny_disk_is_never_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_disk(monkeypatch, GB, total_bytes=GB)
    ledger = Ledger(path)
    assert Room(path.parent, ledger, CacheSize(), 0.0).limit_bytes == GB // 2
    assert ledger.read().first_free == 0
    ledger.close()


def test_a_bound_may_be_a_share_of_the_disk_or_bytes(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    total_bytes = disk.f_blocks * disk.f_frsize
    room = Room(tmp_path, Ledger(tmp_path / "usage"), CacheSize(disk_fraction=0.25), 0.0)
    assert room.limit_bytes == total_bytes // 4
    assert Room(tmp_path, Ledger(tmp_path / "usage"), CacheSize(n_bytes=5), 0.0).limit_bytes == 5
    assert Room(tmp_path, Ledger(tmp_path / "usage"), CacheSize(free_bytes=5), 0.0).limit_bytes == total_bytes - 5
    assert Room(tmp_path, Ledger(tmp_path / "usage"), CacheSize(free_bytes=2 * total_bytes), 0.0).limit_bytes == 0


def test_the_floor_of_free_space_evicts_when_others_fill_the_disk(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kacheryfs.store.space._MEASURE_AGAIN_S", 0.0)
    store = Store(small_disk / "store", min_free_fraction=0, cache_size=CacheSize(free_bytes=4 * MIB))
    older, newer = make_content(40 * BLOCK_BYTES), make_content(20 * BLOCK_BYTES, seed=1)
    for content in (older, newer):
        file = store.open(content.proof())
        put_all(file, content)
        file.close()
    (small_disk / "ballast").write_bytes(bytes(11 * MIB))
    latest = make_content(12 * BLOCK_BYTES, seed=2)
    file = store.open(latest.proof())
    put_all(file, latest)
    disk = os.statvfs(small_disk)
    assert disk.f_bavail * disk.f_frsize >= 4 * MIB
    present = {summary.sha1 for summary in store.files()}
    assert latest.sha1 in present
    assert older.sha1 not in present
    file.close()
    store.close()


def test_a_store_of_nobody_knows_what_is_counted_before_anything_is_added(tmp_path: Path) -> None:
    store, content = Store(tmp_path / "store", min_free_fraction=0), make_content(8 * BLOCK_BYTES)
    file = store.open(content.proof())
    put_all(file, content)
    file.close()
    store.close()
    (tmp_path / "store" / "usage").unlink()
    store = Store(tmp_path / "store", min_free_fraction=0, cache_size=CacheSize(n_bytes=5 * MIB))
    assert store.cache.used_bytes() > 8 * BLOCK_BYTES
    other = make_content(7 * BLOCK_BYTES, seed=1)
    file = store.open(other.proof())
    put_all(file, other)
    assert {summary.sha1 for summary in store.files()} == {content.sha1, other.sha1}
    file.close()
    latest = make_content(4 * BLOCK_BYTES, seed=2)
    another = store.open(latest.proof())
    put_all(another, latest)
    assert content.sha1 not in {summary.sha1 for summary in store.files()}
    another.close()
    store.close()


def test_what_is_put_and_evicted_again_and_again_does_not_add_up(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", min_free_fraction=0)
    content, small = make_content(3 * BLOCK_BYTES + 77), b"forty-two"
    proof = WholeProof(Sha1.of(small), len(small))
    for n in range(60):
        file, other = store.open(content.proof()), store.open(proof)
        put_all(file, content)
        assert other.put(proof.verify(0, small))
        if n % 3 == 0:
            assert file.prove()
        if n % 2 == 0:
            assert store.cache.evict([content.sha1]) == 3 * BLOCK_BYTES + 4096
            put_all(file, content, range(2))
        file.close()
        other.close()
        assert store.cache.clear() > 2 * BLOCK_BYTES
    store.close()
    used_bytes = Ledger(tmp_path / "store" / "usage").read().used_bytes
    lying_bytes = int(
        subprocess.run(["du", "-sB1", tmp_path / "store"], capture_output=True, text=True).stdout.split()[0]
    )
    assert abs(used_bytes - lying_bytes) < MIB // 2


@pytest.mark.expects_warnings
def test_puts_that_fail_add_nothing_to_what_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, content = Store(tmp_path / "store", min_free_fraction=0), make_content(9 * BLOCK_BYTES)
    file = store.open(content.proof())
    put_all(file, content, range(1))
    used_bytes = store.cache.used_bytes()

    def fail(*_: object) -> int:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with monkeypatch.context() as patched:
        patched.setattr("kacheryfs.store.backing.os.pwrite", fail)
        for n in range(200):
            assert not file.put(content.verified(1 + n % 8))
    store.close()
    assert store.cache.used_bytes() <= used_bytes
    file.close()


@pytest.mark.expects_warnings
def test_before_a_put_is_refused_what_lies_there_is_counted_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store", min_free_fraction=0, cache_size=CacheSize(n_bytes=8 * MIB))
    content = make_content(3 * BLOCK_BYTES)
    file = store.open(content.proof())
    put_all(file, content, range(1))
    store.pins.pin("kept", [content.sha1])
    Ledger(tmp_path / "store" / "usage").give_back(-100 * MIB)
    assert not file.put(content.verified(1)), "it was counted at the start, not long ago"
    monkeypatch.setattr("kacheryfs.store.growth._COUNT_SOON_MS", 0)
    put_all(file, content, range(1, 3))
    assert store.cache.used_bytes() < 2 * MIB
    file.close()
    store.close()
