"""Names of files and directories as strangers give them: what one may be, in a tree, a link or the mount."""

from __future__ import annotations

MAX_NAME_BYTES = 255
"""NAME_MAX of Linux's file systems."""


def why_not_a_name(name: str) -> str | None:
    """Return why ``name`` can't be one file's name ("is empty", …), None where it can.

    Names are text that stands for bytes by UTF-8 with surrogateescape; each sequence of bytes has one spelling.
    """
    if name in ("", ".", ".."):
        return "is not a name" if name else "is empty"
    if "/" in name or "\0" in name:
        return "holds a '/' or NUL"
    if len(name) > MAX_NAME_BYTES:
        return f"has more than {MAX_NAME_BYTES} bytes"
    return None if name.isascii() else _why_not_bytes(name)


def _why_not_bytes(name: str) -> str | None:
    try:
        raw = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "holds a lone surrogate"
    if len(raw) > MAX_NAME_BYTES:
        return f"has more than {MAX_NAME_BYTES} bytes"
    # "\udcc3\udca9" and "é" are the same two bytes: a second spelling would smuggle in a name twice.
    return None if raw.decode("utf-8", "surrogateescape") == name else "spells valid UTF-8 as surrogates"
