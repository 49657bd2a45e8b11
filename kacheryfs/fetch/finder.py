"""Asks peers who has a file: by the salted digest first, by its name only those who say yes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NoReturn

import trio

from ..core.manifest import Proof
from ..core.model import ManifestDigest, Sha1
from ..core.request import Trust
from ..core.wire import FileInfo
from ..errors import NotFoundError, OfflineError, PeerError, PeerLacksError, PeerUnreachableError, UnreachableError
from ..peers.peer import Peer
from .openfile import OpenFile
from .peerset import PeerSet
from .tasks import Tasks

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one peer said about one SHA-1."""

    peer: Peer
    has_some: bool = False
    info: FileInfo | None = None
    """Its claim; None from a peer that has only parts under manifests of others."""
    error: PeerError | None = None
    """Set where the peer did not answer."""

    @property
    def word(self) -> str:
        if self.error:
            return str(self.error)
        if not self.has_some:
            return f"{self.peer.url}: does not have it"
        if self.info is None:
            return f"{self.peer.url}: has a part of it"
        manifest = self.info.manifest.short if self.info.manifest else "no manifest"
        return f"{self.peer.url}: {self.info.size_bytes} bytes, {manifest}"


@dataclass(frozen=True, slots=True)
class LookupReport:
    """A name that is being looked up, for ``kacheryfs why``; times are of trio's clock."""

    since: float
    gives_up_at: float
    said: Mapping[str, str | None]
    """What each peer that was asked said, by its URL; None: nothing yet."""


class _Gathering:
    """Answers as they come in."""

    def __init__(self, sha1: Sha1, peers: Sequence[Peer], timeout_s: float) -> None:
        self.sha1 = sha1
        self.scope = trio.move_on_after(timeout_s)
        self.answers: list[Answer] = []
        self._peers = peers
        self._since = trio.current_time()
        self._changed = trio.Event()

    def add(self, answer: Answer) -> None:
        self.answers.append(answer)
        self._changed.set()

    async def wait(self) -> None:
        """Return once there is another answer since the last call."""
        await self._changed.wait()
        self._changed = trio.Event()

    def report(self) -> LookupReport:
        said = {answer.peer.url: answer.word for answer in self.answers}
        return LookupReport(self._since, self.scope.deadline, {peer.url: said.get(peer.url) for peer in self._peers})


Enough = Callable[[list[Answer]], bool]
Along = Callable[[Peer], Awaitable[None]]


