"""What commands print: results and JSON on stdout, words for people on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any


def put(line: str) -> None:
    """Print one result, at once: somebody may be reading the pipe."""
    print(line, flush=True)


def put_json(value: object) -> None:
    print(json.dumps(value, indent=2), flush=True)


def say(words: str) -> None:
    """Tell the person, not the program behind a pipe."""
    print(f"kacheryfs: {words}", file=sys.stderr, flush=True)


def plain(words: str) -> str:
    """Return what others have written, a file's name for one, without commands to the terminal."""
    return "".join(char if char.isprintable() else "�" for char in words)


def name_of(file: dict[str, Any]) -> str:
    """Return what a file, or a read of it, is called for people: its label if it was opened by one."""
    sha1 = f"{file['sha1'][:8]}…"
    return f"{plain(file['label'])} {sha1}" if file["label"] else sha1


def format_table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Align cells in columns, two spaces apart; the last column isn't padded."""
    cells = [tuple(row) for row in rows]
    if not cells:
        return []
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
