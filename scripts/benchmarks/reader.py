"""The programs that read: each a process of its own, as a user's is, which times itself and prints JSON.

A reader imports what it needs and prints "ready"; a line on stdin starts the clock. ``random`` and ``traces`` have
opened their file by then; ``whole`` and ``first`` open it within their time, as curl does with its connection.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

READ_BYTES = 1024 * 1024
N_CHANNELS = 384
RATE_HZ = 30_000.0
SNIPPET_FRAMES = 90
_CACHESTAT = 451


def wait_for_start() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def read_span(fd: int, start: int, stop: int, buffer: memoryview) -> int:
    """Read ``[start, stop)`` in requests of 1 MiB into one buffer; return the bytes."""
    at = start
    while at < stop and (n := os.preadv(fd, [buffer[: stop - at]], at)):
        at += n
    return at - start


def read_whole(path: Path) -> dict[str, object]:
    """Open a file and read it from start to end."""
    buffer = memoryview(bytearray(READ_BYTES))
    wait_for_start()
    start = time.perf_counter()
    fd = os.open(path, os.O_RDONLY)
    size = os.fstat(fd).st_size
    n_bytes = read_span(fd, 0, size, buffer)
    seconds = time.perf_counter() - start
    assert n_bytes == size, f"{n_bytes} of {size} bytes were read"
    return {"seconds": [seconds], "n_bytes": size}


def read_checked(path: Path, original: Path) -> dict[str, object]:
    """Read a file from start to end beside its original; seconds and end (of the machine's clock) of each MiB."""
    buffer, expected = memoryview(bytearray(READ_BYTES)), memoryview(bytearray(READ_BYTES))
    wait_for_start()
    fd, fd_original = os.open(path, os.O_RDONLY), os.open(original, os.O_RDONLY)
    size = os.fstat(fd_original).st_size
    seconds, ends = [], []
    for start in range(0, size, READ_BYTES):
        began, stop = time.monotonic(), min(start + READ_BYTES, size)
        n_bytes = read_span(fd, start, stop, buffer)
        ends.append(time.monotonic())
        seconds.append(ends[-1] - began)
        read_span(fd_original, start, stop, expected)
        assert n_bytes == stop - start, f"{n_bytes} of {stop - start} bytes were read at {start}"
        assert buffer[:n_bytes] == expected[:n_bytes], f"wrong bytes between {start} and {stop}"
    return {"seconds": seconds, "n_bytes": size, "ends": ends}


def read_again(path: Path, n_times: int) -> dict[str, object]:
    """Read a file once for the kernel's cache, then ``n_times`` through the same descriptor, timed."""
    buffer = memoryview(bytearray(READ_BYTES))
    fd = os.open(path, os.O_RDONLY)  # rclone's pages go when it is opened anew
    size = os.fstat(fd).st_size
    read_span(fd, 0, size, buffer)
    wait_for_start()
    seconds = []
    for _ in range(n_times):
        start = time.perf_counter()
        n_bytes = read_span(fd, 0, size, buffer)
        seconds.append(time.perf_counter() - start)
        assert n_bytes == size, f"{n_bytes} of {size} bytes were read"
    return {"seconds": seconds, "n_bytes": size}


def read_share(path: Path, share: int, n_shares: int) -> dict[str, object]:
    """Read one of ``n_shares`` equal parts of a file."""
    fd = os.open(path, os.O_RDONLY)
    size, buffer = os.fstat(fd).st_size, memoryview(bytearray(READ_BYTES))
    start, stop = size * share // n_shares, size * (share + 1) // n_shares
    wait_for_start()
    began = time.perf_counter()
    n_bytes = read_span(fd, start, stop, buffer)
    assert n_bytes == stop - start, f"{n_bytes} of {stop - start} bytes were read"
    return {"seconds": [time.perf_counter() - began], "n_bytes": n_bytes}


def read_random(path: Path, seed: int, n_reads: int, n_bytes: int) -> dict[str, object]:
    """Read at random unaligned offsets; seconds of each read."""
    fd = os.open(path, os.O_RDONLY)
    offsets = np.random.default_rng(seed).integers(0, os.fstat(fd).st_size - n_bytes, n_reads).tolist()
    buffer = memoryview(bytearray(n_bytes))
    wait_for_start()
    seconds = []
    for offset in offsets:
        start = time.perf_counter()
        n_read = os.preadv(fd, [buffer], offset)
        seconds.append(time.perf_counter() - start)
        assert n_read == n_bytes, f"{n_read} of {n_bytes} bytes were read"
    return {"seconds": seconds, "n_bytes": n_reads * n_bytes, "kernel_bytes": cached_bytes(fd)}


def read_traces(path: Path, seed: int, n_reads: int, n_frames: int) -> dict[str, object]:
    """Get traces of an opened recording at random times, by SpikeInterface; seconds of each."""
    import spikeinterface.core as si

    recording = si.read_binary(path, sampling_frequency=RATE_HZ, dtype="int16", num_channels=N_CHANNELS)
    starts = np.random.default_rng(seed).integers(0, recording.get_num_samples() - n_frames, n_reads).tolist()
    fd = os.open(path, os.O_RDONLY)  # rclone's pages go when it is opened anew
    wait_for_start()
    seconds = []
    for first in starts:
        start = time.perf_counter()
        traces = recording.get_traces(start_frame=first, end_frame=first + n_frames)
        np.asarray(traces).sum(dtype=np.int64)  # a lazy mapping is read here
        seconds.append(time.perf_counter() - start)
        assert traces.shape == (n_frames, N_CHANNELS)
    n_bytes = n_reads * n_frames * N_CHANNELS * 2
    return {"seconds": seconds, "n_bytes": n_bytes, "starts": starts, "kernel_bytes": cached_bytes(fd)}


def read_first(path: Path, offset: int) -> dict[str, object]:
    """Look a path up, open it, read one byte: all timed."""
    wait_for_start()
    start = time.perf_counter()
    fd = os.open(path, os.O_RDONLY)
    n_read = len(os.pread(fd, 1, offset))
    seconds = time.perf_counter() - start
    assert n_read == 1
    return {"seconds": [seconds], "n_bytes": 1}


def cached_bytes(fd: int) -> int | None:
    """Return what of a file is in the page cache: all that the kernel asked the mount for. None before Linux 6.5."""
    span, stat = (ctypes.c_uint64 * 2)(0, os.fstat(fd).st_size), (ctypes.c_uint64 * 5)()
    result = ctypes.CDLL(None).syscall(_CACHESTAT, fd, ctypes.byref(span), ctypes.byref(stat), 0)
    return int(stat[0]) * os.sysconf("SC_PAGE_SIZE") if result == 0 else None


_HOW: dict[str, Callable[..., dict[str, object]]] = {
    "whole": read_whole,
    "checked": read_checked,
    "again": read_again,
    "share": read_share,
    "random": read_random,
    "traces": read_traces,
    "first": read_first,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("how", choices=list(_HOW))
    parser.add_argument("path", type=Path)
    parser.add_argument("arguments", type=lambda text: int(text) if text.isdigit() else Path(text), nargs="*")
    options = parser.parse_args()
    print(json.dumps(_HOW[options.how](options.path, *options.arguments)), flush=True)


if __name__ == "__main__":
    main()
