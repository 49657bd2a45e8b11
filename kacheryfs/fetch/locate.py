"""From a name to a file that can be read: where its manifest comes from, and so how far it is trusted.

In this order: an original of this machine, a file proven in the store, the manifest that the name carries, the SHA-1
alone for what it proves at once, and last what peers claim.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable

import trio

from ..core.legacy import decode_legacy_manifest
from ..core.manifest import GroupedProof, Proof, WholeProof
from ..core.model import Blake3, ManifestDigest, Sha1
from ..core.request import FileRequest, Trust
from ..errors import ClaimError, ProofError, TrustRefusedError
from .files import OpenFiles
from .finder import Answer, Finder, enter, hear_claim, raise_missing
from .local import LocalFiles, is_falsely_empty, proof_by_sha1
from .located import Located, LocatedFile, LocatedOriginal
from .metadata import check_root
from .openfile import OpenFile
from .reader import Engines
from .roots import RootFinder

SETTLE_TIMEOUT_S = 60.0
CLAIM_FRESH_S = 2.0
"""Large claims are asked for again after this: who contradicts must be heard."""

_CHANGED = "the file that was shared here was found changed or removed: see kacheryfs shares, and share it again"


class Locator:
    """Finds files by name."""

    def __init__(
        self,
        local: LocalFiles,
        files: OpenFiles,
        finder: Finder,
        roots: RootFinder,
        engines: Engines,
        *,
        read_legacy: Callable[[Sha1], Awaitable[bytes]],
        require_manifest: bool,
        whole_file_limit_bytes: int,
    ) -> None:
        """``read_legacy`` returns the JSON of a legacy manifest, which is a file of its own."""
        self._local = local
        self._files = files
        self._finder = finder
        self._roots = roots
        self._engines = engines
        self._read_legacy = read_legacy
        self._require_manifest = require_manifest
        self._limit_bytes = whole_file_limit_bytes
        self._recent: dict[Sha1, tuple[OpenFile, float]] = {}

    async def locate(self, request: FileRequest, *, allow_claims: bool = False) -> Located:
        """Return the file; NotFoundError, UnreachableError, ProofError, ClaimError, TrustRefusedError.

        ``allow_claims`` lets a bare name through although manifests are required: for what is proven whole by its
        SHA-1 before use, a tree's JSON.
        """
        original = await trio.to_thread.run_sync(self._local.find_original, request.sha1, request.manifest)
        if original is not None:
            return LocatedOriginal(original)
        proven = await trio.to_thread.run_sync(self._local.find_proven, request.sha1, request.manifest)
        if proven is not None:
            return self._located(await self._open_proven(proven), Trust.PROVEN)
        offered = await trio.to_thread.run_sync(self._local.find_offered, request.sha1)
        manifest = request.manifest or (offered.manifest if offered else None)
        size_bytes = offered.size_bytes if offered and request.size_bytes is None else request.size_bytes
        located = await self._locate_elsewhere(FileRequest(request.sha1, manifest, size_bytes), allow_claims)
        located.file.own_word = _CHANGED if offered and manifest == offered.manifest else None
        return located

    async def _locate_elsewhere(self, request: FileRequest, allow_claims: bool) -> LocatedFile:
        if request.manifest is not None:
            return self._located(await self._open_linked(request, request.manifest), Trust.LINKED)
        if proof := proof_by_sha1(request.sha1, request.size_bytes):
            _refuse_falsely_empty(proof)
            file = await self._files.open(proof, Trust.LINKED)
            self._finder.look_for_more(file)
            return self._located(file, Trust.LINKED)
        return self._located(await self._open_claimed(request, allow_claims=allow_claims), Trust.CLAIMED)

    def _located(self, file: OpenFile, trust: Trust) -> LocatedFile:
        return LocatedFile(file, self._engines, trust)

    async def _open_proven(self, proof: Proof) -> OpenFile:
        file = await self._files.open(proof, Trust.PROVEN)
        file.own_word = None
        if not file.stored.is_full():  # parts of it were evicted since
            self._finder.look_for_more(file)
        return file

    # -- linked ------------------------------------------------------------------------------------------------------

    async def _open_linked(self, request: FileRequest, manifest: ManifestDigest) -> OpenFile:
        answers: list[Answer] = []
        proof = await self._proof_of(request, manifest, answers)
        _refuse_falsely_empty(proof)
        file = await self._files.open(proof, Trust.LINKED)
        for answer in answers:
            if answer.has_some:
                enter(file, answer)
        self._finder.look_for_more(file)
        return file

    async def _proof_of(self, request: FileRequest, manifest: ManifestDigest, answers: list[Answer]) -> Proof:
        if not isinstance(manifest, Blake3):
            return decode_legacy_manifest(await self._read_legacy(manifest), manifest, request.sha1)
        root = await trio.to_thread.run_sync(self._local.find_root, manifest)
        if root is None:
            root, found = await self._roots.fetch(request.sha1, manifest)
            answers.extend(found)
        check_root(root, sha1=request.sha1, size_bytes=request.size_bytes)
        return GroupedProof(root)

    # -- claimed -----------------------------------------------------------------------------------------------------

    async def _open_claimed(self, request: FileRequest, *, allow_claims: bool) -> OpenFile:
        if self._require_manifest and not allow_claims:
            raise TrustRefusedError(
                f"sha1 {request.sha1.short}: the name carries no manifest and --require-manifest is set; use its link"
            )
        if recent := self._find_recent(request):
            return recent
        answers = await self._finder.gather(request.sha1, enough=_has_claim)
        claims = [answer for answer in answers if _fits(answer, request)]
        self._hear(request.sha1, answers)
        if not claims:
            raise_missing(request.sha1, answers)
        sizes = Counter(answer.info.size_bytes for answer in claims if answer.info)
        for size_bytes in _provable(request.sha1, sizes, self._limit_bytes):
            file = await self._files.open(WholeProof(request.sha1, size_bytes), Trust.CLAIMED)
            self._enter_claims(file, claims)
            if len(sizes) == 1 or await self._can_be_proven(file):
                return file
        if max(sizes) > self._limit_bytes:
            return await self._open_agreed(request.sha1, claims)
        raise ClaimError(f"sha1 {request.sha1.short}: no claim of its size is true ({_words(claims)})")

    async def _open_agreed(self, sha1: Sha1, claims: list[Answer]) -> OpenFile:
        sizes = {answer.info.size_bytes for answer in claims if answer.info}
        manifests = {answer.info.manifest for answer in claims if answer.info and answer.info.manifest}
        if len(sizes) > 1 or len(manifests) > 1:
            raise ClaimError(f"sha1 {sha1.short}: the peers disagree, use a link with a manifest ({_words(claims)})")
        if not manifests:
            raise ClaimError(
                f"sha1 {sha1.short}: {max(sizes)} bytes are more than whole_file_limit, and nobody names a manifest; "
                f"use a link with ?manifest= ({_words(claims)})"
            )
        request = FileRequest(sha1, manifests.pop(), sizes.pop())
        assert request.manifest is not None
        file = await self._files.open(await self._claimed_proof(request, request.manifest, claims), Trust.CLAIMED)
        file.contested = None  # they all agree now, whatever was said before
        self._enter_claims(file, claims)
        self._recent[sha1] = (file, trio.current_time())
        return file

    async def _claimed_proof(self, request: FileRequest, manifest: ManifestDigest, claims: list[Answer]) -> Proof:
        """Return the proof of a claimed manifest; its root is asked only of those who claim it."""
        if not isinstance(manifest, Blake3):
            return await self._proof_of(request, manifest, [])
        root = await trio.to_thread.run_sync(self._local.find_root, manifest)
        if root is None:
            claimants = [answer.peer for answer in claims if answer.info and answer.info.manifest == manifest]
            root = await self._roots.fetch_from(claimants, request.sha1, manifest)
        check_root(root, sha1=request.sha1, size_bytes=request.size_bytes)
        return GroupedProof(root)

    def forget_recent(self) -> None:
        """Ask for claims again at once: the peers are others now."""
        self._recent.clear()

    def _find_recent(self, request: FileRequest) -> OpenFile | None:
        """Return a large claimed file that was asked for a moment ago: opening follows looking up."""
        now = trio.current_time()
        self._recent = {sha1: (file, at) for sha1, (file, at) in self._recent.items() if now - at < CLAIM_FRESH_S}
        file, _ = self._recent.get(request.sha1, (None, now))
        if file is None or file.retired or file.contested or request.size_bytes not in (None, file.layout.size_bytes):
            return None
        return self._files.find(file.binding)

    def _hear(self, sha1: Sha1, answers: list[Answer]) -> None:
        """Hold what was claimed just now against what is read on earlier claims."""
        for file in self._files:
            if file.proof.sha1 == sha1:
                for answer in answers:
                    hear_claim(file, answer)

    def _enter_claims(self, file: OpenFile, claims: list[Answer]) -> None:
        for answer in claims:
            enter(file, answer)
            is_its_claim = answer.info is not None and answer.info.manifest == file.proof.manifest
            if is_its_claim and answer.peer not in file.claimants:
                file.claimants.append(answer.peer)

    async def _can_be_proven(self, file: OpenFile) -> bool:
        """Fetch a small file whole to find out whether the size that was claimed for it is true."""
        with trio.move_on_after(SETTLE_TIMEOUT_S):
            while file.providers.usable():
                with trio.move_on_after(self._finder.lookup_timeout_s):
                    await self._engines.scheduler.ensure(file, range(file.layout.n_blocks))
                    return True
        return False


def _provable(sha1: Sha1, sizes: Counter[int], limit_bytes: int) -> list[int]:
    """Return the sizes that the SHA-1 alone can prove, most claimed first: an absurd claim can't hide a small file."""
    claimed = [size_bytes for size_bytes, _ in sizes.most_common()]
    return [size for size in claimed if size <= limit_bytes and not is_falsely_empty(sha1, size)]


def _refuse_falsely_empty(proof: Proof) -> None:
    if is_falsely_empty(proof.sha1, proof.layout.size_bytes):
        raise ProofError(f"sha1 {proof.sha1.short}: it is not an empty file's, as its link or folder says")


def _fits(answer: Answer, request: FileRequest) -> bool:
    return answer.info is not None and request.size_bytes in (None, answer.info.size_bytes)


def _has_claim(answers: list[Answer]) -> bool:
    return any(answer.info is not None for answer in answers)


def _words(answers: list[Answer]) -> str:
    return "; ".join(answer.word for answer in answers)
