"""``peer add --secret-file`` and ``access``: what is kept, what is shown, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kacheryfs.app.serving import make_access, serve_limits
from kacheryfs.cli import main
from kacheryfs.config import load_settings
from kacheryfs.errors import ConfigError
from kacheryfs.serve.access import Everybody, KnownSecret, OwnNetwork

TOKEN = "0123456789abcdef0123"
URL = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KACHERYFS_DIR", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "lab.secret"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


def test_a_secret_is_kept_and_listed_but_never_shown(
    home: Path, secret_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["peer", "add", URL, "--secret-file", str(secret_file)]) == 0
    assert main(["peer", "list"]) == 0
    assert main(["peer", "list", "--json"]) == 0
    assert main(["config"]) == 0
    printed = capsys.readouterr()
    assert "with a secret" in printed.out
    assert TOKEN not in printed.out + printed.err
    assert TOKEN in (home / "data" / "peer-secrets").read_text()
    assert main(["peer", "remove", URL]) == 0
    assert TOKEN not in (home / "data" / "peer-secrets").read_text()


def test_a_peer_without_one_is_listed_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["peer", "add", URL]) == 0
    assert main(["peer", "list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["has_secret"] is False


@pytest.mark.parametrize("text", ["", "short", TOKEN + "\n" + TOKEN + "x", "ü" * 20])
def test_a_file_that_holds_no_one_secret_is_refused_before_anything_is_kept(
    home: Path, secret_file: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    secret_file.write_text(text)
    assert main(["peer", "add", URL, "--secret-file", str(secret_file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(secret_file) in line
    assert not home.exists()


def test_a_secret_for_what_is_no_peer_is_refused(home: Path, secret_file: Path) -> None:
    assert main(["peer", "add", "lab:1", "--secret-file", str(secret_file)]) == 2
    assert main(["peer", "list", "--secret-file", str(secret_file)]) == 2
    assert not home.exists()


def test_access_is_as_the_setting_says(secret_file: Path) -> None:
    for word, kind in (("everybody", Everybody), ("local", OwnNetwork), ("secret", KnownSecret)):
        settings = load_settings({"access": word, "secret_file": str(secret_file)}, os.environ)
        assert type(make_access(settings)) is kind


def test_a_secret_that_others_can_read_is_none(secret_file: Path) -> None:
    settings = load_settings({"access": "secret", "secret_file": str(secret_file)}, os.environ)
    secret_file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        make_access(settings)
    secret_file.unlink()
    with pytest.raises(ConfigError, match="openssl rand"):
        make_access(settings)


def test_limits_are_as_the_settings_say() -> None:
    limits = serve_limits(load_settings({"upload_limit": "10 MB/s", "max_connections": 1}, os.environ))
    assert (limits.upload_bytes_per_s, limits.max_connections, limits.max_connections_per_address) == (10_000_000, 1, 1)
    assert serve_limits(load_settings({}, os.environ)).upload_bytes_per_s is None


def test_a_wrong_address_for_metrics_is_told_before_anything_is_served(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--listen", "127.0.0.1:0", "--metrics", "here"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--metrics can't be 'here'" in line


def test_serve_says_what_is_wrong_with_its_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KACHERYFS_ACCESS", "secret")
    assert main(["serve", "--listen", "127.0.0.1:0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "access is by secret" in line


@pytest.mark.parametrize("place", ["lab.example:27180", "[::1]:8", "lab.example"])
def test_a_url_with_a_password_is_told_with_its_port_and_without_the_password(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["peer", "add", f"http://user:word@{place}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"'http://...@{place}' is no peer's URL: peers know no user names" in line
    assert "word@" not in line
