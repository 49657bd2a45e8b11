"""The peers of an engine that runs for days in a notebook, kept as the user's list says."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..fetch.peerset import PeerSet
    from ..peers.discovery import PeerList
    from ..peers.peer import Peer


class KeptPeers:
    """Adds what ``kacheryfs peer add`` added meanwhile, and lets go what was removed."""

    def __init__(self, kept: PeerList, peers: PeerSet, make_peer: Callable[[str], Peer]) -> None:
        self._kept = kept
        self._peers = peers
        self._make_peer = make_peer
        self._seen: object = ()  # of no file: the first look reads the list again

    async def follow(self) -> None:
        """Look whether the list was changed, by one stat; ConfigError where it can't be read."""
        seen = self._look()
        if seen == self._seen:
            return
        urls = {self._make_peer(url).url for url in self._kept.urls()}
        self._seen = seen
        for url in urls:
            if self._peers.find(url) is None:
                self._peers.add(self._make_peer(url))
        for peer in list(self._peers):
            if peer.url not in urls and self._peers.find(peer.url) is peer:
                await self._peers.remove(peer.url)

    def _look(self) -> object:
        try:
            status = os.stat(self._kept.path)
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
