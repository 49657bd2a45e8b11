"""The one place where what sockets, TLS and h11 raise becomes a PeerError that names the peer and the reason."""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import h11
import trio

from ..errors import PeerError, PeerLacksError, PeerLiedError, PeerUnreachableError
from .heads import printable
from .stats import PeerStats


class Seam:
    """Entered around every exchange with one peer, by its methods and its streams, never one in another."""

    def __init__(self, url: str, stats: PeerStats) -> None:
        self._url = url
        self._stats = stats

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None) -> None:
        if exc is None:
            return
        error = translate(exc)
        if error is None:
            return
        named = type(error)(f"{self._url}: {error}")
        if not isinstance(named, PeerLacksError):
            self._stats.note_error(str(named), trio.current_time())
        raise named from exc


def translate(exc: BaseException) -> PeerError | None:
    """Return the PeerError that ``exc`` means, naming no peer; None where it is not the network's."""
    if isinstance(exc, PeerError):
        return exc
    if isinstance(exc, h11.RemoteProtocolError):
        return PeerLiedError(f"its answer is not HTTP/1.1 ({printable(str(exc))})")
    if isinstance(exc, trio.ClosedResourceError):
        return PeerUnreachableError("closed on this side")
    if isinstance(exc, OSError) and exc.errno == errno.EBADF:
        return PeerUnreachableError("closed on this side")
    if isinstance(exc, OSError):
        return PeerUnreachableError(_reason(exc))
    return None


def _reason(exc: OSError) -> str:
    """Say why, from the error that trio's connecting or OpenSSL wraps."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its TLS certificate is refused ({printable(exc.verify_message)})"
    if isinstance(exc, ssl.SSLError):
        return f"TLS failed ({printable(exc.reason or str(exc))})"
    attempts = getattr(exc.__cause__, "exceptions", ())  # trio's connecting groups one error per address
    if attempts and isinstance(attempts[0], OSError):
        return _reason(attempts[0])
    known = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror
    return printable(known or str(exc)).lower()


@contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """Bound a whole wait; PeerUnreachableError with ``what`` where it is over."""
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise PeerUnreachableError(f"{what} within {seconds:g} s")
