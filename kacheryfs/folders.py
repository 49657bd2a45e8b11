"""Folders: where everything lies on this machine, by the XDG rules or all under ``KACHERYFS_DIR``.

The XDG variables are read from the environment that is passed in (platformdirs would read the process's own).
``look_around`` and ``make_private_folder`` touch the machine, the rest decides.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts of the machine that settings depend on."""

    home: Path
    current: Path
    runtime: Path


def parse_folder(value: object, home: Path, base: Path | None) -> Path:
    """Read a folder's path, relative to ``base`` where that is given; ValueError."""
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else ""
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError("expected a folder's path")
    if text == "~" or text.startswith("~/"):
        return home / text[2:].lstrip("/")
    if os.path.isabs(text):
        return Path(text)
    if base is None or text.startswith("~"):
        raise ValueError("expected an absolute path, or one that begins with ~/")
    return base / text


def folders_below(root: Path) -> dict[str, Path]:
    """Return the folder of each setting when all lie under one."""
    return {
        "config_dir": root / "config",
        "data_dir": root / "data",
        "store_dir": root / "store",
        "runtime_dir": root / "run",
    }


def xdg_folders(environ: Mapping[str, str], machine: Machine) -> dict[str, Path]:
    """Return the folder of each setting by the XDG rules."""
    data = _xdg(environ, "XDG_DATA_HOME", machine.home / ".local" / "share") / "kacheryfs"
    return {
        "config_dir": _xdg(environ, "XDG_CONFIG_HOME", machine.home / ".config") / "kacheryfs",
        "data_dir": data,
        "store_dir": data / "store",  # not the cache folder: tools that empty it don't know of pins
        "runtime_dir": machine.runtime,
    }


def _xdg(environ: Mapping[str, str], variable: str, default: Path) -> Path:
    """Return an XDG base folder; the standard says to ignore a relative one."""
    text = environ.get(variable, "")
    return Path(text) if os.path.isabs(text) else default


def look_around(environ: Mapping[str, str]) -> Machine:
    """Ask the machine for the facts that settings depend on."""
    try:
        return Machine(_find_home(environ), Path.cwd(), _find_runtime(environ))
    except OSError as exc:
        raise ConfigError(f"the current folder is gone or closed to us ({exc.strerror}): cd to another") from exc


def _find_home(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME", "")
    if os.path.isabs(home):
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError as exc:
        raise ConfigError(f"user {os.getuid()} has no home folder: set HOME or KACHERYFS_DIR") from exc


def _find_runtime(environ: Mapping[str, str]) -> Path:
    """Return a folder for sockets that every session of this user finds and no other user can have prepared.

    After ``su`` or ``sudo -E`` the variable is absent or names another user's folder, while ``/run/user/UID`` often
    stands; without either (containers, cron) it is a folder of ours in /tmp, which ``make_private_folder`` checks.
    """
    for base in (environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{os.getuid()}"):
        if os.path.isabs(base) and os.path.isdir(base) and os.stat(base).st_uid == os.getuid():
            return Path(base) / "kacheryfs"
    return Path(f"/tmp/kacheryfs-{os.getuid()}")


def make_private_folder(path: Path) -> None:
    """Make ``path`` with mode 0700 where it is missing; ConfigError where it isn't a folder that is only ours."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise ConfigError(f"{path} is not a folder of this user: remove it, or set KACHERYFS_RUNTIME_DIR")
        if stat.S_IMODE(found.st_mode) != 0o700:
            path.chmod(0o700)
    except OSError as exc:
        reason = exc.strerror or "it can't be made"
        raise ConfigError(f"{path}: {reason}; set KACHERYFS_RUNTIME_DIR to a folder of yours") from exc
