"""``status`` of a store that a running mount has told of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from looks import peer

from kacheryfs import app
from kacheryfs.cli import main, status
from kacheryfs.cli.mounts import RunningMount
from kacheryfs.cli.servers import RunningServer
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


def told_of(path: Path, limit_bytes: int, used_bytes: int) -> dict[str, Any]:
    """Return a store and its cache as a mount or a look tells of them."""
    store = {"path": str(path), "is_writable": True, "n_files": 1, "n_complete": 0, "present_bytes": 0}
    cache = {"limit_bytes": limit_bytes, "used_bytes": used_bytes, "pinned_bytes": 0, "evicted_bytes": 0}
    return {"store": {**store, "free_bytes": None}, "cache": cache}


def test_a_mount_with_another_store_or_bound_has_its_cache_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KACHERYFS_DIR", str(tmp_path))
    own, other = tmp_path / "store", tmp_path / "other"
    told = [told_of(own, 50_000_000, 1_000_000), told_of(own, 30_000_000, 2_000_000), told_of(other, 7_000_000, 3)]
    rest = {"pid": 1, "log": None, "is_offline": False, "peers": [], "collections": {}, "files": []}
    rest |= {"waits": [], "n_waits": 0, "received_bytes": 0, "wasted_bytes": 0, "waited": {"longest_s": 0.0}}
    rest |= {"reads": {"from_network": {"n_reads": 0, "n_bytes": 0}}}
    mounts = [RunningMount(tmp_path, {"mountpoint": f"/m{n}", **rest, **about}) for n, about in enumerate(told)]
    monkeypatch.setattr(status, "find_mounts", lambda _: mounts)
    assert main(["status"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.lstrip().startswith(("mo", "st", "ta"))]
    assert [line.split(" 1 file")[0] for line in lines] == [
        "mount  /m0  pid 1  log on its terminal",
        "mount  /m1  pid 1  log on its terminal",
        f"  store  {own} ",
        "    takes 2.00 MB of at most 30.0 MB",
        "mount  /m2  pid 1  log on its terminal",
        f"  store  {other} ",
        "    takes 3 B of at most 7.00 MB",
        f"store  {own} ",
        "  takes 1.00 MB of at most 50.0 MB",
    ]


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_what_runs_is_told_where_the_store_is_of_a_newer_version(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KACHERYFS_DIR", str(tmp_path))
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "VERSION").write_text("kacheryfs-store 9\n")
    monkeypatch.setattr(status, "find_servers", lambda _: [RunningServer("http://here:1", 5, "")])
    assert main(["status", *flags]) == 6
    told = capsys.readouterr()
    assert "http://here:1" in told.out
    assert "its version is 'kacheryfs-store 9'" in told.err
    assert not flags or json.loads(told.out)["store"] is None


def test_a_peer_that_lied_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KACHERYFS_DIR", str(tmp_path))
    rows = [peer("http://a"), peer("http://b", n_bans=2), peer("http://c", is_reachable=False, says="no answer")]
    monkeypatch.setattr(app, "probe_peers", lambda settings: rows)
    assert main(["status"]) == 0
    shown = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if line.lstrip().startswith("peer")}
    assert "LIED" not in shown["http://a"]
    assert shown["http://b"].endswith("LIED: not asked for 2 files now; the mount's log says in what")
    assert shown["http://c"].endswith("no answer")
