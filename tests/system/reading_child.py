"""A program that reads a file: opens it, says "open", and reads when told to by a line on stdin.

``reading_child.py pread|mmap|threads PATH START N_BYTES [N_THREADS]``; what came of it is one line of JSON. ``threads``
reads N_BYTES at START, START + STRIDE, … at once, one thread each.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import signal
import sys
import threading
import time

STRIDE_BYTES = 512 * 1024
"""Two blocks apart, and further than the kernel reads ahead."""


def read_once(fd: int, start: int, n_bytes: int) -> dict[str, object]:
    began = time.monotonic()
    try:
        found: dict[str, object] = {"sha1": hashlib.sha1(os.pread(fd, n_bytes, start)).hexdigest()}
    except OSError as exc:
        found = {"errno": errno.errorcode[exc.errno or 0]}
    return {**found, "took_s": time.monotonic() - began}


def map_once(fd: int, start: int, n_bytes: int) -> dict[str, object]:
    began = time.monotonic()
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as mapped:
        digest = hashlib.sha1(mapped[start : start + n_bytes]).hexdigest()
    return {"sha1": digest, "took_s": time.monotonic() - began}


def read_at_once(fd: int, start: int, n_bytes: int, n_threads: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = [{} for _ in range(n_threads)]

    def read(i: int) -> None:
        found[i] = read_once(fd, start + i * STRIDE_BYTES, n_bytes)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def main() -> None:
    how, path, start, n_bytes = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as in cat: a shell's background jobs ignore it
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # one request a read, so that reads can be counted
    print("open", flush=True)
    sys.stdin.readline()
    if how == "threads":
        print(json.dumps(read_at_once(fd, start, n_bytes, int(sys.argv[5]))))
    else:
        print(json.dumps((map_once if how == "mmap" else read_once)(fd, start, n_bytes)))


if __name__ == "__main__":
    main()
