"""JSON from strangers, bounded and without its loose ends: whatever is not exactly right is a ProofError."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import NoReturn

from ..errors import ProofError

MAX_COMMAS = 2_500_000
"""Bounds how many values are made, of some 100 bytes each: each but the first of a list or an object follows a comma.
The densest honest tree of 64 MiB, 68 bytes a file, has 2.0 million."""
MAX_INT_DIGITS = 16
"""1 PiB, the largest file, has 16; past 4,300 digits Python's own int() gives up with a ValueError."""


def _as_it_is(value: dict[str, object]) -> object:
    return value


def parse_strict_json(
    data: bytes,
    *,
    what: str,
    max_bytes: int,
    shrink: Callable[[dict[str, object]], object] = _as_it_is,
    has_fractions: bool = False,
) -> object:
    """Parse UTF-8 JSON: no name twice in an object, integers of at most 16 digits, no NaN or infinity.

    Fractions are refused, too, unless the format ``has_fractions``. ``shrink`` turns each object into what stands for
    it, innermost first; its ValueErrors become ProofErrors too.
    """
    if len(data) > max_bytes:
        raise ProofError(f"{what} of {len(data)} bytes is over the limit of {max_bytes}")
    if data.count(b",") > MAX_COMMAS:
        raise ProofError(f"{what} holds more than {MAX_COMMAS} values")

    def build_object(pairs: Sequence[tuple[str, object]]) -> object:
        return shrink(_without_doubles(pairs))

    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=build_object,
            parse_int=_parse_int,
            parse_float=_parse_fraction if has_fractions else _refuse_number,
            parse_constant=_refuse_number,
        )
    except RecursionError as exc:
        raise ProofError(f"{what} is nested too deeply") from exc
    except (json.JSONDecodeError, UnicodeDecodeError) as exc:
        raise ProofError(f"{what} is not JSON") from exc
    except ValueError as exc:
        raise ProofError(f"{what} is refused: {exc}") from exc


def _without_doubles(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    built = dict(pairs)
    if len(built) != len(pairs):
        raise ValueError("a name is given twice")
    return built


def _parse_int(text: str) -> int:
    if len(text) > MAX_INT_DIGITS:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def _parse_fraction(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is past what a number can be")
    return value


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:20]} is no integer")
