from __future__ import annotations

import os
from pathlib import Path

import pytest

from kacheryfs import folders
from kacheryfs.errors import ConfigError
from kacheryfs.folders import look_around, make_private_folder


def test_the_runtime_folder_is_the_sessions_own(tmp_path: Path) -> None:
    environ = {"HOME": "/home/ada", "XDG_RUNTIME_DIR": str(tmp_path)}
    machine = look_around(environ)
    assert machine.runtime == tmp_path / "kacheryfs"
    assert machine.home == Path("/home/ada")
    assert machine.current == Path.cwd()


@pytest.mark.parametrize("runtime", ["", "relative", "/nonexistent/runtime"])
def test_without_a_session_the_runtime_folder_is_the_same_for_all_of_a_user(runtime: str) -> None:
    by_cron = look_around({"HOME": "/home/ada"}).runtime
    assert look_around({"HOME": "/home/ada", "XDG_RUNTIME_DIR": runtime}).runtime == by_cron
    assert str(os.getuid()) in str(by_cron)


def test_another_users_runtime_folder_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    environ = {"HOME": "/home/ada", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert look_around(environ).runtime == Path("/tmp/kacheryfs-4000000000")


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(folders.pwd, "getpwuid", nobody)
    with pytest.raises(ConfigError, match="set HOME or KACHERYFS_DIR"):
        look_around({})


def test_a_current_folder_that_is_gone_is_an_error_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="the current folder is gone"):
        look_around({"HOME": "/home/ada"})


def test_a_private_folder_is_made_with_its_parents_for_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "run"
    make_private_folder(path)
    assert path.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_could_enter_is_closed_to_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_private_folder(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_link_or_a_file_in_the_place_of_the_private_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigError, match="is not a folder of this user"):
        make_private_folder(tmp_path / "link")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="File exists"):
        make_private_folder(tmp_path / "file")


def test_a_private_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    with pytest.raises(ConfigError, match="is not a folder of this user"):
        make_private_folder(tmp_path)
