"""Who we are to other peers: an id that every process of one data folder on one machine answers with."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from pathlib import Path

from ..core.model import Blake3
from ..core.wire import PEER_ID_BYTES, parse_peer_id
from ..kept import KeptFile

FILE_NAME = "peer_id"
_MACHINE_ID = Path("/etc/machine-id")


def name_machine() -> str:
    """Return what tells this machine from others: its id and its name, for cloned machines often have the same id."""
    try:
        machine_id = _MACHINE_ID.read_text().strip()
    except OSError:  # not every system has one
        machine_id = ""
    return f"{machine_id} {socket.gethostname()}"


def keep_peer_id(folder: Path, name_machine: Callable[[], str] = name_machine) -> bytes:
    """Return our id: of what is kept in ``folder``/peer_id (random, made at first) and of this machine; ConfigError.

    A data folder may be on two machines (a home on NFS, a cloned disk), and each is a peer of its own: who took the
    other for itself would never ask it. Of neither part can anything be told from the id.
    """
    kept = KeptFile(folder / FILE_NAME, "this peer's id")
    ours = parse_peer_id(kept.read().strip()) or _make(kept)
    return bytes.fromhex(Blake3.of(ours + name_machine().encode()).hex)[:PEER_ID_BYTES]


def _make(kept: KeptFile) -> bytes:
    with kept.locked():
        found = parse_peer_id(kept.read().strip())  # another process may have made it since
        if found is None:
            found = secrets.token_bytes(PEER_ID_BYTES)
            kept.write(found.hex() + "\n")
    return found
