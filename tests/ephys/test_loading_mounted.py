"""The mount that a reader of paths goes through is found without a look at its store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kacheryfs.config import load_settings
from kacheryfs.ephys import loading_mounted
from kacheryfs.errors import MountError


def test_the_first_mount_that_answers_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KACHERYFS_DIR", str(tmp_path))
    sockets = [tmp_path / "killed", tmp_path / "alive"]

    def ask(socket: Path, command: str, *, timeout_s: float) -> object:
        assert command == "watch"  # a status takes seconds where the store has many files
        if socket == sockets[0]:
            raise MountError("nobody answers")
        return {"mountpoint": "/m"}

    monkeypatch.setattr(loading_mounted, "list_sockets", lambda _: sockets)
    monkeypatch.setattr(loading_mounted, "ask", ask)
    assert loading_mounted.find_mountpoint(load_settings({}, os.environ)) == Path("/m")
