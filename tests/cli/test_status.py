"""``status`` of a store that a running mount has told of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kacheryfs import app
from kacheryfs.cli import main, status
from kacheryfs.cli.mounts import RunningMount
from kacheryfs.config import Settings


@pytest.mark.parametrize("store", ["store", "another"])
def test_a_mounts_own_store_is_not_looked_at_again(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KACHERYFS_DIR", str(tmp_path))
    told: dict[str, Any] = {"path": str(tmp_path / store), "n_files": 3}
    about = {"mountpoint": "/m", "peers": [], "store": told, "cache": {"limit_bytes": 5}}
    looked: list[Settings] = []
    monkeypatch.setattr(status, "find_mounts", lambda _: [RunningMount(tmp_path, about)])
    monkeypatch.setattr(app, "look_at_store", lambda settings: looked.append(settings) or {})
    assert main(["status", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["store"]
    is_its_own = store == "store"
    assert shown == ({**told, "cache": {"limit_bytes": 5}} if is_its_own else {})
    assert bool(looked) is not is_its_own
