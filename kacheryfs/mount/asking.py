"""Asks the engine for the VFS, and remembers what went wrong: for a moment as an answer, for longer as a reason."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from ..core.model import Sha1
from ..core.request import FileRequest
from ..core.tree import Tree
from ..errors import KacheryError, NotFoundError, UnreachableError
from .engine import Engine, LocatedFile
from .misses import Failure, Misses, failure_of

MAX_FAILURES = 256

T = TypeVar("T")


class Asker:
    """The engine, asked once for what is asked for twice in a moment."""

    def __init__(self, engine: Engine, *, negative_ttl_s: float) -> None:
        self._engine = engine
        self._misses = Misses(negative_ttl_s)
        self._failures: OrderedDict[Sha1, Failure] = OrderedDict()

    async def locate(self, request: FileRequest, *, allow_claims: bool = False) -> LocatedFile:
        return await self._ask(
            request.sha1, (request, allow_claims), lambda: self._engine.locate(request, allow_claims=allow_claims)
        )

    async def get_tree(self, sha1: Sha1) -> Tree:
        return await self._ask(sha1, ("tree", sha1), lambda: self._engine.get_tree(sha1))

    async def _ask(self, sha1: Sha1, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        self._misses.check(key)
        try:
            return await ask()
        except (NotFoundError, UnreachableError) as exc:
            self._misses.add(key, exc)
            self.note_failure(sha1, exc)
            raise
        except KacheryError as exc:
            self.note_failure(sha1, exc)
            raise

    def note_failure(self, sha1: Sha1, exc: KacheryError) -> None:
        self._failures[sha1] = failure_of(exc)
        self._failures.move_to_end(sha1)
        while len(self._failures) > MAX_FAILURES:
            self._failures.popitem(last=False)

    def find_failure(self, sha1: Sha1) -> Failure | None:
        """Return what last went wrong with this digest, at whatever time."""
        return self._failures.get(sha1)

    def forget_misses(self) -> None:
        self._misses.clear()
