"""The mounts that run for this user and these settings, asked at their control sockets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..control.client import ask
from ..control.sockets import list_sockets
from ..errors import InputError, MountError

if TYPE_CHECKING:
    from ..config import Settings

TIMEOUTS_S = {"status": 10.0, "watch": 2.0}
"""A store of 10,000 files takes a second to tell of; who watches looks again soon."""


@dataclass(frozen=True, slots=True)
class RunningMount:
    """A mount that answered, with its status."""

    socket: Path
    status: dict[str, Any]

    @property
    def mountpoint(self) -> str:
        return str(self.status["mountpoint"])

    def ask(self, command: str, **arguments: Any) -> Any:
        """Return what the mount answers; raises what it raised."""
        return ask(self.socket, command, **arguments)


def find_mounts(settings: Settings, command: str = "status") -> list[RunningMount]:
    """Return the mounts that answer; a socket that nobody answers at was left by one that was killed.

    ``watch`` asks for the same without what the mount must look for on its disk.
    """
    return list(_ask_all(settings.runtime_dir, command))


def _ask_all(runtime_dir: Path, command: str) -> Iterator[RunningMount]:
    for socket in list_sockets(runtime_dir):
        try:
            status = ask(socket, command, timeout_s=TIMEOUTS_S[command])
        except MountError:
            continue
        if isinstance(status, dict):
            yield RunningMount(socket, status)


def choose_mount(mounts: list[RunningMount], mountpoint: str | None) -> RunningMount:
    """Return the mount that is meant, else MountError or InputError that says how to name it."""
    if not mounts:
        raise MountError("no mount is running; start one with: kacheryfs mount MOUNTPOINT")
    if mountpoint is not None:
        wanted = os.path.realpath(mountpoint)
        mounts = [mount for mount in mounts if mount.mountpoint == wanted]
        if not mounts:
            raise MountError(f"no mount is running at {mountpoint}; kacheryfs status lists those that are")
    if len(mounts) > 1:
        raise InputError(f"{len(mounts)} mounts run: choose with --mount {mounts[0].mountpoint}")
    return mounts[0]


def locate_path(path: str, mounts: list[RunningMount]) -> tuple[RunningMount, str] | None:
    """Return the mount that ``path`` lies in, and the rest of the path; None for a path outside of all.

    Looks at nothing below a mountpoint: that could wait for peers.
    """
    parts = Path(os.path.abspath(path)).parts
    for n in range(1, len(parts) + 1):
        prefix = os.path.realpath(os.path.join(*parts[:n]))
        for mount in mounts:
            if prefix == mount.mountpoint:
                return mount, "/".join(parts[n:])
    return None
