from __future__ import annotations

import json
from pathlib import Path

import pytest

from kacheryfs.cli.servers import RunningServer, announce, find_servers

SERVER = RunningServer("http://127.0.0.1:4000", 123, "/data")


def test_a_server_is_found_while_it_lives(tmp_path: Path) -> None:
    with announce(SERVER, tmp_path):
        assert find_servers(tmp_path) == [SERVER]
        assert find_servers(tmp_path) == [SERVER]  # looking does not end it
    assert find_servers(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_server_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "serve-1-0000.json"
    left.write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": 1, "data_dir": "/data"}))
    assert find_servers(tmp_path) == []
    assert not left.exists()


def test_no_folder_is_no_server(tmp_path: Path) -> None:
    assert find_servers(tmp_path / "absent") == []


@pytest.mark.parametrize(
    ("url", "is_loopback"),
    [
        ("http://127.0.0.1:80", True),
        ("http://127.8.8.8:80", True),
        ("http://[::1]:80", True),
        ("http://localhost:80", True),
        ("http://0.0.0.0:80", False),
        ("http://192.168.1.2:80", False),
        ("http://[::]:80", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(url: str, is_loopback: bool) -> None:
    assert RunningServer(url, 1, "").is_loopback is is_loopback
