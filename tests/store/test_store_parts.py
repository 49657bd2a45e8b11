"""The parts that the store is made of: its folder, locks, index and presence."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import sqlite3
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_content import BLOCK_BYTES, make_content, put_all, put_manifest

from kacheryfs.core.model import Binding, Blake3, Layout, Sha1, salted
from kacheryfs.core.wire import FileInfo
from kacheryfs.errors import StoreError
from kacheryfs.store import flags
from kacheryfs.store.blocks import Store
from kacheryfs.store.folder import VERSION, StoreFolder
from kacheryfs.store.index import Index, Row
from kacheryfs.store.locks import Locks
from kacheryfs.store.places import Places, parse_partial_name, partial_name
from kacheryfs.store.presence import Presence, count_present_bytes

H, M = Sha1.of(b"file"), Blake3.of(b"manifest")
BINDING = Binding(H, M)
LAYOUT = Layout(10 * BLOCK_BYTES)


# -- the folder


def test_a_new_store_says_its_version(tmp_path: Path) -> None:
    Store(tmp_path / "deep" / "store").close()
    assert (tmp_path / "deep" / "store" / "VERSION").read_text() == VERSION
    Store(tmp_path / "deep" / "store").close()


@pytest.mark.parametrize("version", ["kacheryfs-store 3\n", "", "\xff\xfe"])
def test_a_store_of_another_version_is_refused(tmp_path: Path, version: str) -> None:
    (tmp_path / "VERSION").write_text(version)
    with pytest.raises(StoreError, match=r"its version is .* --store"):
        Store(tmp_path)
    assert os.listdir(tmp_path) == ["VERSION"]


@pytest.mark.parametrize("name", ["sha1", "thesis.docx"])
def test_a_folder_of_other_things_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(StoreError, match="it holds other things"):
        Store(tmp_path)
    assert os.listdir(tmp_path) == [name]


def test_a_new_file_system_is_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    Store(tmp_path).close()


def test_nobody_else_may_look_into_a_new_store(tmp_path: Path) -> None:
    Store(tmp_path / "store").close()
    assert (tmp_path / "store").stat().st_mode & 0o077 == 0


def test_a_store_stays_where_it_was_when_the_process_changes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(Path("store"), min_free_fraction=0)
    monkeypatch.chdir("/")
    store.put_manifest_part(Blake3.of(b"part"), b"part")
    assert store.root == tmp_path / "store"
    assert store.find_manifest_part(Blake3.of(b"part")) == b"part"
    store.close()


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path)
    folder.start()
    (folder.places.temporary / "dead").write_bytes(b"half")
    with (folder.places.temporary / "alive").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        StoreFolder(tmp_path).start()
        assert os.listdir(folder.places.temporary) == ["alive"]


def test_an_object_is_seen_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = StoreFolder(tmp_path)
    folder.start()
    path = folder.places.manifest_part(Blake3.of(b"x"))
    write = os.write

    def fail_at_half(fd: int, data: memoryview) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[:50])

    monkeypatch.setattr(os, "write", fail_at_half)
    with pytest.raises(OSError, match="No space"):
        folder.write_object(path, bytes(100))
    assert not path.exists()
    assert os.listdir(folder.places.temporary) == []


@given(st.binary(min_size=20, max_size=20), st.one_of(st.binary(min_size=20, max_size=20), st.binary(min_size=32)))
def test_a_partial_folder_is_named_after_its_binding(sha1: bytes, manifest: bytes) -> None:
    digest = Sha1(manifest) if len(manifest) == 20 else Blake3(manifest[:32])
    binding = Binding(Sha1(sha1), digest)
    assert parse_partial_name(partial_name(binding)) == binding
    assert Places(Path("/s")).partial(binding).parts[1:4] == ("s", "partial", binding.sha1.hex[:2])


@pytest.mark.parametrize("name", ["", "-", "x", H.hex, f"{H.hex}-", f"{H.hex}-abc", f"{H.hex}-{M.hex}.old"])
def test_other_names_below_partial_mean_nothing(name: str) -> None:
    assert parse_partial_name(name) is None


# -- locks


def test_a_lock_keeps_threads_of_one_process_apart(tmp_path: Path) -> None:
    locks, order = Locks(tmp_path / "lock"), list[str]()

    def wait() -> None:
        with locks.hold("a"):
            order.append("other")

    thread = threading.Thread(target=wait)
    with locks.hold("a"):
        thread.start()
        with pytest.raises(StoreError, match="was held for 0 s"), locks.hold("a", timeout_s=0):
            pass
        with locks.hold("b", timeout_s=0):
            order.append("first")
    thread.join()
    assert order == ["first", "other"]
    with locks.hold("a", timeout_s=0):
        pass


def hold_and_die(path: Path, ready: threading.Event) -> None:
    with Locks(path).hold("a"):
        ready.set()
        os._exit(9)


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold_and_die, args=(tmp_path / "lock", ready))
    process.start()
    process.join()
    assert ready.is_set()
    with Locks(tmp_path / "lock").hold("a", timeout_s=0):
        pass


# -- the index


def new_index(tmp_path: Path, *rows: Row) -> Index:
    return Index(tmp_path / "index.sqlite", lambda: rows)


def test_the_index_finds_by_salted_digest(tmp_path: Path) -> None:
    index = new_index(tmp_path)
    index.enter(Row(BINDING, LAYOUT, is_proven=False))
    assert index.find_salted(salted(H)) == [Row(BINDING, LAYOUT, is_proven=False)]
    assert index.find_salted(H) == []
    index.forget(BINDING)
    assert index.find_salted(salted(H)) == []
    index.close()


def test_the_last_manifest_that_a_file_was_proven_with_counts(tmp_path: Path) -> None:
    index = new_index(tmp_path)
    legacy = Binding(H, Sha1.of(b"legacy"))
    whole = Binding(H, None, LAYOUT.size_bytes)
    index.enter(Row(legacy, LAYOUT, is_proven=True))
    index.enter(Row(BINDING, LAYOUT, is_proven=True))
    index.enter(Row(whole, LAYOUT, is_proven=True))
    found = index.find_proven(H)
    assert found is not None
    assert found.binding == BINDING
    index.enter(Row(BINDING, LAYOUT, is_proven=False))
    assert index.find_proven(H) == found, "a partial entry takes nothing back"
    assert len(index.rows()) == 3
    index.close()


@pytest.mark.expects_warnings
def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    rows = (Row(BINDING, LAYOUT, is_proven=False),)
    (tmp_path / "index.sqlite").write_bytes(b"not a database" * 1000)
    index = new_index(tmp_path, *rows)
    assert index.rows() == list(rows)
    index.close()
    database = sqlite3.connect(tmp_path / "index.sqlite")
    assert database.execute("SELECT count(*) FROM file").fetchall() == [(1,)]
    database.close()


def test_what_is_entered_after_an_index_was_removed_is_found_by_other_processes(tmp_path: Path) -> None:
    index = new_index(tmp_path)
    index.start()
    for path in tmp_path.glob("index.sqlite*"):
        path.unlink()
    other = new_index(tmp_path)
    assert other.rows() == []
    index.enter(Row(BINDING, LAYOUT, is_proven=False))
    assert other.rows() == [Row(BINDING, LAYOUT, is_proven=False)]
    other.close()
    index.close()


def test_an_index_that_was_lost_is_made_again_from_the_folders(tmp_path: Path) -> None:
    root = tmp_path / "store"
    partial, complete = make_content(3 * BLOCK_BYTES), make_content(2 * BLOCK_BYTES, seed=2)
    store = Store(root, min_free_fraction=0)
    for content in (partial, complete):
        file = store.open(content.proof())
        put_all(file, content, range(2))
        put_manifest(store, content)
        file.prove()
        file.close()
    store.close()
    for path in root.glob("index.sqlite*"):
        path.unlink()
    store = Store(root)
    assert store.find_salted(salted(partial.sha1))
    assert store.find_salted(salted(complete.sha1))
    assert store.complete_info(complete.sha1) == FileInfo(2 * BLOCK_BYTES, None)
    present = {summary.sha1: (summary.present_bytes, summary.is_proven) for summary in store.files()}
    assert present == {partial.sha1: (2 * BLOCK_BYTES, False), complete.sha1: (2 * BLOCK_BYTES, True)}
    store.close()


def test_strange_files_in_the_folders_are_passed_over(tmp_path: Path) -> None:
    root = tmp_path / "store"
    Store(root).close()
    (root / "index.sqlite").unlink()
    (root / "sha1/ab/cd/ef").mkdir(parents=True)
    (root / "sha1/ab/cd/ef/.nfs0001").write_bytes(b"x")
    (root / "partial/ab/strange").mkdir(parents=True)
    (root / f"partial/ab/{partial_name(BINDING)}").mkdir()
    store = Store(root)
    assert list(store.files()) == []
    store.close()


# -- presence and flags


def test_presence_is_seen_by_all_who_have_it_open(tmp_path: Path) -> None:
    one, other = (Presence.open(tmp_path / "present", 10_000, is_writable=True) for _ in range(2))
    one.set(9_999)
    assert other.bits[9_999] == 1
    other.clear(9_999)
    assert one.bits[9_999] == 0
    for block in (0, 5_000, 9_999):
        one.set(block)
    other.clear_all()
    assert flags.count(one.bits, 10_000) == 0
    one.close()
    other.close()


def test_a_presence_file_that_was_cut_means_missing(tmp_path: Path) -> None:
    path = tmp_path / "present"
    path.write_bytes(b"\1\1")
    reading = Presence.open(path, 4, is_writable=False)
    assert bytes(reading.bits[:4]) == b"\1\1\0\0"
    writing = Presence.open(path, 4, is_writable=True)
    assert bytes(writing.bits[:4]) == b"\1\1\0\0"
    writing.set(3)
    assert path.read_bytes()[:4] == b"\1\1\0\1"
    reading.close()
    writing.close()


def test_presence_works_where_nothing_can_be_allocated_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    presence = Presence.open(tmp_path / "present", 10, is_writable=True)
    presence.set(9)
    assert flags.count(presence.bits, 10) == 1
    assert presence.is_shared
    presence.close()


def test_an_absurdly_large_presence_stays_sparse(tmp_path: Path) -> None:
    presence = Presence.open(tmp_path / "present", 1 << 32, is_writable=True)
    presence.set(1 << 31)
    assert presence.bits[1 << 31] == 1
    with (tmp_path / "present").open("rb") as file:
        os.fsync(file.fileno())
    assert (tmp_path / "present").stat().st_blocks * 512 < 1 << 20
    presence.close()


@given(st.lists(st.sampled_from([0, 1, 2, 255]), max_size=40), st.integers(1, 100), st.integers(0, 99))
def test_present_bytes_are_counted_from_the_file(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], block_bytes: int, cut: int
) -> None:
    path = tmp_path_factory.mktemp("counted") / "present"
    path.write_bytes(bytes(values))
    layout = Layout(max(len(values) * block_bytes - cut % block_bytes, 0), block_bytes)
    expected = sum(layout.block_size(block) for block, value in enumerate(values) if value)
    assert count_present_bytes(path, layout) == expected


@given(st.binary(max_size=300))
def test_flags_are_counted_and_found(data: bytes) -> None:
    assert flags.count(bytearray(data), len(data)) == sum(value != 0 for value in data)
    assert list(flags.find_all(bytearray(data), 2)) == [at for at, value in enumerate(data) if value == 2]


@pytest.mark.parametrize("n_blocks", [0, 1, 70_000, 3_800_000])
def test_flags_begin_at_zero(n_blocks: int) -> None:
    zeros = flags.zeros(n_blocks)
    assert len(zeros) == n_blocks
    assert flags.count(zeros, n_blocks) == 0
    assert flags.count(flags.ones(n_blocks), n_blocks) == n_blocks
