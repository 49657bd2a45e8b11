"""What is pinned stays, and every process knows it at once."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from pathlib import Path

import pytest
from store_content import BLOCK_BYTES, make_content, put_all

from kacheryfs.core.model import Sha1
from kacheryfs.errors import StoreError
from kacheryfs.store.blocks import Store

ONE, OTHER, THIRD = (Sha1.of(bytes([n])) for n in range(3))


def test_a_pin_is_seen_at_once_by_another_process(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "store"), Store(tmp_path / "store")
    for n in range(50):  # within one tick of the clock that stamps the folder
        assert not other.pins.is_pinned(ONE)
        one.pins.pin(f"sha1://a?{n}", [ONE, OTHER])
        assert other.pins.is_pinned(ONE)
        assert not other.pins.is_pinned(THIRD)
        assert one.pins.unpin(f"sha1://a?{n}")
    one.close()
    other.close()


def test_a_file_that_two_links_pin_stays_pinned_until_both_are_gone(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.pins.pin("b", [ONE])
    store.pins.pin("a", [ONE, OTHER])
    assert [(pin.link, pin.sha1s) for pin in store.pins.all()] == [("a", {ONE, OTHER}), ("b", {ONE})]
    assert store.pins.unpin("b")
    assert store.pins.is_pinned(ONE)
    assert store.pins.unpin("a")
    assert not store.pins.is_pinned(ONE)
    assert not store.pins.unpin("a")
    store.close()


def test_pins_outlive_the_process_and_a_link_pinned_again_is_one_pin(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    link = "sha1dir://x/\udcff name?manifest=5"
    store.pins.pin(link, [ONE])
    store.pins.pin(link, [OTHER])
    store.close()
    store = Store(tmp_path / "store")
    assert [(pin.link, pin.sha1s) for pin in store.pins.all()] == [(link, {OTHER})]
    store.close()


@pytest.mark.expects_warnings
def test_a_damaged_pin_is_named_and_the_others_hold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path / "store")
    store.pins.pin("a", [ONE])
    (tmp_path / "store" / "pins" / "rubbish").write_bytes(b"\xff{")
    assert [pin.link for pin in store.pins.all()] == ["a"]
    assert "rubbish" in caplog.text
    store.close()


def test_a_pin_that_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    (tmp_path / "store" / "pins").write_bytes(b"no folder")
    with pytest.raises(StoreError, match="can't be kept"):
        store.pins.pin("a", [ONE])
    with pytest.raises(StoreError, match="can't be removed"):
        store.pins.unpin("a")
    assert store.pins.all() == []
    store.close()


def test_a_pin_that_cannot_be_read_now_is_no_reason_to_evict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = make_content(2 * BLOCK_BYTES)
    store = Store(tmp_path)
    store.pins.pin("link", [content.sha1])
    with closing(store.open(content.proof())) as file:
        put_all(file, content)
    other = Store(tmp_path)
    read_bytes = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.parent.name == "pins":
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return read_bytes(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read)
        with pytest.raises(StoreError, match="Too many open files"):
            other.pins.is_pinned(content.sha1)
        with pytest.raises(StoreError):
            other.cache.evict()
    assert other.pins.is_pinned(content.sha1)
    assert sum(item.present_bytes for item in other.files()) == len(content.data)
    store.close()
    other.close()


@pytest.mark.parametrize("call", ["stat", "listdir"])
def test_a_folder_of_pins_that_cannot_be_looked_at_is_no_reason_to_evict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    content = make_content(2 * BLOCK_BYTES)
    store, other = Store(tmp_path), Store(tmp_path)
    assert not other.pins.is_pinned(content.sha1), "it knows that there is no pin"
    with closing(store.open(content.proof())) as file:
        put_all(file, content)
    store.pins.pin("link", [content.sha1])
    real = getattr(os, call)

    def fail(path: object, *arguments: object, **options: object) -> object:
        if str(path) == str(tmp_path / "pins"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StoreError, match="can't be read now: Input/output error"):
            other.pins.is_pinned(content.sha1)
        with pytest.raises(StoreError):
            other.cache.evict()
    assert sum(item.present_bytes for item in other.files()) == len(content.data)
    store.close()
    other.close()
