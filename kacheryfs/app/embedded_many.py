"""Parts of many files at once, in one call to the engine, so that Ctrl-C ends them all: the chunks of a Zarr array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from ..errors import KacheryError

if TYPE_CHECKING:
    from ..core.request import FileRequest
    from ..fetch.engine import Engine

READS_AT_ONCE = 16
"""A small file costs a round trip or two; each may be 16 MiB and more in memory."""


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes ``[start, stop)`` of a file, counted as a slice counts: from its end where they are negative."""

    request: FileRequest
    start: int | None = None
    stop: int | None = None


async def read_parts(engine: Engine, parts: Sequence[Part]) -> list[bytes | KacheryError]:
    """Return the bytes of each part, or why they can't be had."""
    found: dict[int, bytes | KacheryError] = {}
    limit = trio.CapacityLimiter(READS_AT_ONCE)

    async def read(index: int, part: Part) -> None:
        async with limit:
            try:
                found[index] = await _read_part(engine, part)
            except KacheryError as exc:
                found[index] = exc

    async with trio.open_nursery() as nursery:
        for index, part in enumerate(parts):
            nursery.start_soon(read, index, part)
    return [found[index] for index in range(len(parts))]


async def _read_part(engine: Engine, part: Part) -> bytes:
    located = await engine.locate(part.request)
    span = range(located.size_bytes)[part.start : part.stop]
    reader = located.open()
    try:
        return bytes(await reader.read(span.start, len(span)))
    finally:
        reader.close()
