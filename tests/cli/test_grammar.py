from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from kacheryfs import errors
from kacheryfs.cli.parser import parse

ARGUMENTS = {
    "share": ["PATH"],
    "shares": [],
    "unshare": ["LINK"],
    "serve": [],
    "mount": ["MOUNTPOINT"],
    "umount": ["MOUNTPOINT"],
    "get": ["LINK"],
    "cat": ["LINK"],
    "status": [],
    "service": ["status"],
    "why": ["PATH"],
    "top": [],
    "cancel": ["--all"],
    "peer": ["list"],
    "path": ["LINK"],
    "info": ["LINK"],
    "verify": [],
    "config": [],
    "collection": ["list"],
    "dataset": ["build", "RECIPE"],
}


@pytest.mark.parametrize("command", ARGUMENTS)
def test_every_command_has_its_function_and_a_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module, _, function = parse([command, *ARGUMENTS[command]]).run.partition(":")
    assert callable(getattr(importlib.import_module(f"kacheryfs.cli.{module}"), function))
    with pytest.raises(SystemExit) as ended:
        parse([command, "--help"])
    assert ended.value.code == 0
    assert f"\n  kacheryfs {command}" in capsys.readouterr().out.replace("KACHERYFS_READ_TIMEOUT=30 ", "")


@pytest.mark.parametrize(
    "command", ["share", "shares", "get", "status", "cancel", "peer", "path", "info", "config", "service"]
)
def test_what_reports_can_report_json(command: str) -> None:
    assert parse([command, *ARGUMENTS[command], "--json"]).json


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["share", "--nonsense"], ["mount"], ["get"], ["peer", "paint"], ["--verb", "config"]]
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    words = capsys.readouterr().err
    assert words.count("\n") == 1
    assert words.startswith("kacheryfs: ")
    assert "--help" in words


def test_verbosity_counts_before_and_after_the_command() -> None:
    assert parse(["-v", "config", "-v"]).verbosity == 2


def test_help_documents_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    words = capsys.readouterr().out
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    for code in {kind.exit_code for kind in kinds} | {0, 130, 141}:
        assert f"  {code}  " in words.replace("; 141", "  141"), code


def test_help_loads_neither_the_engine_nor_the_mount_nor_rich() -> None:
    program = (
        "import sys; from kacheryfs.cli.parser import parse\n"
        "try: parse(['--help'])\n"
        "except SystemExit: print(*{'trio', 'rich', 'sqlite3', 'pyfuse3', 'ssl'} & sys.modules.keys(), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.split() == []
