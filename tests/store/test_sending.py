"""A sender holds blocks against eviction, on a descriptor of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from store_content import BLOCK_BYTES, data_path, make_content, open_descriptors, put_all

from kacheryfs.core.model import ByteRange
from kacheryfs.errors import StoreError
from kacheryfs.store.blocks import Store
from kacheryfs.store.locks import try_lock

CONTENT = make_content(3 * BLOCK_BYTES)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", min_free_fraction=0)


def test_what_a_sender_holds_cannot_be_locked_for_eviction_but_the_rest_can(store: Store) -> None:
    file = store.open(CONTENT.proof())
    put_all(file, CONTENT)
    sender = file.open_sender()
    evictor = os.open(data_path(store.root, CONTENT.binding), os.O_RDWR)
    with sender.holding(ByteRange(0, BLOCK_BYTES + 1)):
        assert os.pread(sender.fd, 10, BLOCK_BYTES) == CONTENT.block(1)[:10]
        assert not try_lock(evictor, ByteRange(BLOCK_BYTES, 2 * BLOCK_BYTES))
        assert try_lock(evictor, ByteRange(2 * BLOCK_BYTES, 3 * BLOCK_BYTES))
    assert try_lock(evictor, ByteRange(0, 2 * BLOCK_BYTES))
    os.close(evictor)
    sender.close()
    file.close()
    store.close()


def test_two_senders_hold_the_same_blocks_and_the_first_to_end_leaves_the_others(store: Store) -> None:
    file = store.open(CONTENT.proof())
    put_all(file, CONTENT)
    one, other = file.open_sender(), file.open_sender()
    evictor = os.open(data_path(store.root, CONTENT.binding), os.O_RDWR)
    with one.holding(ByteRange(0, 10)):
        with other.holding(ByteRange(0, 10)):
            pass
        assert not try_lock(evictor, ByteRange(0, BLOCK_BYTES))
    os.close(evictor)
    for opened in (one, other, file):
        opened.close()
    store.close()


def test_a_sender_goes_on_when_the_file_is_proven_and_stops_when_it_is_dropped(store: Store) -> None:
    file = store.open(CONTENT.proof())
    put_all(file, CONTENT)
    before = open_descriptors(store.root)
    sender = file.open_sender()
    assert file.prove()
    with sender.holding(ByteRange(0, 10)):
        assert os.pread(sender.fd, 10, 0) == CONTENT.data[:10]
    file.drop()
    with pytest.raises(StoreError, match="replaced"), sender.holding(ByteRange(0, 10)):
        raise AssertionError("it has nothing to send any more")
    with pytest.raises(StoreError, match="nothing to send"):
        file.open_sender()
    sender.close()
    assert open_descriptors(store.root) == before
    file.close()
    store.close()
