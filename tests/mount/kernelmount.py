"""A mount in a process of its own, and programs that read it in theirs: nothing may block the test itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from kacheryfs.errors import MountError
from kacheryfs.mount.mounts import find_mount, unmount

CONNECTIONS = Path("/sys/fs/fuse/connections")
CHILD = Path(__file__).with_name("mount_child.py")
DEADLINE_S = 60.0


class KernelMount:
    """``mount_child.py``, from its start until nothing is left of it, whatever happened."""

    def __init__(self, mountpoint: Path, log: Path) -> None:
        self.path = mountpoint
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._readers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> KernelMount:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, CHILD, self.path], stdout=subprocess.PIPE, stderr=log, cwd=CHILD.parent
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()  # ended by the child's own deadline at the latest
        if not line.startswith(b"ready"):
            self._clean_up()
            raise AssertionError(f"the mount did not come up:\n{self.log.read_text()}")
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self._clean_up()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def is_mounted(self) -> bool:
        return find_mount(str(self.path)) is not None

    def run(
        self, *command: str | bytes | Path, check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program that reads the mount, to its end or the deadline."""
        done = subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=False, **options)
        assert not check or done.returncode == 0, (command, done.returncode, done.stderr)
        return done

    def python(self, program: str, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run a Python program that reads the mount; its arguments are ``sys.argv[1:]``."""
        return self.run(sys.executable, "-c", program, *arguments, check=check)

    def start(self, *command: str | Path) -> subprocess.Popen[bytes]:
        """Start a program that may wait; it is killed at the end."""
        reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._readers.append(reader)
        return reader

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def _clean_up(self) -> None:
        for reader in self._readers:
            reader.kill()
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        self.process.kill()
        mount = find_mount(str(self.path))
        if mount is not None:
            _abort(mount.minor)
            with contextlib.suppress(MountError):
                unmount(str(self.path), is_lazy=True)
        for process in (*self._readers, self.process):
            process.communicate(timeout=DEADLINE_S)


def _abort(minor: int) -> None:
    """Cut the kernel's connection, so that nobody waits for ever for a file system that is gone."""
    if os.geteuid() != 0:
        return
    with tempfile.TemporaryDirectory() as folder:
        target = CONNECTIONS
        if not (CONNECTIONS / str(minor)).exists():
            subprocess.run(["mount", "-t", "fusectl", "fusectl", folder], check=True)
            target = Path(folder)
        try:
            (target / str(minor) / "abort").write_text("1")
        except FileNotFoundError:
            pass  # it is gone already
        finally:
            if target != CONNECTIONS:
                subprocess.run(["umount", folder], check=True)


def wait_until(is_so: Any, what: str) -> None:
    """Poll another process's state, which nothing announces; bounded."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.01)


def waits_in_kernel(pid: int, n_threads: int = 1) -> bool:
    """Tell whether so many threads of a process wait for an answer of a file system."""
    waiting = 0
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            channel = (task / "wchan").read_text()
            state = (task / "stat").read_text().rpartition(")")[2].split()[0]
            waiting += state in "DS" and ("fuse" in channel or "folio" in channel or "request_wait" in channel)
    return waiting >= n_threads
