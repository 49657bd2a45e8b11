"""Two labs for the embedded fetcher: one serves, in processes of its own; the other reads, in this one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from running_peers import COMMAND, TIMEOUT_S, Peer

from kacheryfs import app
from kacheryfs.app.embedded import Fetcher
from kacheryfs.config import Settings, load_settings

KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR")


@dataclass(eq=False)
class Server:
    """A peer that serves, in a process of its own."""

    url: str
    process: subprocess.Popen[str]

    def stop(self) -> None:
        """Let it answer nobody, and break no connection."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.communicate(timeout=TIMEOUT_S)


@dataclass(eq=False)
class Labs:
    """``theirs`` has the files and serves, ``ours`` asks."""

    folder: Path
    servers: list[Server] = field(default_factory=list)
    fetchers: list[Fetcher] = field(default_factory=list)

    @property
    def theirs(self) -> Peer:
        return Peer(self.folder / "theirs")

    @property
    def ours(self) -> Peer:
        return Peer(self.folder / "ours")

    def share(self, name: str, data: bytes) -> str:
        """Let the others share a file; returns its link."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return self.theirs.get("share", path)

    def serve(self, *, is_kept: bool = True) -> Server:
        """Serve; ``is_kept``: we have the peer on our list."""
        process = subprocess.Popen(
            [*COMMAND, "serve", "--listen", "127.0.0.1:0"],
            env=self.theirs.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        self.servers.append(Server(process.stdout.readline().strip(), process))
        if is_kept:
            self.ours.get("peer", "add", self.servers[-1].url)
        return self.servers[-1]

    def settings(self, **variables: str) -> Settings:
        """Return our settings; ``variables`` as in ``read_timeout="1 s"``."""
        ours = {f"KACHERYFS_{name.upper()}": value for name, value in variables.items()}
        base = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        return load_settings({}, {**base, "KACHERYFS_DIR": str(self.ours.folder), **ours})

    def fetcher(self, **variables: str) -> Fetcher:
        self.fetchers.append(Fetcher(self.settings(**variables)))
        return self.fetchers[-1]

    def present_bytes(self) -> int:
        """Return how much of what was fetched is in our store."""
        return int(app.look_at_store(self.settings())["present_bytes"])

    def close(self) -> None:
        for fetcher in self.fetchers:
            fetcher.close()
        for server in self.servers:
            server.go_on()
            server.kill()


def random_bytes(n_bytes: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(n_bytes)
