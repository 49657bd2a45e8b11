"""What the bench asks of and does to the machine: page caches, read-ahead, memory of a process, a description."""

from __future__ import annotations

import os
import platform
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from .processes import BenchError


def drop_caches() -> None:
    """Write back what is dirty, then drop every clean page, dentry and inode of the machine."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def _mount_lines() -> Iterator[list[str]]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        yield line.split()


def device_of(mountpoint: Path) -> str | None:
    """Return "major:minor" of what is mounted there, None where nothing is; doesn't touch the file system."""
    escaped = str(mountpoint).replace("\\", "\\134").replace(" ", "\\040")
    found = [fields[2] for fields in _mount_lines() if fields[4] == escaped]
    return found[-1] if found else None


def set_read_ahead(mountpoint: Path, kib: int) -> None:
    """Set the read-ahead of a mount; it also bounds the size of a FUSE request."""
    device = device_of(mountpoint)
    if device is None:
        raise BenchError(f"nothing is mounted at {mountpoint}")
    Path(f"/sys/class/bdi/{device}/read_ahead_kb").write_text(str(kib))


def rss_anon_bytes(pid: int) -> int:
    """Return RssAnon of a process, 0 once it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    match = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(match.group(1)) * 1024 if match else 0


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def n_descriptors(pid: int) -> int:
    """Return how many descriptors a process has open, 0 once it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


class Peak:
    """Asks for a number every 20 ms while the block runs, and keeps the highest."""

    def __init__(self, ask: Callable[[], int]) -> None:
        self._ask = ask
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.highest = 0

    def _sample(self) -> None:
        while not self._is_over.wait(0.02):
            self.highest = max(self.highest, self._ask())

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._is_over.set()
        self._thread.join()


def disk_bytes(folder: Path) -> int:
    """Return what everything below ``folder`` takes on disk (blocks, not lengths), as du does."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in [*names, "."]:
            total += os.lstat(os.path.join(path, name)).st_blocks * 512
    return total


@contextmanager
def mountpoint_in(folder: Path, name: str) -> Iterator[Path]:
    """Make a mountpoint and, whatever happens, leave nothing mounted on it."""
    path = folder / name
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    finally:
        if device_of(path):
            os.spawnlp(os.P_WAIT, "umount", "umount", "-l", str(path))
        path.rmdir()


def describe() -> str:
    """Return the machine in a line."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    name = cpu.group(1) if cpu else platform.machine()
    return f"{os.cpu_count()} × {name}, {gib:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}"