class Finder:
    """Finds the providers of files among the peers."""

    def __init__(
        self, peers: PeerSet, lookup_timeout_s: float, tasks: Tasks, *, on_found: Callable[[OpenFile], None]
    ) -> None:
        """``on_found`` is told of every file that another provider was found of; somebody may be waiting for it."""
        self._peers = peers
        self._tasks = tasks
        self._on_found = on_found
        self.lookup_timeout_s = lookup_timeout_s
        self._gatherings: list[_Gathering] = []

    async def gather(
        self, sha1: Sha1, manifest: ManifestDigest | None = None, *, enough: Enough, along: Along | None = None
    ) -> list[Answer]:
        """Ask all peers at once; return when all have answered, or all that aren't resting and ``enough`` holds.

        ``along`` is run with each peer that has some of the file, at the same time as the peer is asked for its claim.
        Peers that answer later go on in the background and are forgotten: ``look_for_more`` finds them. OfflineError.
        """
        if self._peers.is_offline:
            raise OfflineError(f"sha1 {sha1.short}: it is not here, and offline nobody is asked")
        peers = self._askable(sha1, manifest)
        awake = {peer.url for peer in peers if not self._peers.is_resting(peer)}
        gathering = _Gathering(sha1, peers, self.lookup_timeout_s + 1)  # each has its own deadline within this
        for peer in peers:
            self._tasks.start_soon(self._ask_into, peer, sha1, along, gathering)
        self._gatherings.append(gathering)
        try:
            with gathering.scope:
                while len(gathering.answers) < len(peers):
                    await gathering.wait()
                    awake.difference_update(answer.peer.url for answer in gathering.answers)
                    if enough(gathering.answers) and (along is not None or not awake):
                        break
        finally:
            self._gatherings.remove(gathering)
        return list(gathering.answers)

    def describe(self, sha1: Sha1) -> list[LookupReport]:
        """Return how far those are who look for ``sha1`` now."""
        return [gathering.report() for gathering in self._gatherings if gathering.sha1 == sha1]

    async def _ask_into(self, peer: Peer, sha1: Sha1, along: Along | None, gathering: _Gathering) -> None:
        gathering.add(await self.ask(peer, sha1, along))

    async def ask(self, peer: Peer, sha1: Sha1, along: Along | None = None) -> Answer:
        """Ask one peer; what goes wrong is in the answer."""
        error: PeerError = PeerUnreachableError(f"{peer.url}: no answer within {self.lookup_timeout_s:g} s")
        with trio.move_on_after(self.lookup_timeout_s):
            try:
                answer = await self._ask(peer, sha1, along)
            except PeerError as exc:
                error = exc
            except Exception as exc:
                # An outer edge: whoever waits for this answer, and the other peers' answers, go on.
                log.exception("asking %s failed in a way that it should not", peer.url)
                error = PeerError(f"{peer.url}: internal error, {type(exc).__name__} (see the log)")
            else:
                if answer.error is None:
                    self._peers.note_success(peer)
                    return answer
                error = answer.error
        self._peers.note_failure(peer, error)
        return Answer(peer, error=error)

    async def _ask(self, peer: Peer, sha1: Sha1, along: Along | None) -> Answer:
        if not (await peer.have([sha1]))[0]:
            return Answer(peer)
        self._tasks.start_soon(_warm, peer)  # soon a group and a block are asked for at once
        answers: list[Answer] = []
        async with trio.open_nursery() as nursery:
            if along is not None:
                nursery.start_soon(along, peer)
            answers.append(await _describe(peer, sha1))
        return answers[0]

    def _askable(self, sha1: Sha1, manifest: ManifestDigest | None) -> list[Peer]:
        others = [peer for peer in self._peers if not self._peers.is_ourselves(peer)]
        return [peer for peer in others if self._peers.find_ban(peer, sha1, manifest) is None]

    def look_for_more(self, file: OpenFile) -> None:
        """Start looking for providers of ``file`` that aren't known yet, without waiting."""
        self._tasks.start_soon(self.refresh, file)

    async def refresh(self, file: OpenFile) -> None:
        """Ask every peer that isn't known as a provider of ``file``, and enter those who are."""
        async with trio.open_nursery() as nursery:
            for peer in self._askable(file.proof.sha1, file.proof.manifest):
                if not self._peers.is_resting(peer) and not file.providers.knows(peer):
                    nursery.start_soon(self.consider, file, peer)

    def _is_heard(self, peer: Peer, file: OpenFile) -> bool:
        """Tell whether what a peer claims may count: one that claimed falsely must not contest what others claim."""
        return file.trust is not Trust.CLAIMED or self._peers.find_ban(peer, file.proof.sha1) is None

    async def consider(self, file: OpenFile, peer: Peer) -> None:
        """Ask a peer that isn't known as a provider of ``file``, and enter it if it is one."""
        if not self._is_heard(peer, file):
            return
        answer = await self.ask(peer, file.proof.sha1)
        if self._peers.find_ban(peer, file.proof.sha1):
            answer = replace(answer, info=None)  # its claims were found false, while it was asked
        if answer.has_some:
            enter(file, answer)
            self._on_found(file)


async def _warm(peer: Peer) -> None:
    with suppress(PeerError):  # whoever needs the connection meets it again
        await peer.warm()


async def _describe(peer: Peer, sha1: Sha1) -> Answer:
    try:
        return Answer(peer, has_some=True, info=await peer.describe(sha1))
    except PeerLacksError:
        return Answer(peer, has_some=True)
    except PeerError as exc:
        # Caught here and not in ``ask``: an error must not leave a nursery as a group.
        return Answer(peer, error=exc)


def enter(file: OpenFile, answer: Answer) -> None:
    """Enter a peer as a provider of ``file``: of all of it where its claim fits the file's proof, else of parts."""
    hear_claim(file, answer)
    if answer.info is not None and answer.info.size_bytes == file.layout.size_bytes:
        file.providers.add(answer.peer, is_partial=False)
    elif file.proof.manifest is not None:
        file.providers.add(answer.peer, is_partial=True)


def hear_claim(file: OpenFile, answer: Answer) -> None:
    """Contest ``file`` where a peer claims something else of its SHA-1."""
    if answer.info is not None and file.trust is not Trust.PROVEN and _contradicts(answer.info, file.proof):
        file.contest(f"peers disagree about it, use a link with a manifest ({answer.word})")


def _contradicts(info: FileInfo, proof: Proof) -> bool:
    if proof.manifest is None:
        return False  # proven by its SHA-1 before anything is returned
    return info.size_bytes != proof.layout.size_bytes or info.manifest not in (None, proof.manifest)


def raise_missing(sha1: Sha1, answers: list[Answer]) -> NoReturn:
    """Raise what DESIGN.md promises for a name that nobody has: everybody said no, or somebody did not answer."""
    words = "; ".join(answer.word for answer in answers) or "no peer is configured: kacheryfs peer add URL"
    if any(answer.error for answer in answers):
        raise UnreachableError(f"sha1 {sha1.short}: nobody who answered has it ({words})")
    raise NotFoundError(f"sha1 {sha1.short}: no peer has it ({words})")
