"""A small file that any number of processes change: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kacheryfs.errors import ConfigError
from kacheryfs.kept import MAX_KEPT_BYTES, KeptFile


@pytest.fixture
def kept(tmp_path: Path) -> KeptFile:
    return KeptFile(tmp_path / "folder" / "names", "the list of names")


def test_what_was_never_written_is_empty_and_makes_nothing(kept: KeptFile) -> None:
    assert kept.read() == ""
    assert not kept.path.parent.exists()


def test_what_is_written_is_read(kept: KeptFile) -> None:
    for text in ("grüße\n", "", "x" * MAX_KEPT_BYTES):
        with kept.locked():
            kept.write(text)
        assert kept.read() == text
    assert os.listdir(kept.path.parent) == ["names"]


def test_a_write_that_fails_leaves_the_file_as_it_was(kept: KeptFile, monkeypatch: pytest.MonkeyPatch) -> None:
    with kept.locked():
        kept.write("before")
    monkeypatch.setattr(os, "replace", _fail)
    with kept.locked(), pytest.raises(ConfigError, match=r"the list of names can't be written \(disk full\)"):
        kept.write("after")
    assert kept.read() == "before"
    assert os.listdir(kept.path.parent) == ["names"]


def _fail(*_: object) -> None:
    raise OSError(28, "disk full")


@pytest.mark.parametrize("data", [b"\xff", b"x" * (MAX_KEPT_BYTES + 1)])
def test_what_is_no_small_text_is_refused(kept: KeptFile, data: bytes) -> None:
    kept.path.parent.mkdir()
    kept.path.write_bytes(data)
    with pytest.raises(ConfigError, match="the list of names"):
        kept.read()


def test_a_lock_is_free_again_after_an_error(kept: KeptFile) -> None:
    with pytest.raises(ZeroDivisionError), kept.locked():
        raise ZeroDivisionError
    with kept.locked():
        kept.write("x")
