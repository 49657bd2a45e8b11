"""Which servers run on this machine: each keeps a file with its URL, and a lock on it while it lives."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from ..config import Settings

_PREFIX = "serve-"


@dataclass(frozen=True, slots=True)
class RunningServer:
    """One ``kacheryfs serve``: where it answers, and whose catalog it offers."""

    url: str
    pid: int
    data_dir: str
    mountpoint: str | None = None
    """Of the mount that it runs beside, and ends with."""

    @property
    def is_loopback(self) -> bool:
        host = urlsplit(self.url).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")


@contextlib.contextmanager
def announce(server: RunningServer, runtime_dir: Path) -> Iterator[None]:
    """Let other commands find ``server`` until the context ends, or the process does."""
    name = f"{_PREFIX}{server.pid}-{secrets.token_hex(4)}"
    path, temporary = runtime_dir / f"{name}.json", runtime_dir / f".{name}"
    with open(temporary, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # before it gets its name: whoever finds it unlocked removes it
        json.dump(asdict(server), file)
        file.flush()
        os.replace(temporary, path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def find_servers(runtime_dir: Path) -> list[RunningServer]:
    """Return the servers that live; what dead ones left behind is removed."""
    servers = [_read(path) for path in sorted(runtime_dir.glob(f"{_PREFIX}*.json"))]
    return [server for server in servers if server is not None]


def find_own_server(settings: Settings) -> RunningServer | None:
    """Return a server that answers from this catalog and store; None too where a flag names another store."""
    if settings.flags_as_variables().get("KACHERYFS_STORE_DIR"):
        return None
    servers = [server for server in find_servers(settings.runtime_dir) if server.data_dir == str(settings.data_dir)]
    return servers[0] if servers else None


def _read(path: Path) -> RunningServer | None:
    try:
        with open(path, encoding="utf-8") as file:
            if _is_unlocked(file.fileno()):
                path.unlink(missing_ok=True)
                return None
            return RunningServer(**json.load(file))
    except (FileNotFoundError, ValueError, TypeError):  # gone meanwhile, or not ours
        return None


def _is_unlocked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
