"""Says what a read waits for: five minutes of silence in a notebook would pass for a fault."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from ..fetch.engine import Engine
    from ..fetch.waits import Wait

log = logging.getLogger(__name__)

TELL_AFTER_S = 10.0
"""Longer than any peer that works takes for a block."""


class WaitTeller:
    """Warns once of each read that waits for long, with what the peers said; Python shows warnings on stderr."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._told: set[Wait] = set()

    def tell(self) -> None:
        waits = set(self._engine.waits)
        self._told &= waits
        latest = trio.current_time() - TELL_AFTER_S
        # One line for a file, however many reads of it wait.
        new = {wait.file: wait for wait in waits - self._told if wait.since <= latest}
        self._told |= {wait for wait in waits if wait.file in new}
        for wait in new.values():
            log.warning(
                "sha1 %s: block %d is still waited for, up to %g s (%s); Ctrl-C ends the wait",
                wait.file.proof.sha1.short,
                wait.blocks.start,
                self._engine.limits.read_timeout_s,
                "; ".join(wait.file.words()),
            )
