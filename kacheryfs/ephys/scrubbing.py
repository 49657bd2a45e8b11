"""Take out of a value what must not leave the machine: absolute paths, which tell of folders and of user names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

_WHOLE = re.compile(r"(?:file://)?(?:/(?!/)|~[^/\s]*/|[A-Za-z]:[\\/]|\\\\)[^\n]*\Z")
"""A text that is a path from its first character to its last, with spaces in it."""
_INSIDE = re.compile(
    r"(?<![\w./~\\-])(?:/|~[\w.-]*/|[A-Za-z]:[\\/])[^/\\\s\"'<>|,;:()\[\]{}]+[/\\][^\s\"'<>|,;:()\[\]{}]*"
    r"|file:///?[^\s\"'<>|,;()\[\]{}]+"
)
"""A path of at least two names somewhere in a text: "/home/me/x.dat", but neither "m/s" nor "https://x.org/a/b"."""


def scrub(value: Any) -> Any:
    """Return the value with every absolute path in it cut down to its last name."""
    if isinstance(value, str):
        return scrub_text(str(value))
    if isinstance(value, PurePath):
        return value.name if value.is_absolute() else str(value)
    if isinstance(value, Mapping):
        return {scrub(key): scrub(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(scrub(item) for item in value) if type(value) in (list, tuple) else list(map(scrub, value))
    if isinstance(value, np.ndarray) and value.dtype.kind in "OSU":
        return _scrub_array(value)
    return value


def scrub_text(text: str) -> str:
    """Return the text with paths cut down: ``"/home/me/rec.dat"`` becomes ``"rec.dat"``."""
    if "/" not in text and "\\" not in text:
        return text
    if _WHOLE.match(text):
        return _last_name(text)
    return _INSIDE.sub(lambda match: _last_name(match.group()), text)


def _last_name(path: str) -> str:
    is_windows = "\\" in path or re.match(r"[A-Za-z]:", path)
    return (PureWindowsPath if is_windows else PurePosixPath)(path).name or path.rstrip("/\\") or path


def _scrub_array(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if array.dtype.kind == "S":
        decoded = np.char.decode(array, "latin-1")
        clean_texts = _scrub_array(decoded)
        return array if clean_texts is decoded else np.char.encode(clean_texts, "latin-1")
    flat = array.ravel().tolist() if array.dtype.kind == "U" else list(array.ravel())
    clean = [scrub(item) for item in flat]
    if array.dtype.kind == "U":
        return array if clean == flat else np.array(clean, dtype=str).reshape(array.shape)
    scrubbed = np.empty(len(clean), dtype=object)
    for index, item in enumerate(clean):
        scrubbed[index] = item
    return scrubbed.reshape(array.shape)
