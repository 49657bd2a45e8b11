"""systemd as this user's sessions have it, asked by ``systemctl --user``."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..errors import ServiceError

TIMEOUT_S = 120.0
"""A unit may take 90 s to become ready, systemd's own limit."""
LINGERING = Path("/var/lib/systemd/linger")


@dataclass(frozen=True, slots=True)
class UnitState:
    """How systemd sees one unit."""

    active: str
    """``active``, ``activating``, ``inactive``, ``failed``, …"""
    is_enabled: bool
    pid: int | None
    result: str
    """``success``, or how it last ended."""


def unit_folder() -> Path:
    """Return where systemd looks for this user's units."""
    config = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(config) if os.path.isabs(config) else Path.home() / ".config"
    return base / "systemd" / "user"


def check_manager() -> None:
    """Raise ServiceError where this user has no running systemd."""
    _systemctl("show-environment")


def start(unit: str) -> None:
    """Start a unit at every login, and now, anew if it runs; returns once it is ready."""
    _systemctl("daemon-reload")
    _systemctl("enable", unit)
    try:
        _systemctl("restart", unit)
    except ServiceError as exc:
        then = ", and is tried again" if look_at(unit).active == "activating" else ""
        raise ServiceError(f"{unit} did not start{then}; its log: journalctl --user -u {unit}") from exc


def stop(unit: str) -> None:
    """Stop a unit, and start it no more at login."""
    _systemctl("disable", "--now", unit)


def reload() -> None:
    """Have systemd look at its folders again."""
    _systemctl("daemon-reload")


def look_at(unit: str) -> UnitState:
    names = ("ActiveState", "UnitFileState", "MainPID", "Result")
    lines = _systemctl("show", *(f"--property={name}" for name in names), unit).splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    return UnitState(
        active=found.get("ActiveState", "unknown"),
        is_enabled=found.get("UnitFileState") == "enabled",
        pid=int(found.get("MainPID", "0")) or None,
        result=found.get("Result", ""),
    )


def is_lingering() -> bool:
    """Tell whether this user's services outlive the last session, and start without one."""
    try:
        return (LINGERING / pwd.getpwuid(os.getuid()).pw_name).exists()
    except KeyError:  # a user without a name, in a container
        return False


def _systemctl(*arguments: str) -> str:
    command = ["systemctl", "--user", "--no-pager", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError as exc:
        raise ServiceError("this machine has no systemd") from exc
    except subprocess.TimeoutExpired as exc:
        raise ServiceError(f"systemctl {arguments[0]} did not end within {TIMEOUT_S:g} s") from exc
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise ServiceError(f"systemctl --user {arguments[0]}: {lines[-1] if lines else 'it gave no reason'}")
    return done.stdout
