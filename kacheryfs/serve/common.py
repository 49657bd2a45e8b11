"""What all connections of one server have in common."""

from __future__ import annotations

import trio

from .access import Access
from .counters import Counters
from .doorman import Doorman
from .limits import ServeLimits
from .uploads import Uploads
from .waiting import Waiters
from .warner import Warner


class Common:
    """Places, threads, bytes and words, of which each connection has its part."""

    def __init__(self, limits: ServeLimits, access: Access, counters: Counters) -> None:
        self.limits = limits
        self.access = access
        self.counters = counters
        self.warner = Warner()
        self.doorman = Doorman(limits)
        self.waiters = Waiters(limits)
        self.uploads = Uploads(limits.upload_bytes_per_s)
        self.lookups = trio.CapacityLimiter(limits.max_lookups)
        self.sends = trio.CapacityLimiter(limits.max_sends)
