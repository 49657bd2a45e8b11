"""The mount of this user, for what only SpikeInterface's own readers can read: they take paths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..control.client import ask
from ..control.sockets import list_sockets
from ..errors import MountError

if TYPE_CHECKING:
    from ..config import Settings

TIMEOUT_S = 10.0


def find_mountpoint(settings: Settings) -> Path | None:
    """Return where a mount of these settings runs that answers; None for none."""
    for socket in list_sockets(settings.runtime_dir):
        try:
            told = ask(socket, "watch", timeout_s=TIMEOUT_S)  # without a look at the store
        except MountError:
            continue  # a socket that nobody answers at was left by a mount that was killed
        if isinstance(told, Mapping) and isinstance(told.get("mountpoint"), str):
            fields: Mapping[str, Any] = told
            return Path(fields["mountpoint"])
    return None


def get_mountpoint(settings: Settings, what: str) -> Path:
    """Return where a mount runs; MountError that says what to do."""
    mountpoint = find_mountpoint(settings)
    if mountpoint is None:
        raise MountError(
            f"{what} can only be read through a mount, since its reader takes paths and the share doesn't tell where "
            "the samples stand: run `kacheryfs mount ~/kachery`, then load it again"
        )
    return mountpoint
