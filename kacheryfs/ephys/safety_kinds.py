"""What an argument of a stranger's recording may be: each kind takes a JSON value, or raises ValueError with a reason.

A kind returns the value to use. Nothing is imported and nothing is opened here; paths are held against the tree.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..core.names import why_not_a_name
from ..core.tree import Tree

MAX_TEXT_CHARS = 1000
MAX_ITEMS = 1_000_000
MAX_ARRAY_DEPTH = 4
MAX_WHOLE = 1 << 64
MAX_SMALL = 100_000
MAX_ORDER = 64

_DTYPE = re.compile(r"[<>=|]?(?:[iuf][1248]|(?:u?int(?:8|16|32|64)|float(?:16|32|64)|float|int|bool)|b1|\?)\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a kind looks paths up."""

    tree: Tree


@dataclass(frozen=True, slots=True)
class Periods:
    """Periods of a description; what they become is SpikeInterface's structured array."""

    rows: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class MotionValues:
    """What SpikeInterface's Motion is made of."""

    fields: dict[str, object]


Kind = Callable[[object, Place], object]


# -- scalars --------------------------------------------------------------------------------------------------------


def flag(value: object, _: Place) -> object:
    if value is not None and not isinstance(value, bool):
        raise ValueError("is not true, false or null")
    return value


def number(value: object, _: Place) -> object:
    """A finite number, or null."""
    if value is None or isinstance(value, bool) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if type(value) is not int or abs(value) > MAX_WHOLE:
        raise ValueError("is not a finite number")
    return value


def whole(value: object, _: Place) -> object:
    """An integer or null."""
    if value is not None and (type(value) is not int or abs(value) > MAX_WHOLE):
        raise ValueError("is not an integer")
    return value


def small(value: object, _: Place) -> object:
    """A number of things, from 0 to 100,000, or null."""
    if value is not None and (type(value) is not int or not 0 <= value <= MAX_SMALL):
        raise ValueError(f"is not an integer from 0 to {MAX_SMALL}")
    return value


def order(value: object, _: Place) -> object:
    """The order of a filter; a large one computes for ever. Or null."""
    if value is not None and (type(value) is not int or not 0 <= value <= MAX_ORDER):
        raise ValueError(f"is not an integer from 0 to {MAX_ORDER}")
    return value


def word(value: object, _: Place) -> object:
    """Text that is no address of something else, or null."""
    if value is None:
        return value
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARS or "\0" in value:
        raise ValueError("is not a short text")
    if "://" in value:
        raise ValueError("is a remote address")
    return value


def name(value: object, _: Place) -> object:
    """The name of a file beside others, without a folder; or null."""
    if value is None:
        return value
    reason = why_not_a_name(value) if isinstance(value, str) else "is not text"
    if reason or "\\" in str(value):
        raise ValueError(f"{reason or 'holds a backslash'}, so that it can lead out of the shared folder")
    return value


def dtype(value: object, _: Place) -> object:
    """The name of a type of plain numbers, or null."""
    if value is not None and not (isinstance(value, str) and _DTYPE.match(value)):
        raise ValueError("is not the name of a number type (no objects, no records)")
    return value


def identifier(value: object, _: Place) -> object:
    """A channel's id."""
    if type(value) is int and abs(value) < MAX_WHOLE:
        return value
    if isinstance(value, str) and len(value) <= MAX_TEXT_CHARS:
        return value
    raise ValueError("holds an id that is neither an integer nor short text")


def one_of(*choices: str) -> Kind:
    """A kind for text that must be one of ``choices``, or null."""

    def check(value: object, _: Place) -> object:
        if value is not None and value not in choices:
            raise ValueError(f"is none of {', '.join(choices)}")
        return value

    return check


def nothing(reason: str) -> Kind:
    """A kind for an argument that must be left out: null, false or empty."""

    def check(value: object, _: Place) -> object:
        if value is not None and value is not False and value != {}:
            raise ValueError(reason)
        return value

    return check


# -- lists ----------------------------------------------------------------------------------------------------------


def list_of(kind: Kind) -> Kind:
    """A list, each item of ``kind``; or null."""

    def check(value: object, place: Place) -> object:
        if value is None:
            return None
        return [kind(item, place) for item in _items(value)]

    return check


def either(*kinds: Kind) -> Kind:
    """Whatever one of ``kinds`` takes."""

    def check(value: object, place: Place) -> object:
        reasons = []
        for kind in kinds:
            try:
                return kind(value, place)
            except ValueError as exc:
                reasons.append(str(exc))
        raise ValueError(" and ".join(dict.fromkeys(reasons)))

    return check


def numbers(value: object, _: Place) -> object:
    """Finite numbers in lists of one shape, such as a matrix; or one number, or null."""
    for item in _leaves(value, MAX_ARRAY_DEPTH):
        if not isinstance(item, (int, float)) or not math.isfinite(item):
            raise ValueError("holds something else than finite numbers")
    return value


def periods(value: object, place: Place) -> object:
    """Periods of time as SpikeInterface writes them: three integers each (segment, first sample, end sample)."""
    if value is None:
        return None
    rows = [list_of(whole)(row, place) for row in _items(value)]
    if not all(isinstance(row, list) and len(row) == 3 and None not in row for row in rows):
        raise ValueError("is not a list of periods (segment, start, end)")
    return Periods(tuple((row[0], row[1], row[2]) for row in rows if isinstance(row, list)))


def _leaves(value: object, depth: int) -> Iterator[object]:
    if not isinstance(value, list):
        if value is not None:
            yield value
        return
    if depth == 0:
        raise ValueError(f"has more than {MAX_ARRAY_DEPTH} dimensions")
    for item in value:
        yield from _leaves(item, depth - 1)


def _items(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError("is not a list")
    if len(value) > MAX_ITEMS:
        raise ValueError(f"has more than {MAX_ITEMS} items")
    return value


ids = list_of(identifier)
words = list_of(word)
id_or_ids = either(list_of(identifier), identifier)
id_groups = either(list_of(list_of(identifier)), list_of(identifier))


def named(**kinds: Kind) -> Kind:
    """An object with these keys, each of its kind; or null."""

    def check(value: object, place: Place) -> object:
        if value is None:
            return None
        if not isinstance(value, dict):
            raise ValueError("is not an object")
        for key in value:
            if key not in kinds:
                raise ValueError(f"has the key {key[:40]!r}, which is not known here")
        return {key: kinds[key](inner, place) for key, inner in value.items()}

    return check


def motion(value: object, place: Place) -> object:
    """The motion of the tissue, as SpikeInterface's Motion writes itself."""
    fields = named(
        object=one_of("Motion"),
        displacement=numbers,
        temporal_bins_s=numbers,
        spatial_bins_um=numbers,
        interpolation_method=word,
        direction=one_of("x", "y", "z"),
    )(value, place)
    if not isinstance(fields, dict) or len(fields.keys() - {"object"}) != 5:
        raise ValueError("is no motion with displacement, bins, method and direction")
    return MotionValues({key: item for key, item in fields.items() if key != "object"})
