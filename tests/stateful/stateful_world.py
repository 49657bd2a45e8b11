"""What the machine plays with: two origins of the same files, two labs that read them, all by real processes.

``alice`` and ``bella`` share one folder of originals. ``carol`` has two mounts on one small store; ``dora`` has one,
and asks carol too. All of them serve.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from system_labs import Lab, Mount, Running, Server, free_port, is_mounted, wait_until

from kacheryfs.core.model import BLOCK_BYTES

SIZES = (0, 1, 100_000, BLOCK_BYTES, 3 * BLOCK_BYTES + 5, 6_000_001, 12_000_000, 24_000_077)
TREE_SIZES = (10, 700_000, 4 * BLOCK_BYTES)
CACHE_BYTES = 16 * 1024 * 1024
"""A third of all that is read, and less than the largest file."""
READ_TIMEOUT_S = 60
_PR_SET_PDEATHSIG = 1


class Tied(Running):
    """Processes that end when this one does, however it ends: a mount that gets SIGTERM unmounts."""

    def start(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        return super().start(argv, preexec_fn=_end_with_parent, **options)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def write_originals(folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    (folder / "tree" / "deeper").mkdir(parents=True)
    for i, size in enumerate(SIZES):
        (folder / f"file{i}.dat").write_bytes(chance.randbytes(size))
    for i, size in enumerate(TREE_SIZES):
        (folder / "tree" / "deeper" / f"part {i}.dat").write_bytes(chance.randbytes(size))


@dataclass(eq=False)
class Origin:
    """A lab that shares the originals, at a URL that survives its restart."""

    lab: Lab
    port: int = field(default_factory=free_port)
    server: Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.server = self.lab.serve(self.port)

    def kill(self) -> None:
        assert self.server
        self.server.kill()
        self.server = None

    def freeze(self) -> None:
        assert self.server
        self.server.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.server
        self.server.process.send_signal(signal.SIGCONT)


@dataclass(eq=False)
class Taker:
    """A mount that is ended and made again, and when it could not be expected to answer."""

    lab: Lab
    name: str
    urls: Sequence[str]
    port: int = field(default_factory=free_port)
    mount: Mount | None = None
    lab_pins: dict[str, bytes | None] = field(default_factory=dict)
    """What is pinned in the lab's store, and which file it was there when it was whole; the lab's mounts share this."""
    downs: list[tuple[float, float]] = field(default_factory=list)
    """From when to when (the machine's monotonic clock) it was away."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def path(self) -> Path:
        return self.lab.folder / self.name

    def start(self) -> None:
        flags = ["--read-timeout", str(READ_TIMEOUT_S), "--serve", "--listen", f"127.0.0.1:{self.port}"]
        self.mount = self.lab.mount(*self.urls, flags=flags, name=self.name)

    def was_away(self, began: float, ended: float) -> bool:
        """Tell whether a reading may have met it while it was away."""
        return any(began <= up and ended >= down for down, up in self.downs)

    def wait_until_unmounted(self) -> None:
        wait_until(lambda: not is_mounted(self.path), f"{self.path} to be unmounted")


class World:
    """The labs, started; ``running`` ends whatever becomes of them."""

    def __init__(self, folder: Path, seed: int, running: Running) -> None:
        self.originals = folder / "originals"
        write_originals(self.originals, seed)
        self.origins = [Origin(Lab(folder / name, running)) for name in ("alice", "bella")]
        links = [self._share_all(origin.lab) for origin in self.origins]
        assert links[0] == links[1], "two labs named the same files differently"
        self.links = links[0]
        urls = [origin.url for origin in self.origins]
        settings = {"KACHERYFS_CACHE_SIZE": str(CACHE_BYTES)}
        carol, dora = (Lab(folder / name, running, settings) for name in ("carol", "dora"))
        pins: dict[str, bytes | None] = {}
        carols = [Taker(carol, name, urls, lab_pins=pins) for name in ("one", "two")]
        self.takers = [*carols, Taker(dora, "mnt", [*urls, carols[0].url])]
        for member in (*self.origins, *self.takers):
            member.start()

    def _share_all(self, lab: Lab) -> list[str]:
        names = [f"file{i}.dat" for i in range(len(SIZES))]
        return [lab.share(self.originals / name) for name in [*names, "tree"]]

    @property
    def files(self) -> list[tuple[str, str]]:
        """Every path below a mountpoint that is read, and its original."""
        tree = self.links[-1]
        parts = [f"deeper/part {i}.dat" for i in range(len(TREE_SIZES))]
        return [
            *((link, str(self.originals / f"file{i}.dat")) for i, link in enumerate(self.links[:-1])),
            *((f"{tree}/{part}", str(self.originals / "tree" / part)) for part in parts),
        ]

    def original_of(self, link: str) -> Path:
        return Path(dict(self.files)[link])

    @property
    def stores(self) -> list[Lab]:
        """The labs that keep a cache."""
        return list({id(taker.lab): taker.lab for taker in self.takers}.values())


def disk_bytes(folder: Path) -> int:
    """Return what a folder takes on disk; files come and go meanwhile."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in [*names, "."]:
            try:
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total
