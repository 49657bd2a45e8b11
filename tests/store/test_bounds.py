"""The bound of a live mount holds for every process on its store, and goes with its holder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from store_content import BLOCK_BYTES, make_content

from kacheryfs.core.quantities import MAX_SIZE_BYTES, CacheSize
from kacheryfs.store.blocks import Store
from kacheryfs.store.bounds import Bounds, Floors
from kacheryfs.store.ledger import Ledger
from kacheryfs.store.space import Room

MB = 10**6
CHILD = Path(__file__).parent / "held_bound_child.py"


@contextmanager
def holding_child(root: Path, n_bytes: int) -> Iterator[None]:
    """Have another process hold a bound; it is killed at the end."""
    with subprocess.Popen([sys.executable, CHILD, root, str(n_bytes)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"holds\n"
        try:
            yield
        finally:
            child.kill()


def limit_of(root: Path, size: CacheSize | None) -> int:
    with closing(Store(root, min_free_fraction=0, cache_size=size)) as store:
        return store.cache.limit_bytes


def test_the_smallest_that_is_held_is_found_and_any_may_be_held(tmp_path: Path) -> None:
    several = [Bounds(tmp_path / "lock") for _ in range(4)]
    assert several[0].find() is None
    (tmp_path / "lock").touch()
    assert several[0].find() is None
    for bounds, n_bytes in zip(several, (7 * MB, MAX_SIZE_BYTES, 5 * MB, 5 * MB), strict=True):
        bounds.hold(n_bytes)
    assert several[1].find() == 5 * MB
    several[3].release()
    assert several[1].find() == 5 * MB, "another holds the same"
    several[2].hold(0)
    assert several[1].find() == 0
    several[2].hold(8 * MB)
    assert several[1].find() == 7 * MB
    several[0].release()
    several[2].release()
    assert several[1].find() == MAX_SIZE_BYTES
    several[1].release()
    assert several[1].find() is None


def test_a_bound_is_held_again_where_the_store_was_removed(tmp_path: Path) -> None:
    lock, bounds = tmp_path / "lock", Bounds(tmp_path / "lock")
    lock.touch()
    bounds.hold(MB)
    lock.unlink()
    assert bounds.find() is None
    with pytest.raises(FileNotFoundError):
        bounds.hold(MB)
    assert not lock.exists(), "what isn't a store yet is to be empty"
    lock.touch()
    bounds.hold(MB)
    assert bounds.find() == MB
    bounds.release()


@pytest.mark.parametrize("size", [CacheSize(), CacheSize(n_bytes=10**12), CacheSize(free_bytes=0), None], ids=str)
def test_the_bound_of_a_live_process_holds_for_all_and_is_gone_when_it_is_killed(
    tmp_path: Path, size: CacheSize | None
) -> None:
    root = tmp_path / "store"
    before = limit_of(root, size)
    with holding_child(root, 5 * MB):
        assert limit_of(root, size) == 5 * MB
    assert limit_of(root, size) == pytest.approx(before, rel=0.05)


@pytest.mark.expects_warnings
def test_a_put_of_another_process_stays_below_the_bound_that_is_held(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, content = tmp_path / "store", make_content(40 * BLOCK_BYTES)
    with holding_child(root, 5 * MB), closing(Store(root, min_free_fraction=0, cache_size=CacheSize())) as store:
        file = store.open(content.proof())
        store.pins.pin("kept", [content.sha1])
        n_put = sum(file.put(content.verified(block)) for block in range(40))
        assert 0 < n_put * BLOCK_BYTES < store.cache.used_bytes() <= 5 * MB
        file.close()
    assert "the cache_size of another kacheryfs that runs here" in caplog.text


def test_a_smaller_bound_of_ones_own_counts_and_a_default_gives_way(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with holding_child(root, 10**17):
        assert limit_of(root, CacheSize(n_bytes=5 * MB)) == 5 * MB
        assert limit_of(root, CacheSize()) == 10**17
    with closing(Store(root, cache_size=CacheSize(free_bytes=MB))) as store:
        store.cache.hold_bound()
        assert Bounds(root / "lock").find() is None, "what stays free is no bound to hold"


def test_a_default_is_held_by_nobody_and_goes_by_what_is_held(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with closing(Store(root, cache_size=CacheSize())) as store:
        store.cache.hold_bound()
        assert Bounds(root / "lock").find() is None
        with holding_child(root, 10**17), closing(Store(root, cache_size=CacheSize())) as other:
            other.cache.hold_bound()
            assert other.cache.limit_bytes == 10**17


def test_a_bound_may_be_held_before_there_is_a_store(tmp_path: Path) -> None:
    room = Room(tmp_path / "none", Ledger(tmp_path / "usage"), CacheSize(disk_fraction=0.5), 0.0)
    room.hold_bound()
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "lock").touch()
    assert Bounds(tmp_path / "none" / "lock").find() is None
    assert room.limit_bytes == Bounds(tmp_path / "none" / "lock").find()
    room.close()


def test_an_absurd_bound_is_held_as_the_largest(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    bounds = Bounds(tmp_path / "lock")
    for n_bytes, held in ((1 << 64, MAX_SIZE_BYTES), (-1, 0)):
        bounds.hold(n_bytes)
        assert bounds.find() == held
    bounds.release()


def test_a_bound_that_others_hold_is_looked_up_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, now, find = [0], [100.0], Bounds.find

    def count(bounds: Bounds) -> int | None:
        looks[0] += 1
        return find(bounds)

    monkeypatch.setattr(Bounds, "find", count)
    (tmp_path / "lock").touch()
    room, mount = (
        Room(tmp_path, Ledger(tmp_path / "usage"), CacheSize(n_bytes=9 * MB), 0.0, lambda: now[0]),
        Bounds(tmp_path / "lock"),
    )
    assert room.take(MB)
    mount.hold(5 * MB)
    assert all(room.take(100) for _ in range(1000))
    assert (looks[0], room.limit_bytes) == (2, 9 * MB), "one of a bound, one of what is to stay free"
    now[0] += 1
    assert room.limit_bytes == 5 * MB
    mount.release()
    room.close()


@pytest.mark.expects_warnings
def test_what_a_live_process_keeps_free_is_kept_by_all(tmp_path: Path) -> None:
    root, content = tmp_path / "store", make_content(BLOCK_BYTES)
    disk = os.statvfs(tmp_path)
    total_bytes, floor_bytes = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize + 10**9
    with closing(Store(root, cache_size=CacheSize(free_bytes=floor_bytes))) as keeping:
        keeping.cache.hold_bound()
        with closing(Store(root, cache_size=CacheSize())) as store:
            assert store.cache.limit_bytes == max(0, total_bytes - floor_bytes), "a default goes by it"
            assert store.cache.stats().is_limit_held
        with closing(Store(root, cache_size=CacheSize(n_bytes=5 * MB))) as store:
            file = store.open(content.proof())
            assert not file.put(content.proof().verify(0, content.block(0))), "there is more than that to stay free"
            file.close()
    with closing(Store(root, cache_size=CacheSize(n_bytes=5 * MB))) as store:
        file = store.open(content.proof())
        assert file.put(content.proof().verify(0, content.block(0)))
        file.close()


def test_the_largest_floor_counts(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    one, other = Floors(tmp_path / "lock"), Floors(tmp_path / "lock")
    assert one.find() is None
    one.hold(5)
    other.hold(7)
    assert one.find() == 7
    assert Bounds(tmp_path / "lock").find() is None
    other.release()
    assert one.find() == 5
    one.release()
