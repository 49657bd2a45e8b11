"""The words of the control socket: one JSON object a line, one request and one answer a connection; pure.

{"kacheryfs": 1, "command": "why", "arguments": {"path": "sha1/…"}}
{"result": …}            or            {"error": "one line", "kind": "NotFoundError"}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from .. import errors
from ..errors import InputError, KacheryError, MountError

VERSION = 1
MAX_REQUEST_BYTES = 256 * 1024
"""A link may have 64 K characters, and each of them take 6 bytes of JSON only where it isn't ASCII."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""A status with 10,000 waiting reads takes 3 MB."""

COMMANDS: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    "status": {},
    "watch": {},
    "peer-add": {"url": (str,)},
    "peer-remove": {"url": (str,)},
    "peer-list": {},
    "collection-reload": {},
    "path": {"link": (str,)},
    "why": {"path": (str,)},
    "cancel": {"path": (str, type(None))},
    "umount": {"force": (bool,)},
}
"""Every command with its arguments and their types; all must be given."""

Arguments = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Request:
    """A command with arguments of the right names and types."""

    command: str
    arguments: Arguments

    def __post_init__(self) -> None:
        wanted = COMMANDS.get(self.command)
        if wanted is None:
            raise InputError(f"the mount knows no command {self.command[:40]!r} (known: {', '.join(COMMANDS)})")
        if self.arguments.keys() != wanted.keys():
            raise InputError(f"{self.command} takes {', '.join(wanted) or 'no argument'}")
        for name, kinds in wanted.items():
            if type(self.arguments[name]) not in kinds:
                raise InputError(f"{self.command}: {name!r} is of the wrong type")


def encode_request(request: Request) -> bytes:
    return _line({"kacheryfs": VERSION, "command": request.command, "arguments": dict(request.arguments)})


def decode_request(line: bytes) -> Request:
    """Read a request, else InputError."""
    value = _load(line, "the request")
    version, command, arguments = value.get("kacheryfs"), value.get("command"), value.get("arguments")
    if version != VERSION:
        raise InputError("the running mount is of another version of kacheryfs: unmount it and mount again")
    if not isinstance(command, str) or not isinstance(arguments, dict):
        raise InputError("a request has a command and arguments")
    return Request(command, arguments)


def encode_result(result: object) -> bytes:
    """Encode an answer; MountError where it is too long to send."""
    line = _line({"result": result})
    if len(line) > MAX_ANSWER_BYTES:
        raise MountError(f"the answer has {len(line)} bytes, over the limit of {MAX_ANSWER_BYTES}")
    return line


def encode_failure(exc: KacheryError) -> bytes:
    return _line({"error": str(exc), "kind": type(exc).__name__})


def decode_answer(line: bytes) -> object:
    """Return the result, or raise the error that the mount tells of."""
    value = _load(line, "the mount's answer")
    if "result" in value:
        return value["result"]
    message, kind = value.get("error"), value.get("kind")
    raise _kind_of(kind)(message if isinstance(message, str) else "the mount gave no reason")


def _kind_of(name: object) -> type[KacheryError]:
    """Return the error class of this name, so that its exit code survives the socket."""
    found = getattr(errors, name, None) if isinstance(name, str) else None
    return found if isinstance(found, type) and issubclass(found, KacheryError) else MountError


def _line(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


def _load(line: bytes, what: str) -> dict[str, object]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{what} is not JSON") from exc
    if not isinstance(value, dict):
        raise InputError(f"{what} is not a JSON object")
    return value
