from __future__ import annotations

import os
from pathlib import Path

import pytest

from kacheryfs import daemon
from kacheryfs.daemon import BackgroundError, ReadyPipe, run_in_background


def test_the_reason_and_the_code_of_a_process_in_the_background_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KACHERYFS_DIR", str(tmp_path))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BackgroundError, match="is not a folder") as caught:
        run_in_background(["mount", "--foreground", str(tmp_path / "file")], tmp_path / "log" / "mount.log")
    assert caught.value.exit_code == 8
    assert "is not a folder" in (tmp_path / "log" / "mount.log").read_text()


def test_a_process_that_ends_without_a_word_names_its_log(tmp_path: Path) -> None:
    with pytest.raises(BackgroundError, match=r"mount\.log"):
        run_in_background(["config", "--nonsense"], tmp_path / "mount.log")


def test_a_word_is_told_once_and_who_waited_may_be_gone() -> None:
    read_fd, write_fd = os.pipe()
    ready = ReadyPipe(write_fd)
    os.close(read_fd)
    ready.tell_ready()
    ready.tell_failed("later", 1)
    ReadyPipe(None).tell_ready()


def test_a_long_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "MAX_LOG_BYTES", 10)
    log = tmp_path / "mount.log"
    log.write_bytes(b"a former run, at length")
    with pytest.raises(BackgroundError):
        run_in_background(["config", "--nonsense"], log)
    assert (tmp_path / "mount.log.1").read_bytes() == b"a former run, at length"
    assert b"nonsense" in log.read_bytes()
    assert log.stat().st_mode & 0o777 == 0o600
