"""What the rows share: how large everything is, the files, the servers; each made when a row first needs it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from . import peers, web
from .data import Sample, make_sample
from .machine import cpu_s
from .processes import BenchError

READ_AHEADS_KIB = (128, 1024)
SampleName = Literal["sequential", "proxied", "big", "second", "evicted"]


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes and numbers; ``sizes`` in bytes by sample."""

    n_runs: int
    sizes: Mapping[SampleName, int]
    n_places: int
    n_entries: int
    recording_s: int


FULL = Scale(
    n_runs=5,
    # The recording of 384 channels has whole frames: 10 GB less 256 bytes.
    sizes={
        "sequential": 10**9,
        "proxied": 500_000_000,
        "big": 9_999_999_744,
        "second": 9_999_999_744,
        "evicted": 3 * 10**9,
    },
    n_places=200,
    n_entries=10_000,
    recording_s=600,
)
QUICK = Scale(
    n_runs=2,
    sizes={
        "sequential": 200_000_000,
        "proxied": 100_000_000,
        "big": 499_999_488,
        "second": 499_999_488,
        "evicted": 5 * 10**8,
    },
    n_places=40,
    n_entries=10_000,
    recording_s=20,
)


class Bench:
    """Files and servers for the rows; everything ends and goes with the block."""

    def __init__(self, folder: Path, scale: Scale) -> None:
        self.folder = folder
        self.scale = scale
        self.static_root = folder / "static"
        self.giver = folder / "giver"
        self._samples: dict[SampleName, Sample] = {}
        self._proxies: dict[str, web.Proxied] = {}
        self._urls: dict[str, str] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Bench:
        for folder in (self.folder, self.static_root, self.giver):
            folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def sample(self, name: SampleName) -> Sample:
        """Return a random file that both servers offer."""
        if name not in self._samples:
            size, path = self.scale.sizes[name], self.folder / f"{name}.dat"
            sample = make_sample(path, size, list(self.scale.sizes).index(name), self.static_root)
            link = peers.share(path, self.giver)
            if link != sample.link:
                raise BenchError(f"kacheryfs share printed {link}, the bench computed {sample.link}")
            self._samples[name] = sample
        return self._samples[name]

    @property
    def servers(self) -> dict[str, str]:
        """The URLs of both servers, by the name that the table gives them."""
        if not self._urls:
            self._urls["kacheryfs serve"] = self._stack.enter_context(peers.serving(self.giver))
            self._urls["nginx"] = self._stack.enter_context(web.nginx(self.static_root, self.folder / "nginx"))
        return self._urls

    def proxied(self, url: str) -> web.Proxied:
        """Return the server behind the proxy."""
        if url not in self._proxies:
            self._proxies[url] = self._stack.enter_context(web.proxied(url, self.folder / "proxy"))
        return self._proxies[url]

    def fresh(self, name: str) -> Path:
        """Return a folder's path with nothing there."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        return path


def settle(pid: int, timeout_s: float = 60.0) -> None:
    """Wait until a process has nothing to do: less than a tenth of a core for 0.3 s."""
    end = time.monotonic() + timeout_s
    before = cpu_s(pid)
    while time.monotonic() < end:
        time.sleep(0.3)
        now = cpu_s(pid)
        if now - before < 0.03:
            return
        before = now
    raise BenchError(f"process {pid} is still busy after {timeout_s:.0f} s without a reader")
