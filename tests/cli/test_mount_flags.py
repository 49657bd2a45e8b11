"""A mount in the background, or under systemd, is another process: every flag must reach it."""

from __future__ import annotations

import argparse

from kacheryfs.cli import grammar_reading
from kacheryfs.cli.commands import Commands
from kacheryfs.cli.mounting import arguments_of
from kacheryfs.cli.parser import parse

VALUES = {
    "URL": "http://127.0.0.1:9",
    "S": "30",
    "DIR": "/blocks",
    "HOST:PORT": "127.0.0.1:0",
    "SIZE": "5GB",
    "RATE": "5MB/s",
    "FILE": "/file",
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
