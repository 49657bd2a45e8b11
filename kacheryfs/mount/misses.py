"""Failures that are remembered for a moment, so that asking twice doesn't wait twice."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass

import trio

from ..core.model import ByteRange
from ..errors import KacheryError

MAX_MISSES = 4096
MAX_FAILED_READS = 4096
"""As many as the kernel lets wait at once: threads that share a handle all fail in the same moment."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What an error said, without its traceback; ``again`` makes a fresh one for every asker."""

    kind: type[KacheryError]
    message: str
    at: float

    def again(self) -> KacheryError:
        return self.kind(self.message)


def failure_of(exc: KacheryError) -> Failure:
    return Failure(type(exc), str(exc), trio.current_time())


class Misses:
    """Names that were looked up in vain, for ``ttl_s``."""

    def __init__(self, ttl_s: float) -> None:
        self.ttl_s = ttl_s
        self._misses: OrderedDict[Hashable, Failure] = OrderedDict()

    def add(self, key: Hashable, exc: KacheryError) -> None:
        self._misses[key] = failure_of(exc)
        self._misses.move_to_end(key)
        while len(self._misses) > MAX_MISSES:
            self._misses.popitem(last=False)

    def check(self, key: Hashable) -> None:
        """Raise the failure anew if there was one a moment ago."""
        failure = self._misses.get(key)
        if failure is None:
            return
        if trio.current_time() < failure.at + self.ttl_s:
            raise failure.again()
        del self._misses[key]

    def clear(self) -> None:
        """Forget all: a peer was added."""
        self._misses.clear()


class FailedReads:
    """Reads of one handle that failed a moment ago.

    After a failed read of 128 KiB the kernel asks at once for its first page alone. Without a memory that page would
    wait for another ``read_timeout``, and a cancelled reader would have to be cancelled twice.
    """

    def __init__(self, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self._failed: deque[tuple[ByteRange, Failure]] = deque(maxlen=MAX_FAILED_READS)
        # Invariant: in order of time, the oldest first

    def add(self, span: ByteRange, exc: KacheryError) -> None:
        self._failed.append((span, failure_of(exc)))

    def check(self, offset: int) -> None:
        """Raise the failure anew where ``offset`` lies in what failed."""
        while self._failed and self._failed[0][1].at <= trio.current_time() - self._ttl_s:
            self._failed.popleft()
        for span, failure in self._failed:
            if span.start <= offset < span.stop:
                raise failure.again()
