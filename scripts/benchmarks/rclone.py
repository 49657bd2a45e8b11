"""``rclone mount`` over a web server, with the flags that served it best here (300 MB, three runs of each).

Without a cache and at a read-ahead of 1024 its asynchronous reads overtake each other, and each one out of order waits
20 ms and seeks: 60 MB/s, so they are off there (350 MB/s). ``--buffer-size`` and ``--vfs-read-wait`` gained nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from .machine import device_of, mountpoint_in, set_read_ahead
from .processes import running, wait_until
from .web import need

CacheMode = Literal["off", "full"]


@contextmanager
def rclone(url: str, folder: Path, mode: CacheMode, read_ahead_kib: int) -> Iterator[Path]:
    """Mount the server's root with a cache of its own (``folder``/cache); yield the mountpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    with mountpoint_in(folder, "mount") as mountpoint:
        argv = [need("rclone", "rclone"), "mount", ":http:", str(mountpoint), "--http-url", url]
        argv += ["--vfs-cache-mode", mode, "--cache-dir", str(folder / "cache"), "--config", str(folder / "none.conf")]
        argv += ["--read-only", "--no-modtime", "--no-checksum", "--attr-timeout", "1h", "--dir-cache-time", "1h"]
        argv += ["--max-read-ahead", f"{read_ahead_kib}Ki"]
        if mode == "off" and read_ahead_kib > 128:
            argv.append("--async-read=false")
        with running(argv, folder / "rclone.log"):
            wait_until(lambda: device_of(mountpoint) is not None, "rclone mounting")
            set_read_ahead(mountpoint, read_ahead_kib)
            yield mountpoint


def cached_file(folder: Path) -> Path:
    """Return the largest file of its cache: what a second read is answered from."""
    files = [path for path in (folder / "cache" / "vfs").rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)
