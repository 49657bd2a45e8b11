"""What the server answers from, whatever it is kept in."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from ..core.model import Binding, Blake3, ByteRange, Sha1
from ..core.wire import FileInfo


class Readable(Protocol):
    """An open file whose bytes may be sent from ``fd`` while they are held, and ``check`` says so; one thread's."""

    @property
    def fd(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...

    def find_missing(self, span: ByteRange) -> int | None:
        """Return where the first bytes of ``span`` that aren't here begin, None where all are; cheap."""

    def is_coming(self, span: ByteRange) -> bool:
        """Tell whether what is missing of ``span`` is being fetched here; cheap."""

    def hold(self, span: ByteRange) -> AbstractContextManager[None]:
        """Keep bytes that are here where they are while they are read or sent: no hole comes under them.

        StoreError where that can't be. Blocking.
        """

    def check(self, span: ByteRange) -> None:
        """Return if the bytes of ``span`` are still those that were promised, else ChangedError or ProofError.

        Called before and after they are read, and holding them. Blocking.
        """

    def close(self) -> None: ...


class Source(Protocol):
    """What the server answers from; thread-safe, blocking."""

    def find_salted(self, salted: Sha1) -> bool: ...

    def file_info(self, sha1: Sha1) -> FileInfo | None: ...

    def presence(self, binding: Binding, group: int) -> list[bool] | None:
        """Return what is here of a group's blocks; None: nothing under this binding, or no such group."""

    def open_file(self, sha1: Sha1) -> Readable | None:
        """Open a whole file; ChangedError where only changed originals are left."""

    def open_partial(self, binding: Binding) -> Readable | None: ...

    def find_manifest_part(self, digest: Blake3) -> bytes | None: ...
