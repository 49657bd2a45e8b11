"""Every number that bounds what a stranger can cost this machine."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.wire import MAX_REQUEST_HEAD_BYTES


@dataclass(frozen=True, slots=True)
class ServeLimits:
    """The server's bounds; the defaults suit a desk computer that serves a few labs."""

    max_connections: int = 256
    max_connections_per_address: int = 128
    """Half of all, so that one address can't shut out the others; a reverse proxy is one address."""
    max_waiting: int = 128
    """Requests that wait for blocks which are being fetched here (``Prefer: wait``); half of them of one address."""
    max_waiting_per_address: int = 64
    max_lookups: int = 8
    """Threads that ask catalog and store, verify a stored block the first time it is sent, and send the first block."""
    max_sends: int = 16
    """Threads that move bytes; one is held only while its socket takes bytes or its disk is slow."""
    max_head_bytes: int = MAX_REQUEST_HEAD_BYTES
    max_target_bytes: int = 4096
    """64 salted digests in one "have" are 2.8 kB."""
    head_timeout_s: float = 10.0
    upload_bytes_per_s: int | None = None
    """All connections together; None: as fast as the line takes it."""
    idle_timeout_s: float = 60.0
    thread_timeout_s: float = 10.0
    """How long a request waits for a free thread before it is told "too busy" (or, when half sent, is cut)."""
    min_send_bytes_per_s: int = 2048
    """What a client must take on average over every window, else its connection is cut."""
    send_window_s: float = 30.0
    linger_s: float = 2.0
    """How long a refused request's rest is read and dropped, so that the refusal isn't lost to a reset."""
    retry_after_s: int = 2
