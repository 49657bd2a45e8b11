"""Files of a listing, or spans of them, brought into the store: whatever asked for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from ..core.model import ByteRange
from ..errors import InputError, KacheryError, StoreError
from ..fetch.located import LocatedFile
from .keeping_files import Failure, Listing, Wanted
from .progress import Progress
from .reading import clip_bounds
from .units import format_bytes

if TYPE_CHECKING:
    from ..fetch.engine import Engine
    from ..fetch.located import Located

N_AT_ONCE = 8
"""Files under way together: small ones wait for round trips, large ones fill the line alone."""
SPANS_AT_ONCE = 16
"""Of one file: where channel lies after channel, a second is one span a channel."""

Bounds = tuple[int, int | None]


@dataclass(slots=True)
class Fetched:
    """What came of it; ``bytes_here`` are all of those asked for that are present now."""

    progress: Progress
    limit_bytes: int = 0
    """The cache's: more than that can't be here at once."""
    needed_bytes: int = 0
    n_files: int = 0
    bytes_here: int = 0
    new_bytes: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def is_too_much(self) -> bool:
        return self.needed_bytes > self.limit_bytes

    def need_room(self, located: Located, n_bytes: int) -> None:
        """Raise StoreError before the cache drops what came first, to make room for what comes last."""
        if isinstance(located, LocatedFile):  # an original of this machine takes none
            self.needed_bytes += n_bytes
        if self.is_too_much:
            raise StoreError(
                f"the cache holds {format_bytes(self.limit_bytes)}, and this is {format_bytes(self.needed_bytes)} at "
                "least: set cache_size higher, or fetch a part (--time, --range)"
            )


class Prefetcher:
    """Fetches several files at once; what can't be had is told in ``found``, and the others go on."""

    def __init__(self, engine: Engine, found: Fetched, *, bounds: Bounds = (0, None)) -> None:
        """``bounds`` is what is fetched of a file: all of it by default, and of a folder's own JSON always."""
        self._engine = engine
        self._found = found
        self._bounds = bounds
        self._limit = trio.CapacityLimiter(N_AT_ONCE)

    async def fetch(self, listing: Listing, spans: Mapping[Wanted, Sequence[ByteRange]]) -> None:
        """Fetch every file of a listing: of those that have ``spans``, only these; StoreError without room."""
        files = {wanted: spans.get(wanted) for wanted in listing.wanted.values()}
        self._found.progress.set_total(sum(self._known_size(wanted, chosen) for wanted, chosen in files.items()))
        async with trio.open_nursery() as nursery:
            for wanted, chosen in files.items():
                await self._limit.acquire_on_behalf_of(wanted)
                nursery.start_soon(self._fetch_one, wanted, chosen)

    def _known_size(self, wanted: Wanted, chosen: Sequence[ByteRange] | None) -> int:
        if chosen is not None:
            return sum(map(len, chosen))
        return wanted.request.size_bytes or 0 if self._bounds == (0, None) else 0

    async def _fetch_one(self, wanted: Wanted, chosen: Sequence[ByteRange] | None) -> None:
        try:
            located = await self._engine.locate(wanted.request, allow_claims=wanted.is_folder)
            if chosen is None:
                chosen = [self._choose(wanted, located)]
                self._found.progress.add_total(len(chosen[0]) - self._known_size(wanted, None))
            self._found.need_room(located, sum(map(len, chosen)))
            await self._fetch_spans(located, chosen)
            self._found.n_files += 1
        except (StoreError, InputError):
            raise  # the next file would fare no better
        except KacheryError as exc:
            self._found.failures.append(wanted.fail(exc))
        finally:
            self._limit.release_on_behalf_of(wanted)

    def _choose(self, wanted: Wanted, located: Located) -> ByteRange:
        return clip_bounds((0, None) if wanted.is_folder else self._bounds, located.size_bytes)

    async def _fetch_spans(self, located: Located, spans: Sequence[ByteRange]) -> None:
        for first in range(0, len(spans), SPANS_AT_ONCE):
            errors: list[KacheryError] = []  # raised outside of the nursery, which would wrap it in a group
            async with trio.open_nursery() as nursery:
                for span in spans[first : first + SPANS_AT_ONCE]:
                    nursery.start_soon(self._fetch_span, located, span, errors)
            if errors:
                raise errors[0]

    async def _fetch_span(self, located: Located, span: ByteRange, errors: list[KacheryError]) -> None:
        count = _Count(self._found.progress, len(span))
        try:
            await self._engine.prefetch(located, span, on_progress=count.tell)
        except KacheryError as exc:
            errors.append(exc)
        self._found.bytes_here += count.here_bytes
        self._found.new_bytes += count.here_bytes - (count.first_bytes or 0)


class _Count:
    """How much of a span is here: whole blocks are, so the first and the last may stick out."""

    def __init__(self, progress: Progress, span_bytes: int) -> None:
        self.first_bytes: int | None = None
        self.here_bytes = 0
        self._progress = progress
        self._span_bytes = span_bytes

    def tell(self, present_bytes: int) -> None:
        now_bytes = min(present_bytes, self._span_bytes)
        if self.first_bytes is None:
            self.first_bytes = now_bytes
        self._progress.advance(now_bytes - self.here_bytes)
        self.here_bytes = now_bytes
