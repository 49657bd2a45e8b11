"""The text of a systemd user unit that runs ``mount`` or ``serve``; pure.

systemd.syntax(7) and systemd.service(5): a word in double quotes knows C escapes, ``%`` begins a specifier and ``$``,
in arguments of ExecStart alone, a variable.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

PREFIX = "kacheryfs-"
SUFFIX = ".service"
MAX_SLUG = 40
"""Of the mountpoint in a unit's name, for people; the digest behind it tells mountpoints apart."""

_TEMPLATE = """\
[Unit]
Description={description}

[Service]
Type=notify
ExecStart={exec_start}
WorkingDirectory={folder}
{environment}KillMode=mixed
TimeoutStopSec=45
Restart=on-failure
RestartSec=5
# 2: an argument or a setting is wrong, and stays so.
RestartPreventExitStatus=2

[Install]
WantedBy=default.target
"""
_MARK = "[X-Kacheryfs]\nOf="
"""systemd leaves sections alone that begin with X-: ours says what the unit is for."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a service is for: one mountpoint, or what is shared from one data folder."""

    kind: str
    path: str

    @property
    def unit(self) -> str:
        digest = hashlib.sha1(os.fsencode(self.path)).hexdigest()[:8]
        slug = re.sub("[^A-Za-z0-9]+", "-", os.path.basename(self.path)).strip("-")[:MAX_SLUG]
        return PREFIX + "-".join([self.kind, *([slug] if slug and self.kind == "mount" else []), digest]) + SUFFIX

    @property
    def description(self) -> str:
        return f"kacheryfs mount at {self.path}" if self.kind == "mount" else f"kacheryfs serve from {self.path}"


def unit_text(purpose: Purpose, command: Sequence[str], folder: str, environment: Mapping[str, str]) -> str:
    """Return the unit; ``command`` begins with an absolute path, ``folder`` is where it runs."""
    program, *arguments = command
    words = [quote(program), *(quote(word).replace("$", "$$") for word in arguments)]
    body = fill_template(_plain(purpose.description), " ".join(words), _plain(folder), environment)
    return f"{body}\n{_MARK}{json.dumps([purpose.kind, purpose.path])}\n"


def fill_template(description: str, exec_start: str, folder: str, environment: Mapping[str, str]) -> str:
    """Return a unit out of what is written as systemd reads it."""
    lines = "".join(f"Environment={quote(f'{name}={value}')}\n" for name, value in environment.items())
    return _TEMPLATE.format(description=description, exec_start=exec_start, folder=folder, environment=lines)


def read_purpose(text: str) -> Purpose | None:
    """Return what a unit of ours is for, None for another's."""
    _, _, mark = text.partition(_MARK)
    try:
        kind, path = json.loads(mark.partition("\n")[0])
    except (ValueError, TypeError):
        return None
    return Purpose(kind, path) if isinstance(kind, str) and isinstance(path, str) else None


def quote(word: str) -> str:
    """Return a word as systemd reads it back, whatever bytes are in it."""
    return '"' + "".join(_escape(word)) + '"'


def _escape(word: str) -> Iterator[str]:
    for byte in os.fsencode(word):
        char = chr(byte)
        if char in '"\\':
            yield "\\" + char
        elif char == "%":
            yield "%%"
        else:
            yield char if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"


def _plain(text: str) -> str:
    """Return what stands unquoted to the end of its line: no line may end in it, nor any other begin."""
    return re.sub(r"[\x00-\x1f\\]", "?", text.encode(errors="replace").decode()).replace("%", "%%")
