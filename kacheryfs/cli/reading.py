"""``cat``: a file, or a range of it, to stdout."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import TYPE_CHECKING

import trio

from .. import app
from ..core.link import FileLink, TreeLink, parse_link
from ..core.model import ByteRange
from ..errors import InputError
from .configuration import settings_of
from .finding import resolve_file
from .progress import Progress

if TYPE_CHECKING:
    from ..config import Settings

CHUNK_BYTES = 1024 * 1024
"""One read: what the engine answers from the store at one go."""

_RANGE = re.compile(r"([0-9]{0,20}):([0-9]{0,20})\Z")


def cat(args: argparse.Namespace) -> int:
    link, bounds = parse_link(args.link), parse_bounds(args.range or ":")
    trio.run(_cat, settings_of(args), args.peer, link, bounds)
    return 0


def parse_bounds(text: str) -> tuple[int, int | None]:
    """Read ``A:B``; a missing A is 0, a missing B the end of the file."""
    match = _RANGE.match(text)
    if not match:
        raise InputError(
            f"--range {text!r}: write A:B in bytes, B not included; for example 0:1024, or 1024: for the rest"
        )
    start, stop = int(match.group(1) or 0), int(match.group(2)) if match.group(2) else None
    if stop is not None and stop < start:
        raise InputError(f"--range {text!r}: it ends before it begins")
    return start, stop


def clip_bounds(bounds: tuple[int, int | None], size_bytes: int) -> ByteRange:
    """Return the part of the file that is meant; InputError where it begins after the end."""
    start, stop = bounds
    if start > size_bytes:
        raise InputError(f"--range begins at {start}, but the file has {size_bytes} bytes")
    return ByteRange(start, size_bytes if stop is None else min(stop, size_bytes))


async def _cat(settings: Settings, peers: list[str], link: FileLink | TreeLink, bounds: tuple[int, int | None]) -> None:
    async with app.open_engine(settings, peers) as engine:
        located = await engine.locate(await resolve_file(engine, link))
        span = clip_bounds(bounds, located.size_bytes)
        reader = located.open()
        with Progress("cat", len(span)) as progress:
            try:
                for start in range(span.start, span.stop, CHUNK_BYTES):
                    data = bytes(await reader.read(start, min(CHUNK_BYTES, span.stop - start)))
                    # Abandoned by Ctrl-C: whoever reads the pipe may never do so again.
                    await trio.to_thread.run_sync(_write_all, data, abandon_on_cancel=True)
                    progress.advance(len(data))
            finally:
                reader.close()


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]
