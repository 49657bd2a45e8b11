"""Peers as users run them: the installed command, a folder for each, real processes and the kernel's mount.

``Running`` holds what a test started: everything is ended by its pid, and unmounted, whatever became of the test.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kacheryfs.control.client import ask
from kacheryfs.control.sockets import socket_path

COMMAND_TIMEOUT_S = 60.0
WAIT_TIMEOUT_S = 30.0
"""Bounds against hanging, not measures: what they bound takes milliseconds."""
POLL_S = 0.02


def command() -> list[str]:
    """Return the installed command: beside this Python, else as a module."""
    beside = Path(sys.executable).with_name("kacheryfs")
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "kacheryfs"]


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = WAIT_TIMEOUT_S) -> Any:
    """Return the condition's first true value."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(POLL_S)
    raise AssertionError(f"waited in vain for {what}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def is_mounted(path: Path) -> bool:
    """Tell whether something is mounted at ``path``, without touching it."""
    where = os.fsencode(path)
    return any(line.split(b" ")[4] == where for line in Path("/proc/self/mountinfo").read_bytes().splitlines())


@dataclass(eq=False)
class Running:
    """Every process and mountpoint of a test."""

    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    mountpoints: list[Path] = field(default_factory=list)

    def start(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(argv, **{"stdin": subprocess.DEVNULL, **options})
        self.processes.append(process)
        return process

    def kill(self) -> None:
        """End everything at once: whoever waits for a mount is answered with its death."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
        for mountpoint in self.mountpoints:
            self._detach(mountpoint)
        for process in self.processes:
            process.wait(WAIT_TIMEOUT_S)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self.processes.clear()

    def _detach(self, mountpoint: Path) -> None:
        while is_mounted(mountpoint):
            argv = ["umount", "-l", str(mountpoint)] if os.geteuid() == 0 else ["fusermount3", "-uz", str(mountpoint)]
            if subprocess.run(argv, stderr=subprocess.DEVNULL, timeout=COMMAND_TIMEOUT_S, check=False).returncode:
                return


@dataclass(eq=False)
class Server:
    """A peer that serves."""

    url: str
    process: subprocess.Popen[bytes]

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def stop(self) -> None:
        """End it, as its user would."""
        self.process.terminate()
        assert self.process.wait(WAIT_TIMEOUT_S) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WAIT_TIMEOUT_S)


@dataclass(eq=False)
class Mount:
    """A mount in the foreground of a process of its own."""

    lab: Lab
    path: Path
    process: subprocess.Popen[bytes]
    log_path: Path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def at(self, link: str, *inside: str) -> Path:
        """Return mountpoint + "/" + link, as one types it."""
        return Path(f"{self.path}/{link}", *inside)

    def status(self) -> dict[str, Any]:
        """Ask as ``kacheryfs status`` asks, without the cost of a process: tests poll."""
        found = ask(socket_path(self.lab.folder / "home" / "run", str(self.path)), "status")
        assert isinstance(found, dict)
        return found

    def wait_for_waits(self, n_waits: int = 1) -> None:
        """Return when so many reads wait for peers."""
        wait_until(lambda: self.status()["n_waits"] >= n_waits, f"{n_waits} waiting reads")

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def kill(self) -> None:
        """End it by SIGKILL: the mountpoint stays, dead."""
        self.process.kill()
        self.process.wait(WAIT_TIMEOUT_S)

    def umount(self) -> None:
        self.lab.run("umount", "--force", str(self.path))
        assert self.process.wait(WAIT_TIMEOUT_S) == 0


@dataclass(eq=False)
class Lab:
    """One peer: everything of it lies below one folder."""

    folder: Path
    running: Running
    settings: dict[str, str] = field(default_factory=dict)
    """More of its environment, as ``{"KACHERYFS_…": value}``."""

    @property
    def environment(self) -> Mapping[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith("KACHERYFS_")}
        return {**others, "KACHERYFS_DIR": str(self.folder / "home"), **self.settings}

    @property
    def store(self) -> Path:
        return self.folder / "home" / "store"

    @property
    def data(self) -> Path:
        return self.folder / "home" / "data"

    def try_run(self, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        argv = [*command(), *map(str, arguments)]
        return subprocess.run(argv, env=self.environment, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False)

    def run(self, *arguments: str | Path) -> str:
        """Run a command that must succeed; returns what it prints."""
        done = self.try_run(*arguments)
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}: {done.stderr.decode(errors='replace')}"
        assert b"Traceback" not in done.stderr
        return os.fsdecode(done.stdout).rstrip("\n")

    def json(self, *arguments: str | Path) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def share(self, path: Path) -> str:
        """Share in place; returns the link."""
        return self.run("share", path)

    def serve(self, port: int = 0) -> Server:
        """Serve what the lab has; returns when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "serve.log", "ab") as log:
            process = self.running.start(
                [*command(), "serve", "--listen", f"127.0.0.1:{port}"],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        url = _first_line(process)
        assert url.startswith("http://127.0.0.1:"), (self.folder / "serve.log").read_text()
        return Server(url, process)

    def mount(self, *peers: Server | str, flags: Sequence[str | Path] = (), name: str = "mnt") -> Mount:
        """Mount; returns when the mount can be used. Peers that are given are this mount's only."""
        path, log_path = self.folder / name, self.folder / f"{name}.log"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.running.mountpoints.append(path)
        urls = [peer.url if isinstance(peer, Server) else peer for peer in peers]
        with open(log_path, "ab") as log:
            process = self.running.start(
                [*command(), "mount", "--foreground", "-v", str(path), *map(str, flags)]
                + [word for url in urls for word in ("--peer", url)],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert _first_line(process) == str(path), log_path.read_text()
        return Mount(self, path, process, log_path)


def _first_line(process: subprocess.Popen[bytes]) -> str:
    """Return the first line that a process prints, "" where it ends without one."""
    assert process.stdout is not None
    waiting = select.poll()
    waiting.register(process.stdout, select.POLLIN)
    return os.fsdecode(process.stdout.readline()).rstrip("\n") if waiting.poll(WAIT_TIMEOUT_S * 1000) else ""


MakeLab = Callable[..., Lab]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a file for ``os.pread``."""
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def read_range(path: Path, start: int, stop: int) -> bytes:
    """Read ``[start, stop)`` by pread, however short each one is."""
    parts = []
    with opened(path) as fd:
        while start < stop and (part := os.pread(fd, min(stop - start, 1 << 20), start)):
            parts.append(part)
            start += len(part)
    return b"".join(parts)
