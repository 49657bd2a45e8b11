"""Holes where a killed process left data without presence, whoever else uses the file meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from store_content import BLOCK_BYTES, make_content, put_all

from kacheryfs.core.model import BlockRange, Layout, Sha1
from kacheryfs.store.blocks import Store, StoredFile
from kacheryfs.store.holding import hold_all_bytes
from kacheryfs.store.locks import Locks, try_lock, unlock
from kacheryfs.store.pins import EVICTION_LOCK
from kacheryfs.store.presence import Presence
from kacheryfs.store.punching import mend_blocks

N_BLOCKS = 2_200_000
"""Of half a TiB, all holes: its presence is larger than what is allocated at once."""


@pytest.fixture
def data(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "data", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, N_BLOCKS * BLOCK_BYTES)
    yield fd
    os.close(fd)


@pytest.fixture
def presence(tmp_path: Path) -> Iterator[Presence]:
    opened = Presence.open(tmp_path / "present", N_BLOCKS, is_writable=True)
    opened.renew()
    yield opened
    opened.close()


def write(fd: int, block: int) -> None:
    os.pwrite(fd, b"x" * BLOCK_BYTES, block * BLOCK_BYTES)


def has_data(fd: int, block: int) -> bool:
    try:
        return os.lseek(fd, block * BLOCK_BYTES, os.SEEK_DATA) < (block + 1) * BLOCK_BYTES
    except OSError:
        return False


def mend(fd: int, presence: Presence) -> int:
    return mend_blocks(fd, presence, Layout(N_BLOCKS * BLOCK_BYTES), BlockRange(0, N_BLOCKS))


def test_mending_fills_no_hole_of_a_sparse_presence(tmp_path: Path, data: int, presence: Presence) -> None:
    presence.set(5)
    for block in (3, 5, N_BLOCKS - 1):
        write(data, block)
    before, generation = os.stat(tmp_path / "present").st_blocks, presence.bits[presence.generation_at]
    assert mend(data, presence) == 2 * BLOCK_BYTES
    assert [has_data(data, block) for block in (3, 5, N_BLOCKS - 1)] == [False, True, False]
    assert os.stat(tmp_path / "present").st_blocks == before
    assert presence.bits[presence.generation_at] != generation


def test_where_there_is_nothing_to_mend_no_reader_looks_again(data: int, presence: Presence) -> None:
    presence.set(5)
    write(data, 5)
    generation = presence.bits[presence.generation_at]
    assert mend(data, presence) == 0
    assert presence.bits[presence.generation_at] == generation


def test_who_puts_or_sends_a_block_keeps_its_run_and_no_other(tmp_path: Path, data: int, presence: Presence) -> None:
    for block in (0, 2, 4):
        write(data, block)
    presence.set(1)
    presence.set(3)
    other, layout = os.open(tmp_path / "data", os.O_RDWR), Layout(N_BLOCKS * BLOCK_BYTES)
    assert try_lock(other, layout.bytes_of(BlockRange(1, 3)))
    assert mend(data, presence) == 2 * BLOCK_BYTES
    assert [has_data(data, block) for block in (0, 2, 4)] == [False, True, False]
    unlock(other, layout.bytes_of(BlockRange(1, 3)))
    hold_all_bytes(other)
    assert mend(data, presence) == 0, "who reads without presence holds everything"
    os.close(other)


def test_a_block_that_was_put_since_the_look_keeps_its_data(
    data: int, presence: Presence, monkeypatch: pytest.MonkeyPatch
) -> None:
    for block in (0, 1, 2):
        write(data, block)

    def try_late(fd: int, span: object) -> bool:
        presence.set(1)  # by who had the lock just before
        return True

    monkeypatch.setattr("kacheryfs.store.punching.try_lock", try_late)
    assert mend(data, presence) == 2 * BLOCK_BYTES
    assert [has_data(data, block) for block in (0, 1, 2)] == [False, True, False]


@pytest.fixture
def leaky(tmp_path: Path) -> Iterator[tuple[Store, StoredFile]]:
    """Yield a file of which only the last 16 blocks of 64 are present, though the data of all are there."""
    store, content = Store(tmp_path / "store"), make_content(64 * BLOCK_BYTES, seed=5)
    with closing(store.open(content.proof())) as file:
        put_all(file, content)
        place = next((tmp_path / "store").glob("partial/??/*"))
        with (place / "present").open("r+b") as present:
            present.write(bytes(48))
        yield store, file
    store.close()


def test_a_block_that_is_sent_keeps_no_leak(leaky: tuple[Store, StoredFile]) -> None:
    store, file = leaky
    with closing(file.open_sender()) as sender, sender.holding(file.layout.bytes_of(BlockRange(63, 64))):
        store.cache.evict([Sha1.of(b"no such file")])
    assert os.fstat(file.fd).st_blocks * 512 <= 17 * BLOCK_BYTES


def test_others_may_pin_and_evict_while_a_large_file_is_mended(
    leaky: tuple[Store, StoredFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, file = leaky
    hold, turns = Locks.hold, []

    @contextlib.contextmanager
    def note(locks: Locks, name: str, *, timeout_s: float | None = None) -> Iterator[None]:
        with hold(locks, name, timeout_s=timeout_s):
            yield
        if name == EVICTION_LOCK:
            turns.append(os.fstat(file.fd).st_blocks * 512 // BLOCK_BYTES)

    monkeypatch.setattr(Locks, "hold", note)
    monkeypatch.setattr("kacheryfs.store.evictor._MEND_BLOCKS", 16)
    store.cache.evict([Sha1.of(b"no such file")])
    assert turns == [48, 32, 16, 16]
