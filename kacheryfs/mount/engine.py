"""What the mount needs of the engine and of the app: Protocols and the values that cross them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from ..core.model import Binding, ManifestDigest, Sha1
from ..core.request import FileRequest, Trust
from ..core.tree import Tree


class FileReader(Protocol):
    """An open file."""

    def read_now(self, offset: int, n_bytes: int) -> memoryview | None:
        """Return what ``read`` would, where nothing has to be waited for; None where it has. KacheryError."""

    async def read(self, offset: int, n_bytes: int) -> bytes | memoryview:
        """Return exactly the bytes asked for, fewer only at the end of the file.

        What is returned may be a buffer of the reader's own: it is valid until the caller's next await.
        """

    def close(self) -> None: ...


class LocatedFile(Protocol):
    """A file whose size, trust and binding are known."""

    @property
    def size_bytes(self) -> int: ...

    @property
    def trust(self) -> Trust: ...

    @property
    def binding(self) -> Binding: ...

    def open(self) -> FileReader: ...

    def present_bytes(self) -> int: ...


class Engine(Protocol):
    """What finds and fetches; raises KacheryError with the errno that the caller of the kernel gets."""

    async def locate(self, request: FileRequest, *, allow_claims: bool = False) -> LocatedFile:
        """Return the file; ``allow_claims`` although manifests are required, for what is proven whole before use."""

    async def get_tree(self, sha1: Sha1) -> Tree: ...


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file of which this machine has a proven copy, an original, or a part."""

    sha1: Sha1
    size_bytes: int
    manifest: ManifestDigest | None
    trust: Trust


@dataclass(frozen=True, slots=True)
class KnownTree:
    """A directory that this machine shares."""

    sha1: Sha1


Known = Callable[[], Iterable[KnownFile | KnownTree]]
"""Tells what this machine knows; may block (it is called in a thread)."""

FindPresent = Callable[[FileRequest], int]
"""Tells how many bytes of a file are in the store, asking nobody; may block (it is called in a thread)."""
