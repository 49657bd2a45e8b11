"""How a command in the background tells whoever started it that it can be used, or why not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..daemon import ReadyPipe
from ..errors import KacheryError


@contextmanager
def telling(ready_fd: int | None) -> Iterator[ReadyPipe]:
    """Give the pipe to tell readiness by; an error before that is told, and raised on."""
    ready = ReadyPipe(ready_fd)
    try:
        yield ready
    except BaseException as exc:
        ready.tell_failed(*_words_of(exc))
        raise


def _words_of(exc: BaseException) -> tuple[str, int]:
    from .entry import sole_cause

    cause = sole_cause(exc)
    if isinstance(cause, KacheryError):
        return str(cause), cause.exit_code
    return f"an unexpected {type(cause).__name__}: {cause}; the log has the details, please report it", 1
