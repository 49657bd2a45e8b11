"""Finds the root of a manifest that a name carries: every peer that has the file is asked, the first answer wins."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.manifest import Root
from ..core.model import Blake3, Sha1
from ..errors import KacheryError, PeerError, PeerLiedError, ProofError, UnreachableError
from ..peers.peer import Peer
from .finder import Answer, Finder, raise_missing
from .metadata import Metadata
from .peerset import PeerSet


class RootFinder:
    """Fetches roots."""

    def __init__(self, finder: Finder, metadata: Metadata, peers: PeerSet) -> None:
        self._finder = finder
        self._metadata = metadata
        self._peers = peers

    async def fetch_from(self, peers: Sequence[Peer], sha1: Sha1, manifest: Blake3) -> Root:
        """Return the root from the first of ``peers`` that gives it, one after the other."""
        errors: list[PeerError] = []
        for peer in peers:
            try:
                return await self._metadata.fetch_root(manifest, peer)
            except PeerError as exc:
                errors.append(exc)
        raise _nobody_gave(sha1, manifest, errors)

    async def fetch(self, sha1: Sha1, manifest: Blake3) -> tuple[Root, list[Answer]]:
        """Return the root and who has the file, as far as is known by then; NotFoundError or UnreachableError."""
        roots: list[Root] = []
        errors: list[PeerError] = []
        false: list[ProofError] = []

        async def fetch_from(peer: Peer) -> None:
            try:
                roots.append(await self._metadata.fetch_root(manifest, peer))
            except PeerError as exc:
                errors.append(exc)
                if isinstance(exc, PeerLiedError):
                    self._peers.ban(peer, sha1, manifest, str(exc))
            except ProofError as exc:  # the digest is right, and names what is no manifest: the link's fault
                false.append(exc)

        answers = await self._finder.gather(sha1, manifest, enough=lambda _: bool(roots or false), along=fetch_from)
        if roots:
            return roots[0], answers
        if false:
            raise ProofError(f"sha1 {sha1.short}: its link is wrong: {false[0]}") from false[0]
        if not errors:
            raise_missing(sha1, answers)
        raise _nobody_gave(sha1, manifest, errors)


def _nobody_gave(sha1: Sha1, manifest: Blake3, errors: list[PeerError]) -> KacheryError:
    words = "; ".join(str(error) for error in errors)
    kind = ProofError if all(isinstance(error, PeerLiedError) for error in errors) else UnreachableError
    return kind(f"sha1 {sha1.short}: nobody could give its manifest {manifest.short} ({words})")
