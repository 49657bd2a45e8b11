"""A mount in the background, or under systemd, is another process: every flag must reach it."""

from __future__ import annotations

import argparse

import pytest

from kacheryfs.cli import grammar_reading
from kacheryfs.cli.commands import Commands
from kacheryfs.cli.configuration import settings_of
from kacheryfs.cli.mounting import arguments_of, mount
from kacheryfs.cli.parser import parse
from kacheryfs.errors import InputError

VALUES = {
    "URL": "http://127.0.0.1:9",
    "S": "30",
    "DIR": "/blocks",
    "HOST:PORT": "127.0.0.1:0",
    "SIZE": "5GB",
    "RATE": "5MB/s",
    "FILE": "/file",
    "WHO": "local",
    "N": "10",
}
"""By metavar."""
OWN = {"--help", "--foreground", "--ready-fd", "--verbose"}
"""Of the process that starts it, or always set."""


def flags_of_mount() -> list[list[str]]:
    """Return every flag as it is typed, with a value where it takes one."""
    table = argparse.ArgumentParser().add_subparsers()
    grammar_reading.add_commands(Commands(table))
    actions = {action.option_strings[-1]: action for action in table.choices["mount"]._actions if action.option_strings}
    return [
        [flag] if action.nargs == 0 else [flag, VALUES[str(action.metavar)]]
        for flag, action in actions.items()
        if flag not in OWN
    ]


def test_every_flag_of_mount_reaches_the_process_that_mounts() -> None:
    flags = flags_of_mount()
    assert ["--allow-other"] in flags
    for flag in flags:
        typed = parse(["mount", "-v", "/m", *flag])
        passed = parse(arguments_of(typed, "/m"))
        assert passed.foreground
        passed.foreground = False
        passed.verbose_after = typed.verbose_after
        assert vars(passed) == vars(typed), flag


@pytest.mark.parametrize("flag", ["--listen=127.0.0.1:0", "--access=local", "--upload-limit=5MB/s", "--metrics"])
def test_what_is_about_the_server_is_refused_without_one(flag: str) -> None:
    with pytest.raises(InputError, match=f"{flag.partition('=')[0]} says how --serve answers peers"):
        mount(parse(["mount", "/m", flag]))


@pytest.mark.parametrize(
    ("command", "flag", "shown"),
    [
        (["serve"], "--upload-limit=20MB/s", "20 MB/s"),
        (["serve"], "--max-connections=10", "10"),
        (["serve"], "--access=local", "local"),
        (["mount", "/m"], "--download-limit=50 MB/s", "50 MB/s"),
        (["mount", "/m"], "--cache-size=80%", "80 %"),
        (["mount", "/m", "--serve"], "--upload-limit=1.5MiB/s", "1536 KiB/s"),
        (["get", "LINK"], "--download-limit=none", "none"),
    ],
)
def test_a_limit_is_a_flag_where_it_matters(command: list[str], flag: str, shown: str) -> None:
    rows = {row.name: row for row in settings_of(parse([*command, flag])).rows()}
    row = rows[flag.partition("=")[0].removeprefix("--").replace("-", "_")]
    assert (row.text, row.source) == (shown, "flag")


def test_help_and_config_say_what_0_means(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["mount", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert words.count("none or 0: no limit") == 2
    assert "or 0 to keep nothing" in words
    told = {row.name: row.help for row in settings_of(parse(["config"])).rows()}
    assert "0: no limit" in told["upload_limit"]
    assert "0: no limit" in told["download_limit"]
    assert "0: keep nothing" in told["cache_size"]


@pytest.mark.parametrize(
    ("command", "value", "expected"),
    [
        (["serve", "--upload-limit"], "-5MB/s", "at least 16 kB/s"),
        (["mount", "/m", "--download-limit"], "-.5 MB/s", "at least 16 kB/s"),
        (["mount", "/m", "--cache-size"], "-5GB", "at least 1 MB"),
    ],
)
def test_a_negative_quantity_is_a_bad_value_and_no_flag(command: list[str], value: str, expected: str) -> None:
    with pytest.raises(InputError, match=f"can't be '{value}': .*{expected}"):
        settings_of(parse([*command, value]))


def test_a_flag_that_takes_a_value_does_not_swallow_the_next_flag() -> None:
    with pytest.raises(SystemExit):
        parse(["serve", "--upload-limit", "--metrics"])
    with pytest.raises(SystemExit):
        parse(["serve", "--upload-limit", "-v"])
