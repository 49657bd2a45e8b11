"""Copies of files in the static layout (``core/wire.py``) at a target: proven on the way, whole there or not there.

A file's manifest stands before the file itself, so whoever finds the file finds what proves it; and a file whose place
is taken by one of its size was written to its end.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import trio
from blake3 import blake3

from ..core import wire
from ..core.manifest import Root, build
from ..core.model import BLOCK_BYTES, Blake3, ManifestDigest, Sha1
from ..core.request import FileRequest
from ..errors import ProofError

if TYPE_CHECKING:
    from ..mount.engine import Engine, LocatedFile

CHUNK_BYTES = 4 * BLOCK_BYTES


class Upload(Protocol):
    """An object on its way to a target; nothing stands under its name before ``commit``. Blocking."""

    def read_kept(self) -> bytes:
        """Return the next bytes that an earlier try left, at most ``CHUNK_BYTES``; b"" once they are all told."""

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes after those that were kept or written."""

    def restart(self) -> None:
        """Forget all that was kept and written, for the next try, too."""

    def commit(self) -> None:
        """Give it its name, once it is safe on disk."""

    def close(self) -> None:
        """Let go of it; what isn't committed may be kept for the next try."""


class Target(Protocol):
    """Where copies go; paths are relative, with slashes. Blocking; StoreError where it can't be written or read."""

    @property
    def place(self) -> str:
        """What the user calls it."""

    @property
    def public_url(self) -> str | None:
        """The URL that peers would add, where it can be told."""

    def find_size(self, path: str) -> int | None:
        """Return the size of what stands under a name, None for nothing."""

    def put(self, path: str, data: bytes) -> None:
        """Write a small object whole."""

    def start(self, path: str, size_bytes: int) -> Upload:
        """Begin an object, or go on with it; InputError where another process is writing it."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that stands at the target; ``manifest`` is what a link to it should carry, None where none is needed."""

    size_bytes: int
    manifest: ManifestDigest | None
    is_new: bool


