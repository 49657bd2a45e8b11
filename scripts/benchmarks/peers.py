"""kacheryfs as a user runs it: ``share``, ``serve`` and ``mount`` by the installed command, a folder for each peer."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .data import Sample
from .machine import device_of, mountpoint_in, set_read_ahead
from .processes import BenchError, first_line, run, running, tail, wait_until


def command() -> str:
    """Return the installed command: beside this Python, else on the path."""
    beside = Path(sys.executable).with_name("kacheryfs")
    found = str(beside) if beside.exists() else shutil.which("kacheryfs")
    if not found:
        raise BenchError("the command kacheryfs is not installed beside this Python; scripts/setup does that")
    return found


def environment(folder: Path) -> dict[str, str]:
    return {"KACHERYFS_DIR": str(folder)}


def share(path: Path, folder: Path) -> str:
    """Share in the peer's folder; return the link."""
    return run([command(), "share", str(path)], environment(folder)).strip()


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve what the peer shares; yield its URL."""
    log = folder / "serve.log"
    with running([command(), "serve", "--listen", "127.0.0.1:0"], log, environment(folder)) as process:
        yield first_line(process, log)


@dataclass(frozen=True, slots=True)
class Mount:
    """A running mount, with the folder that holds its store."""

    mountpoint: Path
    folder: Path
    pid: int

    def path(self, link: str) -> Path:
        """Return the path of a link: the mountpoint and the link, as one types it."""
        return self.mountpoint / link.replace("://", ":/")

    def present_bytes(self, link: str) -> int:
        """Return how much of the file is present, by the attribute that the mount shows."""
        return int(os.getxattr(self.path(link), "user.kacheryfs.status").split(b"/")[0])

    def stored_file(self, sample: Sample) -> Path:
        """Return where a whole file lies in the store once it is proven: what a second read is answered from."""
        digest = sample.sha1.hex
        path = self.folder / "store" / "sha1" / digest[:2] / digest[2:4] / digest[4:6] / digest
        wait_until(path.exists, "the mount proving the file that it has read whole")
        return path


@contextmanager
def mounted(
    urls: str | Sequence[str],
    folder: Path,
    read_ahead_kib: int,
    *,
    is_fresh: bool = True,
    flags: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
) -> Iterator[Mount]:
    """Mount with these peers alone; a fresh one has an empty store. ``settings`` are ``KACHERYFS_*``."""
    if is_fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.parent / f"{folder.name}.log"
    with mountpoint_in(folder.parent, f"{folder.name}-mount") as mountpoint:
        argv = [command(), "mount", str(mountpoint), "--foreground", *flags]
        argv += [word for url in ([urls] if isinstance(urls, str) else urls) for word in ("--peer", url)]
        with running(argv, log, {**environment(folder), **(settings or {})}) as process:
            wait_until(lambda: device_of(mountpoint) is not None or process.poll() is not None, "kacheryfs mounting")
            if process.poll() is not None:
                raise BenchError(f"kacheryfs mount: exit {process.returncode}: {tail(log)}")
            wait_until((mountpoint / "README").exists, "the mount answering")
            set_read_ahead(mountpoint, read_ahead_kib)
            yield Mount(mountpoint, folder, process.pid)
