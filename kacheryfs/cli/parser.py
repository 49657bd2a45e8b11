"""The command line's grammar; each command names the function that runs it, which is imported only then."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import __version__
from . import grammar_collections, grammar_keeping, grammar_reading, grammar_serving, grammar_watching
from .commands import Commands

if TYPE_CHECKING:
    from typing import Any, NoReturn

_EXIT_CODES = """\
exit codes:
  0  done
  1  an error that no other code names (a fault of kacheryfs among them)
  2  bad input: a link, a path, an argument or a setting; the line says what to write instead
  3  nobody has it: every peer answered
  4  no answer in time: a peer is down or slow, or the read was cancelled; try again
  5  not proven: bytes, a manifest or a tree are not what their digest says, or a bare claim was refused
  6  the store, the catalog or the target of a mirror can't be used
  7  a shared original was changed since it was hashed
  8  the mount could not be made, reached or removed
  9  systemd is missing, or refused
  10  no listening at that address: the port is in use, or this machine hasn't the address (yet)
  130  interrupted (Ctrl-C); 141  the reader of stdout went away

Every command explains itself: kacheryfs COMMAND --help
"""


_NEGATIVE = re.compile(r"-\.?[0-9]")
"""How a negative quantity begins; no flag of ours does."""


class Parser(argparse.ArgumentParser):
    """Say what is wrong in one line, and where to read more."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._negative_number_matcher = _NEGATIVE  # argparse's own lets -5 be a value, and takes -5MB/s for a flag

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"kacheryfs: {message}; see {self.prog} --help\n")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the arguments; SystemExit after ``--help``, ``--version`` and mistakes, as argparse does."""
    parser = _root()
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", parser_class=Parser)
    for grammar in (grammar_serving, grammar_reading, grammar_keeping, grammar_collections, grammar_watching):
        grammar.add_commands(Commands(commands))
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        parser.exit(2)
    args.verbosity = args.verbose_before + args.verbose_between + args.verbose_after
    return args


def _root() -> Parser:
    parser = Parser(
        prog="kacheryfs",
        description="A recording in another lab reads as an ordinary file: content-addressed, peer to peer, verified.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"kacheryfs {__version__}")
    parser.add_argument(
        "-v", "--verbose", dest="verbose_before", action="count", default=0, help="say more (-vv: everything)"
    )
    parser.set_defaults(ready_fd=None, verbose_between=0)
    return parser
