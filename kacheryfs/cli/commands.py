"""Adds one command to the grammar, with what all commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class Commands:
    """The table of commands that a grammar module fills, or that of one command's actions."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def add(
        self, name: str, *, run: str, help: str, about: str = "", examples: Sequence[str], has_json: bool = False
    ) -> argparse.ArgumentParser:
        """Add a command; ``run`` is ``module:function`` in this package."""
        parser = self._add_parser(name, help, about, examples)
        parser.set_defaults(run=run)
        parser.add_argument(
            "-v", "--verbose", dest="verbose_after", action="count", default=0, help="say more (-vv: everything)"
        )
        if has_json:
            parser.add_argument("--json", action="store_true", help="print JSON")
        return parser

    def add_group(self, name: str, *, help: str, about: str = "", examples: Sequence[str]) -> Commands:
        """Add a command that has actions; returns their table."""
        parser = self._add_parser(name, help, about, examples)
        kind = type(parser)  # an action's mistakes are told as a command's
        return Commands(
            parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True, parser_class=kind)
        )

    def _add_parser(self, name: str, help: str, about: str, examples: Sequence[str]) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = self._table.add_parser(
            name,
            help=help,
            description=about or help[0].upper() + help[1:] + ".",
            epilog="\n".join(["examples:", *(f"  {line}" for line in examples)]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        return parser
