"""What the labs share: content that every process can make again from a number."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

from kacheryfs.core.model import BLOCK_BYTES

ODD_NAMES = (
    "with space.dat",
    " leading and trailing ",
    "100%.dat",
    "percent%20encoded.dat",
    "question?.dat",
    "fr?manifest=1.dat",
    "hash#and&more.dat",
    "grüße-日本語.dat",
    os.fsdecode(b"invalid-\xff\xfe.dat"),
    ".zattrs",
    "...",
    "new\nline",
    "back\\slash",
    "n" * 255,
)


def bytes_of(seed: int, n_bytes: int) -> bytes:
    return random.Random(seed).randbytes(n_bytes)


def sha1_of(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


LARGE = bytes_of(1, 20 * BLOCK_BYTES + 1234)
SMALL = b"a small file\n" * 100


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def write_folder(folder: Path) -> Path:
    """Write a folder with everything that a name can be, and empty things."""
    write(folder / "large.dat", LARGE)
    write(folder / "small.txt", SMALL)
    write(folder / "empty.dat", b"")
    write(folder / "sub folder" / "deeper" / "inner.dat", LARGE)
    (folder / "empty folder").mkdir()
    for i, name in enumerate(ODD_NAMES):
        write(folder / "odd" / name, f"content of {i}".encode())
    write(folder / "odd folders" / "a%2Fb?c d" / "file", b"in an odd folder")
    return folder


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return every file's content, and None for every folder, by its path below ``folder``."""
    found: dict[str, bytes | None] = {}
    for top, dirs, files in os.walk(folder):
        below = os.path.relpath(top, folder)
        found |= {os.path.join(below, name): None for name in dirs}
        found |= {os.path.join(below, name): Path(top, name).read_bytes() for name in files}
    return found
