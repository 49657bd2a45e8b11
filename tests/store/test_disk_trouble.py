"""A disk that is full, read-only, failing or gone costs a warning and the store, never a read."""

from __future__ import annotations

import errno
import logging
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from store_content import (
    BLOCK_BYTES,
    Content,
    check_all,
    data_path,
    make_content,
    partial_path,
    put_all,
    put_manifest,
    read,
)

from kacheryfs.core.manifest import WholeProof
from kacheryfs.core.model import Blake3, ByteRange, Sha1
from kacheryfs.core.quantities import CacheSize
from kacheryfs.errors import StoreError
from kacheryfs.store.blocks import Store
from kacheryfs.store.evictor import Evictor
from kacheryfs.store.folder import lock_name
from kacheryfs.store.locks import Locks
from kacheryfs.store.space import FreeSpace
from kacheryfs.store.trouble import Trouble

MIB = 1024 * 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def content() -> Content:
    return make_content(4 * BLOCK_BYTES)


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"needs root to mount: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk))
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.expects_warnings
@pytest.mark.parametrize("min_free_fraction", [0.0, 0.05])
def test_a_disk_full_of_what_is_pinned_costs_one_warning_and_recovers(
    small_disk: Path, caplog: pytest.LogCaptureFixture, min_free_fraction: float
) -> None:
    content = make_content(32 * BLOCK_BYTES)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 * MIB))
    store = Store(small_disk / "store", min_free_fraction=min_free_fraction)
    store.pins.pin("a link", [content.sha1])
    file = store.open(content.proof())
    kept = [file.put(content.verified(index)) for index in range(32)]
    assert 1 <= sum(kept) <= 8
    assert not kept[-1]
    (warning,) = warnings_of(caplog)
    assert "the disk is nearly full; free it" in warning or "free its disk" in warning
    for index in range(32):
        assert file.is_checked(index) == kept[index]
        if kept[index]:
            assert read(file, index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES) == content.block(index)
    disk = os.statvfs(small_disk)
    assert disk.f_bavail >= int(disk.f_blocks * min_free_fraction)
    ballast.unlink()
    assert file.put(content.verified(31))
    assert file.is_checked(31)
    file.close()
    store.close()


