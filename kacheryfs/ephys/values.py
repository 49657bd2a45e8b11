"""Python's values as strict JSON and back, nothing lost: annotations, object properties, attributes with arrays.

What JSON can't say stands in an object with one key that begins with ``$``: ``{"$float": "nan"}``, ``{"$int": "…"}``,
``{"$array": {"dtype", "shape", "values"}}``, ``{"$tuple": […]}``, ``{"$dict": [[key, value], …]}``,
``{"$datetime": "…"}``. Nothing in it names code.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from ..core.strict_json import MAX_INT_DIGITS

MAX_DEPTH = 64
MAX_LARGE_INT_DIGITS = 400
MAX_WIDTH = 1024
MAX_ROOM = 64
"""An array of texts gives each the room of the longest: at most so much more than what they are long in all."""
_PLAIN_INT = 10 ** (MAX_INT_DIGITS - 1)
_ARRAY_KINDS = "biufUS"


def encode_value(value: object, depth: int = 0) -> object:
    """Return what JSON can say; ValueError for a value that has no such form (an object with code behind it)."""
    if depth > MAX_DEPTH:
        raise ValueError(f"values are nested deeper than {MAX_DEPTH}")
    if isinstance(value, np.generic) and value.dtype.kind in _ARRAY_KINDS:
        value = value.item()
    if value is None or isinstance(value, (bool, str)):
        return value if value is None or isinstance(value, bool) else str(value)
    if isinstance(value, int):
        return int(value) if abs(value) < _PLAIN_INT else {"$int": str(int(value))}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": str(float(value))}
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, datetime.datetime):
        return {"$datetime": value.isoformat()}
    return _encode_many(value, depth + 1)


def _encode_many(value: object, depth: int) -> object:
    if isinstance(value, np.ndarray):
        return {"$array": _encode_array(value, depth)}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {str(key): encode_value(item, depth) for key, item in value.items()}
        pairs = [[encode_value(key, depth), encode_value(item, depth)] for key, item in value.items()]
        return {"$dict": pairs}
    if isinstance(value, tuple):
        return {"$tuple": [encode_value(item, depth) for item in value]}
    if isinstance(value, list):
        return [encode_value(item, depth) for item in value]
    raise ValueError(f"a {type(value).__name__} can't be written down")


def _encode_array(array: np.ndarray[Any, Any], depth: int) -> dict[str, object]:
    if array.dtype.kind == "O":
        dtype, flat = "O", list(array.ravel())
    elif array.dtype.kind in _ARRAY_KINDS:
        dtype, flat = array.dtype.newbyteorder("<").str, array.ravel().tolist()
    else:
        raise ValueError(f"an array of {array.dtype} can't be written down")
    if array.dtype.kind == "S":
        flat = [item.decode("latin-1") for item in flat]
    if array.dtype.kind in "US":
        _check_width(array.dtype, [len(item) for item in flat])
    values = [encode_value(item, depth) for item in flat]
    return {"dtype": dtype, "shape": list(array.shape), "values": values}


def decode_value(value: object, depth: int = 0) -> Any:
    """Return the value of parsed JSON; ValueError for what ``encode_value`` can't have written."""
    if depth > 2 * MAX_DEPTH:
        raise ValueError(f"values are nested deeper than {MAX_DEPTH}")
    if isinstance(value, list):
        return [decode_value(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    tags = [key for key in value if key.startswith("$")]
    if not tags:
        return {key: decode_value(item, depth + 1) for key, item in value.items()}
    if len(value) != 1 or tags[0] not in _DECODERS:
        raise ValueError(f"{tags[0][:40]!r} is no kind of value")
    return _DECODERS[tags[0]](value[tags[0]], depth + 1)


def _decode_float(value: object, _: int) -> float:
    if value not in ("nan", "inf", "-inf"):
        raise ValueError(f"{str(value)[:40]!r} is not one of nan, inf, -inf")
    return float(str(value))


def _decode_int(value: object, _: int) -> int:
    if not isinstance(value, str) or len(value) > MAX_LARGE_INT_DIGITS:
        raise ValueError("a large integer is no text, or too long")
    return int(value)


def _decode_datetime(value: object, _: int) -> datetime.datetime:
    if not isinstance(value, str):
        raise ValueError("a time is no text")
    return datetime.datetime.fromisoformat(value)


def _decode_tuple(value: object, depth: int) -> tuple[Any, ...]:
    return tuple(decode_value(item, depth) for item in _list(value))


def _decode_dict(value: object, depth: int) -> dict[Any, Any]:
    pairs = [_list(pair) for pair in _list(value)]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("a pair of a mapping has not two values")
    try:
        return {decode_value(key, depth): decode_value(item, depth) for key, item in pairs}
    except TypeError as exc:
        raise ValueError(f"a mapping's key can't be one: {exc}") from exc


def _decode_array(value: object, depth: int) -> np.ndarray[Any, Any]:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "values"}:
        raise ValueError("an array has not dtype, shape and values")
    flat = [decode_value(item, depth) for item in _list(value["values"])]
    shape = tuple(_length(n) for n in _list(value["shape"]))
    if len(shape) > 32 or math.prod(shape) != len(flat):
        raise ValueError("an array's shape doesn't fit its values")
    return _fill(parse_array_dtype(value["dtype"]), flat).reshape(shape)


def _fill(dtype: np.dtype[Any], flat: list[Any]) -> np.ndarray[Any, Any]:
    if dtype.kind == "O":
        array = np.empty(len(flat), dtype=object)
        for index, item in enumerate(flat):
            array[index] = item
        return array
    text = dtype.kind in "US"
    if any(isinstance(item, str) != text or not isinstance(item, (str, bool, int, float)) for item in flat):
        raise ValueError(f"a value of an array is no {dtype}")
    if text:
        _check_width(dtype, [len(item) for item in flat])
    try:
        return np.array([item.encode("latin-1") for item in flat] if dtype.kind == "S" else flat, dtype=dtype)
    except (OverflowError, TypeError) as exc:
        raise ValueError(f"a value of an array is no {dtype}: {exc}") from exc


def _check_width(dtype: np.dtype[Any], lengths: list[int]) -> None:
    """Refuse texts that don't fit, and room for texts beyond all proportion: a few bytes would fill the memory."""
    width = dtype.itemsize // (4 if dtype.kind == "U" else 1)
    if any(length > width for length in lengths):
        raise ValueError(f"a text of an array is longer than {dtype}")
    if len(lengths) * width > MAX_ROOM * sum(lengths) + MAX_WIDTH * len(lengths):
        raise ValueError(f"the texts of an array are far shorter than {dtype}")


def parse_array_dtype(value: object) -> np.dtype[Any]:
    """Return a dtype of numbers, texts or (``O``) mixed values; ValueError for any other."""
    if not isinstance(value, str) or len(value) > 20:
        raise ValueError("an array's dtype is no text")
    if value == "O":
        return np.dtype(object)
    try:
        dtype = np.dtype(value)
    except (TypeError, ValueError) as exc:
        raise ValueError(f"{value!r} is no dtype") from exc
    if dtype.kind not in _ARRAY_KINDS or dtype.itemsize > 1 << 20:
        raise ValueError(f"{value!r} is no dtype of numbers or texts")
    return dtype


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError("a list is missing")
    return value


def _length(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a length is no number")
    return value


_DECODERS: Mapping[str, Callable[[object, int], Any]] = {
    "$float": _decode_float,
    "$int": _decode_int,
    "$datetime": _decode_datetime,
    "$tuple": _decode_tuple,
    "$dict": _decode_dict,
    "$array": _decode_array,
}
