"""Manifest roots and groups: from the store where they are, else from a peer, proven, and kept."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from ..core.manifest import GROUP_BYTES, MAX_ROOT_BYTES, GroupedProof, Root
from ..core.model import Blake3
from ..errors import PeerError, PeerLackedGroupError, PeerLiedError, ProofError
from ..peers.peer import Peer
from ..store.blocks import Store
from .openfile import OpenFile
from .peerset import PeerSet
from .tasks import Tasks

ROOT_TIMEOUT_S = 60.0
GROUP_TIMEOUT_S = 30.0
GROUP_OVERDUE_S = 1.0
"""Then the next provider is asked, too: a group is 64 KiB, and every block of 512 MiB waits for it."""


class _GroupFlight:
    """One group's fetch, shared by the runs that need it; two files may have a group in common."""

    def __init__(self, file: OpenFile, digest: Blake3, first: Peer | None) -> None:
        self.file = file
        self.digest = digest
        self.first = first
        self.data: bytes | None = None
        self.wanted: set[tuple[GroupedProof, int]] = set()
        self.words: list[str] = []
        self.done = trio.Event()

    def deliver(self) -> None:
        """Give it to everybody who wants it, where there is anything to give."""
        if self.data is not None:
            for proof, group in self.wanted:
                proof.add_group(group, self.data)
        self.done.set()


class Metadata:
    """Fetches roots and groups; each group once, however many runs wait for it."""

    def __init__(self, store: Store, peers: PeerSet, tasks: Tasks) -> None:
        self._store = store
        self._peers = peers
        self._tasks = tasks
        self._flights: dict[Blake3, _GroupFlight] = {}

    async def fetch_root(self, digest: Blake3, peer: Peer) -> Root:
        """Ask one peer for a root; PeerError where it can't give it."""
        data = await self._fetch(digest, peer, MAX_ROOT_BYTES, ROOT_TIMEOUT_S)
        root = Root.decode(data, digest)
        await trio.to_thread.run_sync(self._store.put_manifest_part, digest, data)
        return root

    async def _fetch(self, digest: Blake3, peer: Peer, max_bytes: int, timeout_s: float) -> bytes:
        with trio.move_on_after(timeout_s):
            data = await peer.get_manifest_part(digest, max_bytes)
            if Blake3.of(data) != digest:
                raise PeerLiedError(f"{peer.url}: manifest {digest.short}: the bytes sent have another digest")
            return data
        raise PeerError(f"{peer.url}: manifest {digest.short} did not come within {timeout_s:g} s")

    def request_group(self, file: OpenFile, block: int, first: Peer | None) -> None:
        """Start fetching the group that ``block`` needs, from ``first`` if it can; does nothing where it is known."""
        group = file.proof.missing_group(block)
        if group is None or not isinstance(file.proof, GroupedProof):
            return
        digest = file.proof.root.groups[group]
        flight = self._flights.get(digest)
        if flight is None:
            flight = self._flights[digest] = _GroupFlight(file, digest, first)
            self._tasks.start_soon(self._fly, flight)
        flight.wanted.add((file.proof, group))

    async def wait_for_group(self, file: OpenFile, block: int, first: Peer | None) -> None:
        """Return once ``block`` can be verified; PeerLackedGroupError where no provider could give the group."""
        self.request_group(file, block, first)
        group = file.proof.missing_group(block)
        if group is None or not isinstance(file.proof, GroupedProof):
            return
        flight = self._flights[file.proof.root.groups[group]]
        await flight.done.wait()
        if file.proof.missing_group(block) is not None:
            words = "; ".join(flight.words) or "no provider to ask"
            raise PeerLackedGroupError(f"sha1 {file.proof.sha1.short}: group {group} of its manifest: {words}")

    async def _fly(self, flight: _GroupFlight) -> None:
        try:
            flight.data = await trio.to_thread.run_sync(self._store.find_manifest_part, flight.digest)
            is_kept = flight.data is not None
            if not is_kept:
                await self._ask_providers(flight)
        finally:
            del self._flights[flight.digest]
            flight.deliver()
        if flight.data is not None and not is_kept:
            await trio.to_thread.run_sync(self._store.put_manifest_part, flight.digest, flight.data)

    async def _ask_providers(self, flight: _GroupFlight) -> None:
        """Ask one after the other, the next as soon as one fails or is overdue; the first right answer wins."""
        async with trio.open_nursery() as nursery:
            for peer in _in_order(flight.first, [provider.peer for provider in flight.file.providers.usable()]):
                attempt = trio.Event()
                nursery.start_soon(self._ask, flight, peer, attempt, nursery.cancel_scope)
                with trio.move_on_after(GROUP_OVERDUE_S):
                    await attempt.wait()

    async def _ask(self, flight: _GroupFlight, peer: Peer, attempt: trio.Event, others: trio.CancelScope) -> None:
        try:
            flight.data = await self._fetch(flight.digest, peer, GROUP_BYTES, GROUP_TIMEOUT_S)
            others.cancel()
        except PeerError as exc:
            flight.words.append(str(exc))
            if isinstance(exc, PeerLiedError):
                proof = flight.file.proof
                self._peers.ban(peer, proof.sha1, proof.manifest, "it sent a false manifest")
        attempt.set()


def _in_order(first: Peer | None, others: Sequence[Peer]) -> list[Peer]:
    return [*([first] if first else []), *(peer for peer in others if peer is not first)]


def check_root(root: Root, *, sha1: object, size_bytes: int | None) -> None:
    """Raise ProofError where a root contradicts the name or the tree that led to it."""
    if root.sha1 != sha1:
        raise ProofError(f"the manifest is of the file sha1 {root.sha1.short}, not of sha1 {sha1}: the link is wrong")
    if size_bytes is not None and root.size_bytes != size_bytes:
        raise ProofError(f"sha1 {root.sha1.short}: the manifest says {root.size_bytes} bytes, the tree {size_bytes}")