@pytest.mark.expects_warnings
def test_a_cache_full_of_what_is_pinned_says_so(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = make_content(32 * BLOCK_BYTES)
    with closing(Store(root, min_free_fraction=0, cache_size=CacheSize(n_bytes=4 * MIB))) as store:
        store.pins.pin("a link", [content.sha1])
        with closing(store.open(content.proof())) as file:
            kept = [file.put(content.verified(index)) for index in range(32)]
        assert not all(kept)
    (warning,) = warnings_of(caplog)
    assert "the cache is full of what is pinned or in use; set cache_size higher" in warning
    assert "disk" not in warning.partition("kept for now")[2]


def test_a_full_disk_that_a_command_meets_is_told_with_what_helps(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with closing(Store(root)) as store:
        monkeypatch.setattr(Evictor, "free_files", fail)
        with pytest.raises(StoreError, match="No space left on device; free some, or name another store with --store"):
            store.cache.evict()


@pytest.mark.expects_warnings
def test_a_disk_that_was_full_from_the_start_is_used_once_it_has_space(small_disk: Path, content: Content) -> None:
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        assert file.write(bytes(8 * MIB)) == 4 * MIB
    store = Store(small_disk / "store", min_free_fraction=0)
    opened = store.open(content.proof())
    assert not opened.put(content.verified(0))
    assert not opened.is_present(0)
    store.put_manifest_part(Blake3.of(b"x" * 5000), b"x" * 5000)
    assert store.find_manifest_part(Blake3.of(b"x" * 5000)) is None
    data = b"small"
    proof = WholeProof(Sha1.of(data), len(data))
    small = store.open(proof)
    assert not small.put(proof.verify(0, data))
    ballast.unlink()
    assert opened.put(content.verified(0))
    assert small.put(proof.verify(0, data))
    assert store.is_writable
    assert sum(1 for _ in store.files()) == 2
    opened.close()
    small.close()
    store.close()


@pytest.mark.expects_warnings
def test_looking_for_blocks_on_a_full_disk_is_no_bus_error(small_disk: Path, content: Content) -> None:
    store = Store(small_disk / "store", min_free_fraction=0)
    file = store.open(content.proof())
    put_all(file, content, range(1))
    file.close()
    (partial_path(small_disk / "store", content.binding) / "present").unlink()
    with (small_disk / "ballast").open("wb", buffering=0) as ballast:
        assert ballast.write(bytes(8 * MIB)) < 4 * MIB
    file = store.open(content.proof())
    assert not file.is_present(0)
    assert file.present_count() == 0
    file.close()
    store.close()


@pytest.mark.expects_warnings
def test_a_file_size_limit_is_a_full_disk_too(root: Path, content: Content) -> None:
    store = Store(root, min_free_fraction=0)
    file = store.open(content.proof())
    put_all(file, content, range(1))
    old_limit, old_handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * BLOCK_BYTES + 100, old_limit[1]))
    try:
        assert file.put(content.verified(1))
        assert not file.put(content.verified(2)), "half of it fitted"
        assert not file.is_present(2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert file.put(content.verified(2))
    assert check_all(file) == [True, True, True, False]
    file.close()
    store.close()


def test_where_a_disk_is_full_before_it_says_so_the_coldest_go(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FreeSpace, "left_bytes", lambda space: 1 << 40)  # as with a quota
    cold, content = make_content(8 * BLOCK_BYTES, seed=1), make_content(10 * BLOCK_BYTES)
    store = Store(small_disk / "store", min_free_fraction=0, cache_size=CacheSize(n_bytes=1 << 40))
    with closing(store.open(cold.proof())) as file:
        put_all(file, cold)
    with closing(store.open(content.proof())) as file:
        put_all(file, content)
        assert read(file, 0, len(content.data)) == content.data
    assert [summary.sha1 for summary in store.files()] == [content.sha1]
    store.close()


@pytest.fixture
def read_only_view(tmp_path: Path, root: Path) -> Iterator[Path]:
    """A second, read-only way to the store's folder."""
    root.mkdir()
    view = tmp_path / "view"
    view.mkdir()
    mount("--bind", str(root), str(view))
    try:
        mount("-o", "remount,ro,bind", str(view))
        yield view
    finally:
        subprocess.run(["umount", "-l", str(view)], check=True)


@pytest.mark.expects_warnings
def test_a_read_only_store_is_read(
    root: Path, read_only_view: Path, content: Content, caplog: pytest.LogCaptureFixture
) -> None:
    whole = make_content(2 * BLOCK_BYTES, seed=4)
    writer = Store(root, min_free_fraction=0)
    partial, complete = writer.open(content.proof()), writer.open(whole.proof())
    put_all(partial, content, range(2))
    put_all(complete, whole)
    put_manifest(writer, content)
    complete.prove()
    store = Store(read_only_view)
    assert not store.is_writable
    file, proven = store.open(content.proof()), store.open(whole.proof())
    assert check_all(file) == [True, True, False, False]
    assert read(file, 0, 2 * BLOCK_BYTES) == content.data[: 2 * BLOCK_BYTES]
    assert proven.is_proven
    assert check_all(proven) == [True, True]
    assert not file.put(content.verified(2))
    store.put_manifest_part(Blake3.of(b"part"), b"part")
    put_all(partial, content, range(2, 4))
    assert check_all(file) == [True] * 4, "what a process with more rights puts is seen"
    assert {summary.sha1 for summary in store.files()} == {content.sha1, whole.sha1}
    assert file.prove(), "it can be held against its SHA-1 all the same"
    assert store.find_partial(content.binding) is file
    assert len(warnings_of(caplog)) == 1
    for opened in (partial, complete, proven, file, file):
        opened.close()
    store.close()
    writer.close()


def spoil_index(root: Path, *, is_in_wal_mode: bool) -> None:
    """Leave an index as a full disk does: without a table."""
    for path in root.glob("index.sqlite*"):
        path.unlink()
    (root / "index.sqlite").touch()
    if is_in_wal_mode:
        with closing(sqlite3.connect(root / "index.sqlite")) as database:
            database.execute("PRAGMA journal_mode = WAL")


@pytest.mark.parametrize("is_in_wal_mode", [False, True])
def test_a_read_only_store_whose_index_has_no_table_is_told_by_its_folders(
    root: Path, read_only_view: Path, content: Content, caplog: pytest.LogCaptureFixture, is_in_wal_mode: bool
) -> None:
    with closing(Store(root, min_free_fraction=0)) as store, closing(store.open(content.proof())) as file:
        put_all(file, content, range(2))
    spoil_index(root, is_in_wal_mode=is_in_wal_mode)
    with closing(Store(read_only_view)) as store:
        assert [summary.sha1 for summary in store.files()] == [content.sha1]
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("is_in_wal_mode", [False, True])
def test_who_only_looks_into_a_store_on_a_full_disk_hears_nothing(
    small_disk: Path, caplog: pytest.LogCaptureFixture, is_in_wal_mode: bool
) -> None:
    root = small_disk / "store"
    root.mkdir()
    spoil_index(root, is_in_wal_mode=is_in_wal_mode)
    with (small_disk / "ballast").open("wb", buffering=0) as file:
        assert 0 < file.write(bytes(8 * MIB)) <= 4 * MIB
    with closing(Store(root)) as store:
        assert list(store.files()) == []
        assert list(store.pins.all()) == []
    assert warnings_of(caplog) == []


def test_an_index_that_a_full_disk_left_without_a_table_is_filled_once_there_is_room(
    root: Path, content: Content
) -> None:
    with closing(Store(root, min_free_fraction=0)) as store, closing(store.open(content.proof())) as file:
        put_all(file, content, range(2))
    spoil_index(root, is_in_wal_mode=True)
    with closing(Store(root, min_free_fraction=0)) as store:
        assert [summary.sha1 for summary in store.files()] == [content.sha1]


@pytest.mark.expects_warnings
def test_a_spoilt_block_of_a_read_only_store_is_missing(root: Path, read_only_view: Path, content: Content) -> None:
    writer = Store(root, min_free_fraction=0)
    file = writer.open(content.proof())
    put_all(file, content)
    file.prove()
    file.close()
    writer.close()
    with data_path(root, content.binding).open("r+b") as data:
        data.write(b"spoilt")
    store = Store(read_only_view)
    file = store.open(content.proof())
    assert not file.check(0)
    assert [file.is_present(i) for i in range(4)] == [False, True, True, True]
    assert file.present_count() == 3
    assert not file.put(content.verified(0))
    assert file.check(1)
    file.close()
    store.close()


@pytest.mark.expects_warnings
@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_write_that_the_disk_refuses_leaves_the_block_missing(
    root: Path,
    content: Content,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    store = Store(root, min_free_fraction=0)
    file = store.open(content.proof())
    put_all(file, content, range(1))

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        assert not file.put(content.verified(1))
        assert not file.put(content.verified(2))
    assert not file.is_present(1)
    assert len(warnings_of(caplog)) == 1
    assert str(root) in warnings_of(caplog)[0]
    assert os.strerror(number) in warnings_of(caplog)[0]
    assert ("free its disk" in warnings_of(caplog)[0]) == (number in (errno.ENOSPC, errno.EDQUOT))
    assert file.put(content.verified(1))
    assert read(file, 0, 2 * BLOCK_BYTES) == content.data[: 2 * BLOCK_BYTES]
    file.close()
    store.close()


def test_a_block_that_the_disk_cannot_read_any_more_is_missing(
    root: Path, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(root, min_free_fraction=0)
    file = store.open(content.proof())
    put_all(file, content)

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", fail)
        patch.setattr(os, "pread", fail)
        assert not file.read_now(ByteRange(0, 10), memoryview(bytearray(10)))
        with pytest.raises(StoreError, match="Input/output error"):
            read(file, BLOCK_BYTES, BLOCK_BYTES + 10)
    assert [file.is_present(i) for i in range(4)] == [True, False, True, True]
    assert file.put(content.verified(1))
    assert read(file, BLOCK_BYTES, BLOCK_BYTES + 10) == content.block(1)[:10]
    file.close()
    store.close()


def test_a_proven_file_that_cannot_be_moved_is_proven_all_the_same(
    root: Path, content: Content, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "kacheryfs")  # its warning is another test's
    store = Store(root, min_free_fraction=0)
    file = store.open(content.proof())
    put_all(file, content)

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        assert file.prove()
    assert file.is_proven
    assert read(file, 0, len(content.data)) == content.data
    assert store.complete_size(content.sha1) is None
    file.close()
    again = store.open(content.proof())
    assert check_all(again) == [True] * 4
    assert again.prove()
    assert store.complete_size(content.sha1) == len(content.data)
    again.close()
    store.close()


@pytest.mark.expects_warnings
def test_a_store_that_is_removed_under_a_running_process_is_made_again_and_says_so_once(
    root: Path, content: Content, caplog: pytest.LogCaptureFixture
) -> None:
    other = make_content(2 * BLOCK_BYTES, seed=8)
    store = Store(root, min_free_fraction=0)
    file = store.open(content.proof())
    put_all(file, content, range(2))
    shutil.rmtree(root)
    assert read(file, 0, 2 * BLOCK_BYTES) == content.data[: 2 * BLOCK_BYTES], "who has a file open reads on"
    assert file.put(content.verified(2))
    others = store.open(other.proof())
    assert not others.is_present(0)
    put_all(others, other)
    assert others.prove()
    assert store.complete_size(other.sha1) == 2 * BLOCK_BYTES
    assert {summary.sha1 for summary in store.files()} == {content.sha1, other.sha1}
    put_manifest(store, other)
    file.close()
    others.close()
    store.close()
    again = Store(root)
    assert again.complete_info(other.sha1) is not None
    again.close()
    assert sum("somebody removed it" in message for message in caplog.messages) == 1


@pytest.mark.expects_warnings
def test_nothing_is_put_into_a_removed_file(root: Path, content: Content) -> None:
    store = Store(root, min_free_fraction=0)
    file = store.open(content.proof())
    put_all(file, content, range(2))
    removed = os.dup(file.fd)
    n_blocks = os.fstat(removed).st_blocks
    shutil.rmtree(root)
    put_all(file, content, range(2, 4))
    assert os.fstat(removed).st_blocks == n_blocks, "nobody could evict it there"
    os.close(removed)
    assert [file.is_present(block) for block in range(4)] == [False, False, True, True]
    assert read(file, 2 * BLOCK_BYTES, 4 * BLOCK_BYTES) == content.data[2 * BLOCK_BYTES :]
    assert [summary.present_bytes for summary in store.files()] == [2 * BLOCK_BYTES], "the index knows of it again"
    put_all(file, content, range(2))
    assert file.prove()
    assert store.complete_size(content.sha1) == len(content.data)
    file.close()
    store.close()


def test_two_who_have_a_removed_file_open_share_it_again(root: Path, content: Content) -> None:
    stores = [Store(root, min_free_fraction=0) for _ in range(2)]
    files = [store.open(content.proof()) for store in stores]
    put_all(files[0], content, range(1))
    assert files[1].put(content.verified(1))
    data_path(root, content.binding).unlink()
    for number, file in enumerate(files):
        assert file.put(content.verified(2 + number))
    assert [check_all(file) for file in files] == [[False, False, True, True]] * 2
    for file, store in zip(files, stores, strict=True):
        file.close()
        store.close()


@pytest.mark.expects_warnings
def test_a_store_that_was_emptied_is_made_again(root: Path, content: Content) -> None:
    store = Store(root, min_free_fraction=0)
    for path in root.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    file = store.open(content.proof())
    put_all(file, content)
    assert file.prove()
    assert (root / "VERSION").exists()
    file.close()
    store.close()


@pytest.mark.expects_warnings
def test_a_stopped_process_that_holds_a_lock_costs_blocks_and_no_read(
    root: Path, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kacheryfs.store.backer.LOCK_TIMEOUT_S", 0)
    store = Store(root, min_free_fraction=0)
    other = make_content(BLOCK_BYTES, seed=5)
    with Locks(root / "lock").hold(lock_name(content.binding)):
        file = store.open(content.proof())
        assert not file.put(content.verified(0))
        others = store.open(other.proof())
        assert others.put(other.verified(0)), "nobody else's file has to wait"
    assert file.put(content.verified(0))
    file.close()
    others.close()
    store.close()


def test_a_folder_that_cannot_be_made_is_an_error_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"Not a directory.*--store"):
        Store(tmp_path / "file" / "store")


def test_the_disk_is_not_asked_for_each_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    statvfs = os.statvfs
    monkeypatch.setattr(os, "statvfs", lambda path: asked.append(path) or statvfs(path))
    now = 0.0
    space = FreeSpace(tmp_path, 0.0, lambda: now)
    assert all(space.take(BLOCK_BYTES) for _ in range(256))
    assert len(asked) == 1
    assert space.take(1), "64 MiB are used up"
    assert len(asked) == 2
    now = 1.5
    assert space.take(1)
    assert len(asked) == 3


def test_space_is_kept_free(tmp_path: Path) -> None:
    assert not FreeSpace(tmp_path, 1.0).take(1)
    assert FreeSpace(tmp_path, 0.0).take(1)


@pytest.mark.expects_warnings
def test_trouble_is_told_once_and_again_only_after_a_while(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    trouble = Trouble(tmp_path, lambda: now)
    for _ in range(3):
        trouble.report(StoreError("the disk is nearly full"))
    trouble.clear()
    trouble.report(StoreError("the disk is nearly full"))
    assert len(warnings_of(caplog)) == 1, "blocks that just fit between others are no news"
    trouble.clear()
    now = 100.0
    trouble.report(StoreError("the disk is nearly full"))
    assert len(warnings_of(caplog)) == 2