class Exporter:
    """Copies files of the engine to a target; any number at once."""

    def __init__(
        self,
        engine: Engine,
        target: Target,
        *,
        on_found: Callable[[int], None],
        on_bytes: Callable[[int], None],
    ) -> None:
        """``on_found`` is told sizes that requests didn't tell; ``on_bytes``, bytes that were copied or need not be."""
        self._engine = engine
        self._target = target
        self._on_found = on_found
        self._on_bytes = on_bytes
        self._locks: defaultdict[Sha1, trio.Lock] = defaultdict(trio.Lock)

    async def export(self, request: FileRequest, *, allow_claims: bool = False) -> Exported:
        """Bring one file and what proves it to the target; KacheryError. ``allow_claims`` as in ``Engine.locate``."""
        if isinstance(request.manifest, Sha1):  # a legacy manifest is a file of its own
            await self.export(FileRequest(request.manifest), allow_claims=True)
        async with self._locks[request.sha1]:  # it may be asked for under two manifests
            return await self._export(request, allow_claims)

    async def _export(self, request: FileRequest, allow_claims: bool) -> Exported:
        if request.size_bytes is not None and await self._is_there(request.sha1, request.size_bytes, request.manifest):
            return self._skipped(request.size_bytes, request.manifest)
        located = await self._engine.locate(request, allow_claims=allow_claims)
        manifest = request.manifest or located.binding.manifest
        if request.size_bytes is None:
            self._on_found(located.size_bytes)
            if await self._is_there(request.sha1, located.size_bytes, manifest):
                return self._skipped(located.size_bytes, manifest)
        return await self._copy(located, FileRequest(request.sha1, request.manifest, located.size_bytes))

    async def _is_there(self, sha1: Sha1, size_bytes: int, manifest: ManifestDigest | None) -> bool:
        return await trio.to_thread.run_sync(self._has, sha1, size_bytes, manifest, abandon_on_cancel=True)

    def _has(self, sha1: Sha1, size_bytes: int, manifest: ManifestDigest | None) -> bool:
        if self._target.find_size(_place_of(sha1)) != size_bytes:
            return False
        return not isinstance(manifest, Blake3) or self._target.find_size(_place_of(manifest)) is not None

    def _skipped(self, size_bytes: int, manifest: ManifestDigest | None) -> Exported:
        self._on_bytes(size_bytes)
        return Exported(size_bytes, manifest, is_new=False)

    async def _copy(self, located: LocatedFile, request: FileRequest) -> Exported:
        size_bytes = located.size_bytes
        upload = await trio.to_thread.run_sync(self._target.start, _place_of(request.sha1), size_bytes)
        try:
            made = await self._write(located, upload)
            if made.sha1 != request.sha1 and made.n_kept:  # what an earlier try left is wrong
                await trio.to_thread.run_sync(upload.restart)
                self._on_bytes(-size_bytes)
                made = await self._write(located, upload)
            manifest = await trio.to_thread.run_sync(self._finish, upload, made, request)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(upload.close)
        return Exported(size_bytes, manifest, is_new=True)

    async def _write(self, located: LocatedFile, upload: Upload) -> _Made:
        made = _Made()
        while kept := await trio.to_thread.run_sync(upload.read_kept):
            await trio.to_thread.run_sync(made.add, kept)
            self._on_bytes(len(kept))
        made.n_kept = made.n_bytes
        reader = located.open()
        try:
            for offset in range(made.n_kept, located.size_bytes, CHUNK_BYTES):
                # The engine fetches ahead of this reader, so the line is busy while this chunk is hashed and written.
                data = bytes(await reader.read(offset, CHUNK_BYTES))
                await trio.to_thread.run_sync(_add, upload, made, data)
                self._on_bytes(len(data))
        finally:
            reader.close()
        return made

    def _finish(self, upload: Upload, made: _Made, request: FileRequest) -> ManifestDigest | None:
        """Write what proves the file, then give the file its name; ProofError where it isn't what was asked for."""
        if made.sha1 != request.sha1:
            upload.restart()
            raise ProofError(f"sha1 {request.sha1.short}: what came has SHA-1 {made.sha1.short}; try other peers")
        root, groups = made.build()
        if isinstance(request.manifest, Blake3) and request.manifest != root.digest:
            raise ProofError(f"sha1 {request.sha1.short}: the manifest {request.manifest.short} is another file's")
        is_needed = len(made.digests) > 1 or request.manifest == root.digest
        if is_needed:
            for data in (*groups, root.encode()):  # the root last: where it stands, its groups do
                self._put_part(Blake3.of(data), data)
        upload.commit()
        return request.manifest or (root.digest if is_needed else None)

    def _put_part(self, digest: Blake3, data: bytes) -> None:
        if self._target.find_size(_place_of(digest)) != len(data):
            self._target.put(_place_of(digest), data)


class _Made:
    """What the bytes so far amount to: the file's SHA-1, and a BLAKE3 a block (32 MB of memory for 256 GB)."""

    def __init__(self) -> None:
        self.n_bytes = 0
        self.n_kept = 0
        self.digests: list[bytes] = []
        self._sha1 = hashlib.sha1()

    def add(self, data: bytes) -> None:
        """Take the next bytes: whole blocks, but for the file's last."""
        assert self.n_bytes % BLOCK_BYTES == 0
        self._sha1.update(data)
        view = memoryview(data)
        self.digests += [blake3(view[i : i + BLOCK_BYTES]).digest() for i in range(0, len(view), BLOCK_BYTES)]
        self.n_bytes += len(data)

    @property
    def sha1(self) -> Sha1:
        return Sha1(self._sha1.digest())

    def build(self) -> tuple[Root, list[bytes]]:
        return build(self.n_bytes, self.sha1, self.digests)


def _add(upload: Upload, made: _Made, data: bytes) -> None:
    made.add(data)
    upload.write(data)


def _place_of(digest: Sha1 | Blake3) -> str:
    path = wire.static_sha1_path(digest) if isinstance(digest, Sha1) else wire.manifest_path(digest)
    return path.lstrip("/")
