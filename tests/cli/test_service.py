"""``service``, beside a systemctl that writes down what it was asked, and a mount that tells systemd it is ready."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kacheryfs.cli import main
from kacheryfs.daemon import find_journal, tell_service_manager
from kacheryfs.errors import InputError, ListenError

FAKE = """\
#!/bin/sh
echo "$*" >> "{asked}"
case "$*" in
    *"{refused}"*) echo "Failed to do it" >&2; exit 1 ;;
    *show-environment) ;;
    *show*) printf 'ActiveState={active}\\nUnitFileState=enabled\\nMainPID=42\\nResult=success\\n' ;;
esac
"""


@dataclass
class Systemd:
    """The fake, and where the units of this user lie."""

    folder: Path
    units: Path

    def refuse(self, words: str, active: str = "active") -> None:
        """Be without systemd's answer to whatever has ``words`` in it; units are ``active``."""
        program = self.folder / "systemctl"
        program.write_text(FAKE.format(asked=self.folder / "asked", refused=words, active=active))
        program.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        """The commands that change something."""
        lines = (self.folder / "asked").read_text().splitlines()
        return [line.removeprefix("--user --no-pager ") for line in lines if " show" not in line]

    @property
    def unit(self) -> Path:
        (unit,) = self.units.iterdir()
        return unit


@pytest.fixture(autouse=True)
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("KACHERYFS_DIR", str(tmp_path / "home of ann"))
    monkeypatch.chdir(tmp_path)
    systemd = Systemd(folder, tmp_path / "config/systemd/user")
    systemd.refuse("nothing")
    return systemd


Output = Callable[[], Any]


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Output:
    return lambda: json.loads(capsys.readouterr().out)


def test_install_writes_the_unit_enables_and_starts_it(systemd: Systemd, tmp_path: Path) -> None:
    assert main(["service", "install", "mount", "my data", "--peer", "http://127.0.0.1:9", "--store", "blocks"]) == 0
    text, name = systemd.unit.read_text(), systemd.unit.name
    assert f'"mount" "--foreground" "{tmp_path}/my data" "--peer" "http://127.0.0.1:9"' in text
    assert f'"--store" "{tmp_path}/blocks"' in text
    assert f'Environment="KACHERYFS_DIR={tmp_path}/home of ann"\n' in text
    assert systemd.asked == ["daemon-reload", f"enable {name}", f"restart {name}"]


def test_a_second_install_takes_up_the_new_command_line(systemd: Systemd) -> None:
    for url in ("http://127.0.0.1:1", "http://127.0.0.1:2"):
        assert main(["service", "install", "mount", "m", "--peer", url]) == 0
    assert "http://127.0.0.1:2" in systemd.unit.read_text()
    assert systemd.asked[3:] == systemd.asked[:3]


def test_flags_of_serve_reach_the_unit_as_they_were_typed(systemd: Systemd) -> None:
    assert main(["service", "install", "serve", "--listen", "127.0.0.1:0"]) == 0
    assert '"serve" "--listen" "127.0.0.1:0"\n' in systemd.unit.read_text()


def test_status_tells_what_is_installed_and_remove_takes_it_away(
    systemd: Systemd, output: Output, tmp_path: Path
) -> None:
    assert main(["service", "install", "--json", "mount", "m"]) == 0
    installed = output()
    assert main(["service", "status", "--json"]) == 0
    (found,) = output()
    assert installed == {**found, "file": str(systemd.unit)}
    assert found["path"] == str(tmp_path / "m")
    assert (found["active"], found["is_enabled"], found["pid"]) == ("active", True, 42)
    name = systemd.unit.name
    assert main(["service", "remove", "mount", "m"]) == 0
    assert systemd.asked[-2:] == [f"disable --now {name}", "daemon-reload"]
    assert list(systemd.units.iterdir()) == []


def test_a_unit_that_somebody_wrote_by_hand_is_left_alone(systemd: Systemd, output: Output) -> None:
    systemd.units.mkdir(parents=True)
    (systemd.units / "kacheryfs-mine.service").write_text("[Service]\nExecStart=kacheryfs serve\n")
    assert main(["service", "status", "--json"]) == 0
    assert output() == []


def test_print_shows_the_unit_and_asks_nobody(systemd: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    systemd.refuse("")
    assert main(["service", "install", "--print", "serve"]) == 0
    assert capsys.readouterr().out.startswith("[Unit]\n")
    assert not systemd.units.exists()


def test_without_systemd_nothing_is_written_and_the_error_says_what_to_run(
    systemd: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    systemd.refuse("show-environment")
    assert main(["service", "install", "mount", "my data"]) == 9
    (line,) = capsys.readouterr().err.splitlines()
    assert "kacheryfs mount 'my data'" in line
    assert not systemd.units.exists()


def test_a_service_that_does_not_start_says_where_its_log_is(
    systemd: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    systemd.refuse("restart")
    assert main(["service", "install", "serve"]) == 9
    (line,) = capsys.readouterr().err.splitlines()
    assert f"did not start; its log: journalctl --user -u {systemd.unit.name}" in line


def test_a_service_that_systemd_starts_again_says_so(systemd: Systemd, capsys: pytest.CaptureFixture[str]) -> None:
    systemd.refuse("restart", active="activating")
    assert main(["service", "install", "serve"]) == 9
    assert "did not start, and is tried again; its log: " in capsys.readouterr().err


def test_a_listener_s_failure_is_none_that_systemd_takes_for_final() -> None:
    text = (Path(__file__).parent.parent.parent / "scripts/kacheryfs-serve.service").read_text()
    assert f"RestartPreventExitStatus={InputError.exit_code}\n" in text
    assert ListenError.exit_code != InputError.exit_code
    assert not issubclass(ListenError, InputError)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["install", "mount", "m", "--peer", "nonsense"], 2),
        (["install", "mount", "m", "--read-timeout", "soon"], 2),
        (["install", "serve", "--listen", "nonsense"], 2),
        (["install", "--print", "--json", "serve"], 2),
        (["remove", "mount", "absent"], 2),
        (["remove", "serve"], 2),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(
    arguments: list[str], code: int, systemd: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["service", *arguments]) == code
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not systemd.units.exists()


@pytest.mark.parametrize("is_abstract", [False, True])
def test_systemd_is_told_once_that_the_service_is_ready(
    is_abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"kacheryfs-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if is_abstract else name)
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if is_abstract else name)
        tell_service_manager()
        tell_service_manager()
        assert manager.recv(100) == b"READY=1"
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(100)


def test_a_log_that_the_journal_takes_is_read_by_journalctl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")  # of the terminal that started us, itself a service of the desktop
    assert find_journal() is None
    stderr = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{stderr.st_dev}:{stderr.st_ino}")
    assert find_journal() == f"journalctl --user _PID={os.getpid()}"


def test_the_server_tells_systemd_when_it_answers(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(60)
        command = [sys.executable, "-m", "kacheryfs", "serve", "--listen", "127.0.0.1:0"]
        environment = {**os.environ, "NOTIFY_SOCKET": str(path)}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
            try:
                assert manager.recv(100) == b"READY=1"
                assert server.stdout is not None
                assert server.stdout.readline().startswith(b"http://")
            finally:
                server.terminate()
        assert server.returncode == 0
