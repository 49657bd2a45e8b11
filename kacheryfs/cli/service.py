"""``service``: a mount, or the server, as a service of systemd: there after every login or start of the machine."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import app
from ..daemon import absolute_environment
from ..errors import InputError, MountError, ServiceError
from . import service_manager as manager
from .configuration import settings_of
from .parser import parse
from .service_unit import PREFIX, SUFFIX, Purpose, read_purpose, unit_text
from .terminal import format_table, put, put_json, say

if TYPE_CHECKING:
    from ..config import Settings

Json = dict[str, Any]

XDG_VARIABLES = ("XDG_CONFIG_HOME", "XDG_DATA_HOME")
"""Settings and store lie by them, and a service doesn't see those of the shell."""


def install(args: argparse.Namespace) -> int:
    if args.print and args.json:
        raise InputError("--print prints the unit itself: leave out --json")
    command = _parse_command(args.what, args.arguments)
    purpose = _purpose_of(command, settings_of(command))
    text = unit_text(purpose, _command_line(command, args.arguments, purpose), _folder(), _environment())
    if args.print:
        print(text, end="")
        return 0
    _check_manager(args.what, args.arguments)
    _check_not_mounted(purpose, settings_of(command))
    path = manager.unit_folder() / purpose.unit
    _write(path, text)
    manager.start(purpose.unit)
    if args.json:
        put_json({**_state(purpose), "file": str(path)})
    else:
        put(purpose.unit)
    if not manager.is_lingering():
        say("it ends with your last session; to have it always: loginctl enable-linger")
    return 0


def remove(args: argparse.Namespace) -> int:
    purpose = _purpose_of(_parse_command(args.what, args.arguments), settings_of(args))
    path = manager.unit_folder() / purpose.unit
    if not path.exists():
        raise InputError(f"no such service is installed ({purpose.description}); kacheryfs service status lists them")
    manager.stop(purpose.unit)
    path.unlink()
    manager.reload()
    _clear_mountpoint(purpose)
    if args.json:
        put_json({"unit": purpose.unit, "file": str(path)})
    else:
        say(f"{purpose.unit} was stopped and removed")
    return 0


def status(args: argparse.Namespace) -> int:
    services = [_state(purpose) for purpose in _installed()]
    if args.json:
        put_json(services)
        return 0
    for line in format_table([_row(service) for service in services]):
        put(line)
    if not services:
        say("no service is installed: kacheryfs service install mount MOUNTPOINT")
    return 0


def _parse_command(what: str, arguments: list[str]) -> argparse.Namespace:
    """Read the rest of the line as the command that it is; its mistakes are told as that command's."""
    command = parse([what, *arguments])
    if what == "mount":
        app.peer_urls(settings_of(command), command.peer)
    return command


def _purpose_of(command: argparse.Namespace, settings: Settings) -> Purpose:
    from ..mount.mountpoint import resolve_mountpoint

    if command.command == "serve":
        return Purpose("serve", str(settings.data_dir))
    return Purpose("mount", resolve_mountpoint(os.path.expanduser(command.mountpoint)))


def _command_line(command: argparse.Namespace, arguments: list[str], purpose: Purpose) -> list[str]:
    from .mounting import arguments_of

    words = arguments_of(command, purpose.path) if purpose.kind == "mount" else ["serve", *arguments]
    return [sys.executable, "-m", "kacheryfs", *words]


def _folder() -> str:
    """Return where the package lies, to run there: -m puts the folder it runs in first on the path (``daemon``)."""
    return str(Path(__file__).parent.parent.parent)


def _environment() -> dict[str, str]:
    """Return what of this environment decides settings: they shall hold for the service too."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("KACHERYFS_") or name in XDG_VARIABLES}
    return {name: value for name, value in sorted(absolute_environment(kept).items()) if value}


def _check_manager(what: str, arguments: list[str]) -> None:
    try:
        manager.check_manager()
    except ServiceError as exc:
        by_hand = shlex.join(["kacheryfs", what, *arguments])
        raise ServiceError(
            f"{exc}; without systemd, run at login: {by_hand}; service install --print {what} … prints the unit"
        ) from exc


def _check_not_mounted(purpose: Purpose, settings: Settings) -> None:
    """Refuse a mountpoint that is mounted by hand: its service could not come up."""
    from .mounts import find_mounts

    pid = next((m.status["pid"] for m in find_mounts(settings) if m.mountpoint == purpose.path), None)
    if purpose.kind == "mount" and pid is not None and manager.look_at(purpose.unit).pid != pid:
        raise MountError(f"{purpose.path} is mounted already, by pid {pid}: kacheryfs umount {purpose.path} first")


def _clear_mountpoint(purpose: Purpose) -> None:
    """Take away the dead mount of a process that was killed: nothing would come up any more to do it."""
    from ..mount.mountpoint import Health, probe
    from ..mount.mounts import find_mount, unmount

    if purpose.kind == "mount" and find_mount(purpose.path) and probe(purpose.path) is Health.DEAD:
        unmount(purpose.path, is_lazy=True)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as exc:
        raise ServiceError(f"{path} can't be written ({exc.strerror})") from exc


def _installed() -> list[Purpose]:
    """Return the services of ours; a unit that somebody wrote by hand is theirs."""
    texts = [path.read_text() for path in sorted(manager.unit_folder().glob(f"{PREFIX}*{SUFFIX}"))]
    return [purpose for purpose in map(read_purpose, texts) if purpose is not None]


def _state(purpose: Purpose) -> Json:
    state = manager.look_at(purpose.unit)
    return {
        "unit": purpose.unit,
        "kind": purpose.kind,
        "path": purpose.path,
        "active": state.active,
        "is_enabled": state.is_enabled,
        "pid": state.pid,
        "result": state.result,
    }


def _row(service: Json) -> tuple[str, ...]:
    how = service["active"] if service["active"] != "failed" else f"FAILED ({service['result']})"
    return (
        service["kind"],
        service["path"],
        how,
        f"pid {service['pid']}" if service["pid"] else "",
        "at login" if service["is_enabled"] else "not at login",
        f"journalctl --user -u {service['unit']}",
    )
