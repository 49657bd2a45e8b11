"""Fields of the lineage's JSON objects: each is taken as what it must be, or refused in one line that names it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from ..errors import LinkError, ProofError
from .link import FileLink, TreeLink, parse_link
from .strict_json import parse_strict_json

MAX_LINEAGE_BYTES = 64 * 1024 * 1024
"""The longest collection or feed that is read; a recording's object has some KB."""
MAX_LINEAGE_DEPTH = 16
"""How deep recordings (or sortings) may stand inside each other: filtered, a part of it, filtered again, …"""

UnitId = int | str
Warn = Callable[[str], None]
"""Told, in one line, of each thing that is left out."""


def parse_lineage_json(data: bytes, *, what: str, max_bytes: int = MAX_LINEAGE_BYTES) -> object:
    """Parse the lineage's JSON; ProofError for what is too long, damaged, or names a thing twice."""
    return parse_strict_json(data, what=what, max_bytes=max_bytes, has_fractions=True)


def canonical_text(value: object) -> str:
    """Return the JSON of a parsed value with sorted keys and no spaces, as the lineage hashed it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Fields:
    """An object of the lineage's JSON, and what to call it in an error."""

    what: str
    values: dict[str, object]

    @classmethod
    def of(cls, value: object, what: str) -> Fields:
        if not isinstance(value, dict):
            raise ProofError(f"{what} is {_kind(value)}, not an object")
        return cls(what, value)

    def has(self, key: str) -> bool:
        """Tell whether ``key`` is there with a value: the lineage wrote null for what it didn't know."""
        return self.values.get(key) is not None

    def get(self, key: str) -> object:
        if not self.has(key):
            raise ProofError(f"{self.what} has no '{key}'")
        return self.values[key]

    def unknown(self, known: set[str]) -> list[str]:
        """Return the names of what is there beyond ``known``, sorted."""
        return sorted(key[:80] for key in self.values.keys() - known)

    def refuse_unknown(self, known: set[str]) -> None:
        unknown = self.unknown(known)
        if unknown:
            raise ProofError(f"{self.what} has '{unknown[0]}', which this version doesn't know")

    def warn_of_unknown(self, known: set[str], what: str, warn: Warn) -> None:
        unknown = self.unknown(known)
        if unknown:
            warn(f"{what}: not carried over: {', '.join(unknown)}")

    def inner(self, key: str) -> Fields:
        return Fields.of(self.get(key), f"'{key}' of {self.what}")

    def inners(self, key: str) -> list[Fields]:
        return [Fields.of(value, f"'{key}' {index} of {self.what}") for index, value in enumerate(self.items(key))]

    def items(self, key: str) -> list[object]:
        value = self.get(key)
        return value if isinstance(value, list) else self._refuse(key, "a list")

    def text(self, key: str, default: str | None = None) -> str:
        if default is not None and not self.has(key):
            return default
        value = self.get(key)
        return value if isinstance(value, str) else self._refuse(key, "text")

    def count(self, key: str) -> int:
        """Take a number of something: 0 or more; 4.0 passes for 4, as JavaScript wrote it."""
        value = as_whole(self.get(key))
        return value if value is not None and value >= 0 else self._refuse(key, "a whole number from 0 on")

    def number(self, key: str, default: float | None = None) -> float:
        if default is not None and not self.has(key):
            return default
        value = as_number(self.get(key))
        return value if value is not None else self._refuse(key, "a number")

    def rate(self, key: str) -> float:
        """Take a sampling rate in Hz."""
        value = self.number(key)
        return value if value > 0 else self._refuse(key, "a rate in Hz, above 0")

    def ids(self, key: str) -> tuple[UnitId, ...]:
        """Take a list of whole numbers or names, none of them twice."""
        ids = tuple(self._one_id(key, value) for value in self.items(key))
        if len(set(ids)) != len(ids):
            raise ProofError(f"'{key}' of {self.what} names one twice")
        return ids

    def positions(self, key: str) -> tuple[tuple[float, ...], ...]:
        return take_positions(self.items(key), f"'{key}' of {self.what}")

    def link(self, key: str) -> FileLink | TreeLink:
        return take_link(self.text(key), f"'{key}' of {self.what}")

    def _one_id(self, key: str, value: object) -> UnitId:
        if isinstance(value, str):
            return value
        whole = as_whole(value)
        return whole if whole is not None else self._refuse(key, "a list of whole numbers or names")

    def _refuse(self, key: str, kind: str) -> NoReturn:
        raise ProofError(f"'{key}' of {self.what} is {_kind(self.values[key])}, not {kind}")


def as_whole(value: object) -> int | None:
    """Return a whole number as int, None for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def as_number(value: object) -> float | None:
    """Return a finite number as float, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def take_positions(rows: Sequence[object], what: str) -> tuple[tuple[float, ...], ...]:
    """Take rows of 2 or 3 coordinates in µm, all of one length; a row of one number is a line's coordinate."""
    positions = tuple(_one_position(row, what) for row in rows)
    if len({len(position) for position in positions}) > 1:
        raise ProofError(f"{what} has positions of differing numbers of coordinates")
    return positions


def _one_position(row: object, what: str) -> tuple[float, ...]:
    if not isinstance(row, list) or not 1 <= len(row) <= 3:
        raise ProofError(f"{what} is not a list of positions [x, y]")
    numbers = tuple(as_number(value) for value in row)
    if None in numbers:
        raise ProofError(f"{what} has a position that isn't made of numbers")
    return tuple(number for number in numbers if number is not None)


def take_text(value: object, what: str) -> str:
    """Take text out of a list."""
    if not isinstance(value, str):
        raise ProofError(f"{what} holds {_kind(value)}, not text")
    return value


def take_link(text: str, what: str) -> FileLink | TreeLink:
    """Read a link inside an object: LinkError says where it stands; a path of somebody's machine is none."""
    try:
        return parse_link(text)
    except LinkError as exc:
        raise LinkError(f"{what}: {exc}") from exc


def _kind(value: object) -> str:
    if value is None:
        return "null"
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return kinds[type(value)]
