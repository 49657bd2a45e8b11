"""Keeps up with those who read the same files: which blocks they have by now, and what we have under way for them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import count

import trio

from ..core.manifest import GROUP_BLOCKS
from ..core.model import BlockRange
from ..core.wire import group_blocks
from ..errors import PeerError, PeerLacksError
from ..peers.peer import Peer
from .files import OpenFiles
from .finder import Finder
from .fleet import Fleet
from .openfile import OpenFile
from .peerset import PeerSet
from .providers import EXTENT_BLOCKS, Provider
from .tasks import Tasks

log = logging.getLogger(__name__)

NOTE_EVERY_S = 0.25
"""How often others are told what we have under way; a note holds for 3 s, and reaches 16 MiB ahead."""
ASK_EVERY_S = 1.0
"""How often it is asked what the others have: 256 bytes for 512 MiB of file."""
LOOK_EVERY_S = 1.0
"""How often those are asked again who had nothing of what we read: all files in one request."""
ANSWER_S = 2.0


class CoReaders:
    """Three turns, each repeated for as long as anything is fetched."""

    def __init__(self, fleet: Fleet, finder: Finder, files: OpenFiles, peers: PeerSet, our_id: bytes | None) -> None:
        self._fleet = fleet
        self._finder = finder
        self._files = files
        self._peers = peers
        self._our_id = our_id

    def start(self, tasks: Tasks) -> None:
        tasks.repeat(self._ask_presence)
        tasks.repeat(self._look_for_new)
        if self._our_id is not None:
            tasks.repeat(self._note_wanted)

    def _under_way(self) -> dict[OpenFile, list[int]]:
        """Return the guessed blocks that runs carry now, by file."""
        found: dict[OpenFile, list[int]] = {}
        for run in self._fleet:
            if guessed := [flight.block for flight in run.flights if flight.is_guessed]:
                found.setdefault(run.file, []).extend(guessed)
        return found

    async def _note_wanted(self) -> None:
        """Tell whoever asks our server for what we fetch that it pays to wait."""
        await self._fleet.wait_for_any()
        for file, blocks in self._under_way().items():
            for wanted in find_wanted(blocks, file.layout.n_blocks):
                await trio.to_thread.run_sync(file.stored.note_wanted, wanted)
        await trio.sleep(NOTE_EVERY_S)

    async def _ask_presence(self) -> None:
        await self._fleet.wait_for_any()
        async with trio.open_nursery() as nursery:
            for file, blocks in self._under_way().items():
                for provider in file.providers.usable():
                    for group in {block // GROUP_BLOCKS for block in blocks} if provider.is_partial else ():
                        nursery.start_soon(self._ask_group, file, provider, group)
        await trio.sleep(ASK_EVERY_S)

    async def _ask_group(self, file: OpenFile, provider: Provider, group: int) -> None:
        """Ask one provider for one group; who doesn't answer is met again by whoever needs it."""
        n_blocks = len(group_blocks(file.layout, group))
        with trio.move_on_after(ANSWER_S):
            try:
                present = await provider.peer.presence(file.binding, group, n_blocks)
            except PeerLacksError:
                present = [False] * n_blocks
            except PeerError as exc:
                log.debug("%s", exc)
                return
            provider.note_presence(group, present, trio.current_time())

    async def _look_for_new(self) -> None:
        """Ask those who had nothing of what is being read whether they have something now: they may read it too."""
        await self._fleet.wait_for_any()
        async with trio.open_nursery() as nursery:
            for peer in self._peers:
                files = [file for file in self._under_way() if not file.providers.knows(peer)]
                if files and peer.peer_id is not None and not self._peers.is_resting(peer):
                    nursery.start_soon(self._look_at, peer, files)
        await trio.sleep(LOOK_EVERY_S)

    async def _look_at(self, peer: Peer, files: list[OpenFile]) -> None:
        with trio.move_on_after(ANSWER_S):
            try:
                have = await peer.have([file.proof.sha1 for file in files])
            except PeerError as exc:
                log.debug("%s", exc)
                return
            for file, is_there in zip(files, have, strict=True):
                if is_there:
                    await self._finder.consider(file, peer)


def find_wanted(blocks: Iterable[int], n_blocks: int) -> Iterator[BlockRange]:
    """Yield what to note for blocks under way: their extents, each with the next one, which its reader comes to.

    What lies between two readers of one file is on nobody's way: whoever waited for it would wait in vain.
    """
    extents = {extent for block in blocks for extent in (block // EXTENT_BLOCKS, block // EXTENT_BLOCKS + 1)}
    for first in sorted(extent for extent in extents if extent - 1 not in extents):
        after = next(extent for extent in count(first) if extent not in extents)
        start, stop = (min(extent * EXTENT_BLOCKS, n_blocks) for extent in (first, after))
        if start < stop:
            yield BlockRange(start, stop)
