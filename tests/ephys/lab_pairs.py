"""Two labs on one machine: alice shares in this process, and serves; bob loads in it, and she is his peer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from running_peers import Peer

from kacheryfs.app.embedded import get_fetcher


@dataclass
class LabPair:
    """Folders of their own; ``at`` says whose this process uses."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch

    @property
    def alice(self) -> Peer:
        return Peer(self.folder / "alice")

    @property
    def bob(self) -> Peer:
        return Peer(self.folder / "bob")

    @contextmanager
    def at(self, peer: Peer) -> Iterator[None]:
        """Be this peer: what is shared and loaded now is its."""
        self.monkeypatch.setenv("KACHERYFS_DIR", str(peer.folder))
        try:
            yield
        finally:
            get_fetcher().close()

    @contextmanager
    def at_bob_with_alice_serving(self) -> Iterator[None]:
        """Be bob, who asks alice."""
        with self.alice.serving() as url:
            self.bob.get("peer", "add", url)
            with self.at(self.bob):
                yield
