"""SpikeInterface's own JSON as a stranger may have written it, bounded before anything is made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..core.strict_json import MAX_COMMAS
from ..errors import ProofError

MAX_BYTES = 64 * 1024 * 1024
"""As for a tree; time vectors and trigger lists stand in descriptions as numbers."""
MAX_DEPTH = 200
"""A link of a chain takes two levels; Python's own parser gives up at about 1,000."""
MAX_INT_DIGITS = 20
"""2**64 has 20: seeds are that long."""


def parse_bounded_json(data: bytes, what: str) -> Any:
    """Parse JSON with fractions, no name twice in an object; ProofError in one line.

    NaN and Infinity are read, since SpikeInterface writes them into properties; where a number is needed ``numbers``
    of ``safety_kinds`` refuses them.
    """
    if len(data) > MAX_BYTES:
        raise ProofError(f"{what} of {len(data)} bytes is over the limit of {MAX_BYTES}")
    if data.count(b",") > MAX_COMMAS:
        raise ProofError(f"{what} holds more than {MAX_COMMAS} values")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_without_doubles, parse_int=_parse_int)
        check_depth(value, MAX_DEPTH)
    except RecursionError as exc:
        raise ProofError(f"{what} is nested too deeply") from exc
    except (json.JSONDecodeError, UnicodeDecodeError) as exc:
        raise ProofError(f"{what} is not JSON") from exc
    except ValueError as exc:
        raise ProofError(f"{what} is refused: {exc}") from exc
    return value


def check_depth(value: object, max_depth: int) -> None:
    """Raise ValueError where lists and objects stand inside each other deeper than ``max_depth``."""
    level: list[object] = [value]
    for _ in range(max_depth + 1):
        inner: list[object] = []
        for each in level:
            if isinstance(each, (list, dict)):
                inner += each.values() if isinstance(each, dict) else each
        if not inner:
            return
        level = [each for each in inner if isinstance(each, (list, dict))]
    raise ValueError(f"it is nested deeper than {max_depth}")


def _without_doubles(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    built = dict(pairs)
    if len(built) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in built if names.count(name) > 1)
        raise ValueError(f"the name {twice[:40]!r} is given twice in an object")
    return built


def _parse_int(text: str) -> int:
    if len(text) > MAX_INT_DIGITS:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)
