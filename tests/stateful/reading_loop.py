"""A program that reads a mount at random and compares with the originals, until its stdin is closed.

``reading_loop.py SEED MAPPED MOUNTPOINT FILES``: FILES is JSON, ``[[path below the mountpoint, original], …]``. A line
of JSON a reading: when it began and ended (the machine's monotonic clock), what was read, and what went wrong. With
MAPPED 1 it reads by mmap alone: a mount that dies kills it by SIGBUS.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import random
import select
import sys
import time
from collections.abc import Callable

READ_BYTES = 1 << 20
PAUSE_S = 0.01
"""Between two readings: other processes share these cores."""
SORRY_S = 0.1
"""After an error: the mount is away."""

Compare = Callable[[int, int, int], None]
"""Compares [start, stop) of the open file with its original."""


class WrongBytesError(Exception):
    """What was read isn't what the original has."""


def same(found: bytes, original: bytes, start: int) -> None:
    if found == original:
        return
    first = next((i for i, (a, b) in enumerate(zip(found, original, strict=False)) if a != b), len(found))
    zeros = "all zeros" if not any(found) else "not zeros"
    raise WrongBytesError(
        f"{len(found)} for {len(original)} bytes at {start}; first differs at {start + first}; {zeros}"
    )


def pread_span(fd: int, original: int, start: int, stop: int) -> None:
    """Compare; a read that meets a mount's end is cut there, and the next one tells the error."""
    while start < stop:
        found = os.pread(fd, min(READ_BYTES, stop - start), start)
        if not found:
            raise WrongBytesError(f"the file ends at {start}")
        same(found, os.pread(original, len(found), start), start)
        start += len(found)


def map_span(fd: int, original: int, start: int, stop: int) -> None:
    if start == stop:
        return  # an empty file can't be mapped
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as mapped:
        same(mapped[start:stop], os.pread(original, stop - start, start), start)


def spans(chance: random.Random, size: int) -> list[tuple[int, int]]:
    """Choose what to read of a file: all of it, from somewhere on, or here and there."""
    kind = chance.random()
    if kind < 0.15:
        return [(0, size)]
    if kind < 0.4:
        start = chance.randint(0, size)
        return [(start, min(start + 8 * READ_BYTES, size))]
    starts = [chance.randint(0, size) for _ in range(8)]
    return [(start, min(start + chance.choice((1, 4096, 65536, 300_000)), size)) for start in starts]


def read_once(chance: random.Random, path: str, original_path: str, is_mapped: bool) -> str | None:
    """Read one file and compare; return the errno's name where it can't be read."""
    original = os.open(original_path, os.O_RDONLY)
    try:
        fd = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(original).st_size
            if os.fstat(fd).st_size != size:
                raise WrongBytesError(f"its size is {os.fstat(fd).st_size}, not {size}")
            for start, stop in spans(chance, size):
                (map_span if is_mapped else pread_span)(fd, original, start, stop)
        finally:
            os.close(fd)
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    finally:
        os.close(original)
    return None


def tell(**values: object) -> None:
    print(json.dumps(values), flush=True)


def is_over() -> bool:
    return bool(select.select([sys.stdin], [], [], PAUSE_S)[0])


def main() -> None:
    seed, is_mapped, mountpoint, files = int(sys.argv[1]), sys.argv[2] == "1", sys.argv[3], json.loads(sys.argv[4])
    chance = random.Random(seed)
    while not is_over():
        name, original = chance.choice(files)
        began = time.monotonic()
        tell(began=began, what=name)
        try:
            error, wrong = read_once(chance, f"{mountpoint}/{name}", original, is_mapped), None
        except WrongBytesError as exc:
            error, wrong = None, str(exc)
        tell(began=began, ended=time.monotonic(), what=name, error=error, wrong=wrong)
        if error:
            time.sleep(SORRY_S)


if __name__ == "__main__":
    main()
