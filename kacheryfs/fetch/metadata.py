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


class _GroupFlight:
    """One group's fetch, shared by the runs that need it."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.words: list[str] = []


class Metadata:
    """Fetches roots and groups; each group once, however many runs wait for it."""

    def __init__(self, store: Store, peers: PeerSet, tasks: Tasks) -> None:
        self._store = store
        self._peers = peers
        self._tasks = tasks
        self._flights: dict[tuple[Blake3, int], _GroupFlight] = {}

    async def find_root(self, digest: Blake3) -> Root | None:
        """Return the root if this machine has it."""
        data = await trio.to_thread.run_sync(self._store.find_manifest_part, digest)
        return None if data is None else Root.decode(data, digest)

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
        name = (file.proof.root.groups[group], group)
        if name not in self._flights:
            self._flights[name] = _GroupFlight()
            self._tasks.start_soon(self._fly, file, file.proof, group, first)

    async def wait_for_group(self, file: OpenFile, block: int, first: Peer | None) -> None:
        """Return once ``block`` can be verified; PeerLackedGroupError where no provider could give the group."""
        self.request_group(file, block, first)
        group = file.proof.missing_group(block)
        if group is None or not isinstance(file.proof, GroupedProof):
            return
        flight = self._flights[(file.proof.root.groups[group], group)]
        await flight.done.wait()
        if file.proof.missing_group(block) is not None:
            words = "; ".join(flight.words) or "no provider to ask"
            raise PeerLackedGroupError(f"sha1 {file.proof.sha1.short}: group {group} of its manifest: {words}")

    async def _fly(self, file: OpenFile, proof: GroupedProof, group: int, first: Peer | None) -> None:
        digest = proof.root.groups[group]
        flight = self._flights[(digest, group)]
        try:
            data = await trio.to_thread.run_sync(self._store.find_manifest_part, digest)
            if data is None:
                data = await self._ask_providers(file, digest, first, flight)
            if data is not None:
                proof.add_group(group, data)
        finally:
            del self._flights[(digest, group)]
            flight.done.set()

    async def _ask_providers(
        self, file: OpenFile, digest: Blake3, first: Peer | None, flight: _GroupFlight
    ) -> bytes | None:
        for peer in _in_order(first, [provider.peer for provider in file.providers.usable()]):
            try:
                data = await self._fetch(digest, peer, GROUP_BYTES, GROUP_TIMEOUT_S)
            except PeerError as exc:
                flight.words.append(str(exc))
                if isinstance(exc, PeerLiedError):
                    self._peers.ban(peer, file.proof.sha1, file.proof.manifest, "it sent a false manifest")
                continue
            await trio.to_thread.run_sync(self._store.put_manifest_part, digest, data)
            return data
        return None


def _in_order(first: Peer | None, others: Sequence[Peer]) -> list[Peer]:
    return [*([first] if first else []), *(peer for peer in others if peer is not first)]


def check_root(root: Root, *, sha1: object, size_bytes: int | None) -> None:
    """Raise ProofError where a root contradicts the name or the tree that led to it."""
    if root.sha1 != sha1:
        raise ProofError(f"the manifest is of the file sha1 {root.sha1.short}, not of sha1 {sha1}: the link is wrong")
    if size_bytes is not None and root.size_bytes != size_bytes:
        raise ProofError(f"sha1 {root.sha1.short}: the manifest says {root.size_bytes} bytes, the tree {size_bytes}")
