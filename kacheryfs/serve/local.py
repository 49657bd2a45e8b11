"""A Source out of this machine's catalog and store; nothing else can be reached through it."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from ..core.model import BLOCK_BYTES, Binding, Blake3, BlockRange, ByteRange, Layout, Sha1
from ..core.wire import FileInfo, group_blocks
from ..errors import ChangedError, NotFoundError, ProofError
from .source import Readable


class OpenOriginal(Protocol):
    """A shared file, opened beneath its root; ``check`` compares its identity."""

    @property
    def fd(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    def check(self) -> None: ...
    def close(self) -> None: ...


class Originals(Protocol):
    """What the catalog gives."""

    def find_salted(self, salted: Sha1) -> bool: ...
    def file_info(self, sha1: Sha1) -> FileInfo | None: ...
    def open_original(self, sha1: Sha1) -> OpenOriginal: ...
    def find_manifest_part(self, digest: Blake3) -> bytes | None: ...


class Sender(Protocol):
    """A descriptor of a stored file, on which bytes are kept from being evicted."""

    fd: int

    def holding(self, span: ByteRange) -> AbstractContextManager[None]: ...
    def check_current(self) -> None: ...
    def close(self) -> None: ...


class Stored(Protocol):
    """A file of the store, whole or in part."""

    layout: Layout

    def open_sender(self) -> Sender: ...
    def is_present(self, block: int) -> bool: ...
    def is_wanted(self, block: int) -> bool: ...
    def note_use(self, blocks: BlockRange) -> None: ...
    def is_checked(self, block: int) -> bool: ...
    def check(self, block: int) -> bool: ...
    def close(self) -> None: ...


class Blocks(Protocol):
    """What the store gives."""

    def find_salted(self, salted: Sha1) -> bool: ...
    def complete_info(self, sha1: Sha1) -> FileInfo | None: ...
    def open_complete(self, sha1: Sha1) -> int: ...
    def find_partial(self, binding: Binding) -> Stored | None: ...
    def find_manifest_part(self, digest: Blake3) -> bytes | None: ...


class SharedOriginal:
    """A user's own file: whole, as long as it is the file that was hashed."""

    def __init__(self, original: OpenOriginal) -> None:
        self._original = original
        self.fd = original.fd
        self.size_bytes = original.size_bytes

    def find_missing(self, span: ByteRange) -> int | None:
        return None

    def is_coming(self, span: ByteRange) -> bool:
        return True

    def hold(self, span: ByteRange) -> AbstractContextManager[None]:
        return nullcontext()

    def check(self, span: ByteRange) -> None:
        self._original.check()

    def close(self) -> None:
        self._original.close()


class StoredBlocks:
    """A file of the store: every block is verified before it is sent, once while anybody here has the file open."""

    def __init__(self, stored: Stored, sha1: Sha1) -> None:
        self._stored = stored
        self._sha1 = sha1
        self._sender: Sender | None = None  # opened late: where all is on its way, there may be nothing to open yet
        self.size_bytes = stored.layout.size_bytes

    @property
    def fd(self) -> int:
        return self._open().fd

    def find_missing(self, span: ByteRange) -> int | None:
        layout = self._stored.layout
        for block in layout.blocks_of(span):
            if not self._stored.is_present(block):
                return max(block * layout.block_bytes, span.start)
        return None

    def is_coming(self, span: ByteRange) -> bool:
        stored = self._stored
        return all(stored.is_present(block) or stored.is_wanted(block) for block in stored.layout.blocks_of(span))

    def hold(self, span: ByteRange) -> AbstractContextManager[None]:
        if not span:
            return nullcontext()
        self._stored.note_use(self._stored.layout.blocks_of(span))  # what peers read is in use like what is read here
        return self._open().holding(span)

    def _open(self) -> Sender:
        if self._sender is None:
            self._sender = self._stored.open_sender()
        return self._sender

    def check(self, span: ByteRange) -> None:
        for block in self._stored.layout.blocks_of(span):
            if not self._stored.is_checked(block) and not self._stored.check(block):
                raise ProofError(f"sha1 {self._sha1.short}, block {block}: absent, or damaged on this disk")
        if self._sender is not None:  # the blocks that were checked shall be those of the file that is sent from
            self._sender.check_current()

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close()
        self._stored.close()


class ProvenFile:
    """A proven file that is longer than a block and has no manifest here, such as an object of a kachery storage.

    By the SHA-1 of the whole no part of it can be checked; it was right when it was proven, and the asker holds it
    against the same SHA-1. ``open_complete`` has locked all its bytes: nothing of it is evicted until it is closed.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.size_bytes = os.fstat(fd).st_size

    def find_missing(self, span: ByteRange) -> int | None:
        return None

    def is_coming(self, span: ByteRange) -> bool:
        return True

    def hold(self, span: ByteRange) -> AbstractContextManager[None]:
        return nullcontext()

    def check(self, span: ByteRange) -> None:
        """Nothing more can be told."""

    def close(self) -> None:
        os.close(self.fd)


class LocalSource:
    """Answers from the catalog first (originals in place), then from the store; thread-safe, blocking."""

    def __init__(self, catalog: Originals, store: Blocks) -> None:
        self._catalog = catalog
        self._store = store

    def find_salted(self, salted: Sha1) -> bool:
        return self._catalog.find_salted(salted) or self._store.find_salted(salted)

    def file_info(self, sha1: Sha1) -> FileInfo | None:
        return self._catalog.file_info(sha1) or self._store.complete_info(sha1)

    def find_manifest_part(self, digest: Blake3) -> bytes | None:
        return self._catalog.find_manifest_part(digest) or self._store.find_manifest_part(digest)

    def presence(self, binding: Binding, group: int) -> list[bool] | None:
        """A file that is whole here has all blocks of its own manifest's groups."""
        stored = self._store.find_partial(binding)
        if stored is not None:
            try:
                return [stored.is_present(block) for block in group_blocks(stored.layout, group)] or None
            finally:
                stored.close()
        info = self.file_info(binding.sha1)
        if info is None or info.manifest != binding.manifest:
            return None
        return [True] * len(group_blocks(Layout(info.size_bytes), group)) or None

    def open_file(self, sha1: Sha1) -> Readable | None:
        """Open an original, else a proven file; ChangedError where only changed originals are left."""
        try:
            return SharedOriginal(self._catalog.open_original(sha1))
        except NotFoundError:
            return self._open_proven(sha1)
        except ChangedError:
            proven = self._open_proven(sha1)
            if proven is None:
                raise
            return proven

    def open_partial(self, binding: Binding) -> Readable | None:
        """Open what the store has under ``binding``, else the whole file if that is its manifest."""
        stored = self._store.find_partial(binding)
        if stored is not None:
            return StoredBlocks(stored, binding.sha1)
        info = self.file_info(binding.sha1)
        return None if info is None or info.manifest != binding.manifest else self.open_file(binding.sha1)

    def _open_proven(self, sha1: Sha1) -> Readable | None:
        info = self._store.complete_info(sha1)
        if info is None:
            return None
        is_one_block = info.size_bytes <= BLOCK_BYTES
        if is_one_block or info.manifest is not None:
            manifest = None if is_one_block else info.manifest
            stored = self._store.find_partial(Binding(sha1, manifest, None if manifest else info.size_bytes))
            if stored is not None or is_one_block:
                return None if stored is None else StoredBlocks(stored, sha1)
        try:
            return ProvenFile(self._store.open_complete(sha1))
        except NotFoundError:  # evicted or demoted since it was looked up
            return None
