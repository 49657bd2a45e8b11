"""The id that a peer is known by, whatever its URL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kacheryfs.core.wire import PEER_ID_BYTES
from kacheryfs.errors import ConfigError
from kacheryfs.peers import identity
from kacheryfs.peers.identity import keep_peer_id, name_machine


def test_an_id_is_kept_and_each_folder_has_its_own(tmp_path: Path) -> None:
    first = keep_peer_id(tmp_path / "a")
    assert len(first) == PEER_ID_BYTES
    assert keep_peer_id(tmp_path / "a") == first
    assert keep_peer_id(tmp_path / "b") != first


def test_two_machines_with_one_data_folder_are_two_peers(tmp_path: Path) -> None:
    ids = [keep_peer_id(tmp_path, lambda name=name: name) for name in ("1 desk", "1 desk", "1 clone", "2 desk")]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    kept = (tmp_path / "peer_id").read_text().strip()
    assert kept not in [peer_id.hex() for peer_id in ids]


def test_a_machine_has_a_name_with_or_without_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_id = name_machine()
    monkeypatch.setattr(identity, "_MACHINE_ID", tmp_path / "absent")
    assert name_machine().strip()
    assert with_id.endswith(name_machine().strip())


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(lambda _: keep_peer_id(tmp_path / "data"), range(64)))) == 1


@pytest.mark.parametrize("text", ["", "\n", "xyz", "0" * 31, "0" * 33])
def test_what_is_no_id_is_replaced_for_good(tmp_path: Path, text: str) -> None:
    (tmp_path / "peer_id").write_text(text)
    found = keep_peer_id(tmp_path)
    assert len(found) == PEER_ID_BYTES
    assert keep_peer_id(tmp_path) == found


def test_a_folder_that_cant_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="this peer's id can't be"):
        keep_peer_id(tmp_path / "file")
