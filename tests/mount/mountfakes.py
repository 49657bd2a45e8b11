"""An engine in memory, and a small world that tests and the processes that they mount in agree on."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import trio

from kacheryfs.core.model import BLOCK_BYTES, Binding, Blake3, ManifestDigest, Sha1
from kacheryfs.core.request import FileRequest, Trust
from kacheryfs.core.tree import FileEntry, Tree
from kacheryfs.errors import CancelledError, KacheryError, NotFoundError, TimedOutError, UnreachableError
from kacheryfs.mount.attributes import Absent, Attributes
from kacheryfs.mount.engine import KnownFile, KnownTree
from kacheryfs.mount.inodes import ROOT
from kacheryfs.mount.names import decode_name, encode_name
from kacheryfs.mount.vfs import Opened, Vfs

Asked = FileRequest | Sha1


@dataclass
class FakeFile:
    """What the fake engine has of one file; locating and reading it can be made to fail or to wait."""

    data: bytes
    trust: Trust = Trust.LINKED
    manifest: ManifestDigest | None = None
    present_bytes: int = 0
    sha1: Sha1 | None = None
    failure: Exception | None = None
    """Raised by every read."""
    gate: trio.Event | None = None
    """Every read waits for it."""
    max_read_bytes: int | None = None
    """A fault: reads come back short."""

    @property
    def digest(self) -> Sha1:
        return self.sha1 or Sha1.of(self.data)

    @property
    def binding(self) -> Binding:
        return Binding(self.digest, self.manifest, None if self.manifest else len(self.data))


class FakeReader:
    def __init__(self, file: FakeFile) -> None:
        self._file = file
        self.is_closed = False
        self.n_reads = 0
        self.at_hand = range(0)

    def read_now(self, offset: int, n_bytes: int) -> memoryview | None:
        is_at_hand = self.at_hand.start <= offset and offset + n_bytes <= self.at_hand.stop
        return memoryview(self._file.data)[offset : offset + n_bytes] if is_at_hand else None

    async def read(self, offset: int, n_bytes: int) -> bytes | memoryview:
        assert not self.is_closed
        self.n_reads += 1
        if self._file.gate is not None:
            await self._file.gate.wait()
        if self._file.failure is not None:
            raise self._file.failure
        return memoryview(self._file.data)[offset : offset + n_bytes][: self._file.max_read_bytes]

    def close(self) -> None:
        self.is_closed = True


@dataclass
class FakeLocated:
    file: FakeFile
    readers: list[FakeReader]

    @property
    def size_bytes(self) -> int:
        return len(self.file.data)

    @property
    def trust(self) -> Trust:
        return self.file.trust

    @property
    def binding(self) -> Binding:
        return self.file.binding

    def open(self) -> FakeReader:
        self.readers.append(FakeReader(self.file))
        return self.readers[-1]

    def present_bytes(self) -> int:
        return self.file.present_bytes


@dataclass
class FakeEngine:
    """Files by SHA-1; ``asked`` records what reached it."""

    files: dict[Sha1, FakeFile] = field(default_factory=dict)
    trees: dict[Sha1, Tree] = field(default_factory=dict)
    failures: dict[Sha1, KacheryError] = field(default_factory=dict)
    gates: dict[Sha1, trio.Event] = field(default_factory=dict)
    """What asking waits for."""
    asked: list[Asked] = field(default_factory=list)
    readers: list[FakeReader] = field(default_factory=list)

    def add(self, file: FakeFile) -> FakeFile:
        self.files[file.digest] = file
        return file

    async def locate(self, request: FileRequest, *, allow_claims: bool = False) -> FakeLocated:
        self.asked.append(request)
        await self._check(request.sha1)
        if request.sha1 not in self.files:
            raise NotFoundError(f"sha1 {request.sha1.short}: every peer answered, none has it")
        return FakeLocated(self.files[request.sha1], self.readers)

    async def get_tree(self, sha1: Sha1) -> Tree:
        self.asked.append(sha1)
        await self._check(sha1)
        if sha1 not in self.trees:
            raise NotFoundError(f"sha1 {sha1.short}: every peer answered, none has it")
        return self.trees[sha1]

    async def _check(self, sha1: Sha1) -> None:
        await trio.lowlevel.checkpoint()
        if sha1 in self.gates:
            await self.gates[sha1].wait()
        if sha1 in self.failures:
            raise self.failures[sha1]

    def find_present(self, request: FileRequest) -> int:
        file = self.files.get(request.sha1)
        return file.present_bytes if file else 0


def bytes_of(seed: int, n_bytes: int) -> bytes:
    return random.Random(seed).randbytes(n_bytes)


def digest_of(text: str) -> Sha1:
    return Sha1.of(text.encode())


def manifest_of(data: bytes) -> Blake3:
    """Return something that can pass for the manifest of ``data``."""
    return Blake3.of(b"manifest of " + data)


def entry_of(data: bytes) -> FileEntry:
    return FileEntry(len(data), Sha1.of(data), manifest_of(data) if len(data) > BLOCK_BYTES else None)


ODD_NAMES = (
    "with space.dat",
    "100%.dat",
    "percent%20encoded.dat",
    "question?.dat",
    "fr?manifest=1.dat",
    "grüße-日本語.dat",
    b"invalid-\xff\xfe.dat".decode("utf-8", "surrogateescape"),
    ".zattrs",
    "new\nline",
    "n" * 255,
)


class World:
    """The files and trees that a mount of the kernel tests shows."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.large = self._file(bytes_of(1, 5_000_000))
        self.small = self._file(b"a small file\n")
        self.claimed = self._file(bytes_of(2, 300_000), Trust.CLAIMED)
        self.broken = self._file(bytes_of(3, 1_000_000), failure=TimedOutError("sha1: no peer could serve it"))
        self.stuck = self.engine.add(
            FakeFile(
                bytes(400_000_000), Trust.LINKED, manifest_of(b"stuck"), sha1=digest_of("stuck"), gate=trio.Event()
            )
        )
        self.faulty = self._file(bytes_of(6, 1_000_000), failure=ZeroDivisionError("a fault of ours"))
        self.unreachable = digest_of("unreachable")
        self.slow_to_find = digest_of("slow to find")
        self.engine.gates[self.slow_to_find] = trio.Event()
        self.engine.failures[self.unreachable] = UnreachableError("sha1: some peer did not answer")
        self.cancelled = self._file(bytes_of(5, 1_000_000), failure=CancelledError("sha1: the read was cancelled"))
        self.tree = Tree(
            {"sub": Tree({}, {"inner.dat": entry_of(self.large.data)}), "empty folder": Tree({}, {})},
            {"small.txt": entry_of(self.small.data), "empty": entry_of(b""), **self._odd_files()},
        )
        self.tree_sha1 = self._tree("tree", self.tree)
        names = [f"entry-{i:05d}.dat" for i in range(10_000)]
        self.wide_sha1 = self._tree("wide", Tree({}, {name: entry_of(name.encode()) for name in names}))

    def add(self, data: bytes) -> FakeFile:
        """Add a file that is found by its digest."""
        return self._file(data)

    def _file(self, data: bytes, trust: Trust = Trust.LINKED, **more: object) -> FakeFile:
        manifest = manifest_of(data) if len(data) > BLOCK_BYTES else None
        return self.engine.add(FakeFile(data, trust, manifest, **more))  # type: ignore[arg-type]

    def _odd_files(self) -> Mapping[str, FileEntry]:
        files = {name: f"content of {i}".encode() for i, name in enumerate(ODD_NAMES)}
        for data in files.values():
            self._file(data)
        return {name: entry_of(data) for name, data in files.items()}

    def _tree(self, name: str, tree: Tree) -> Sha1:
        self.engine.trees[digest_of(name)] = tree
        return digest_of(name)


class Shown:
    """A Vfs over a world, walked by paths as the kernel walks it."""

    def __init__(self, world: World, **settings: object) -> None:
        self.world = world
        self.engine = world.engine
        self.known: list[KnownFile | KnownTree] = []
        self.vfs = Vfs(
            world.engine,
            known=lambda: self.known,
            find_present=world.engine.find_present,
            whole_file_limit_bytes=200_000,
            **settings,  # type: ignore[arg-type]
        )

    async def find(self, path: str) -> Attributes | Absent:
        """Look a path up, component by component; the first Absent ends it."""
        found: Attributes | Absent = self.vfs.get_attributes(ROOT)
        for name in path.split("/"):
            assert isinstance(found, Attributes)
            found = await self.vfs.lookup(found.inode, encode_name(name))
            if isinstance(found, Absent):
                break
        return found

    async def get(self, path: str) -> Attributes:
        found = await self.find(path)
        assert isinstance(found, Attributes), f"{path} is absent"
        return found

    async def is_absent(self, path: str) -> bool:
        return isinstance(await self.find(path), Absent)

    async def list(self, path: str = "") -> dict[str, Attributes]:
        """List a directory as one readdir that takes all."""
        inode = (await self.get(path)).inode if path else ROOT
        handle = await self.vfs.open_directory(inode)
        entries = list(self.vfs.entries(handle, 0))
        for entry in entries:
            self.vfs.count_listed(entry.attributes.inode)
        self.vfs.close_directory(handle)
        return {decode_name(entry.name): entry.attributes for entry in entries}

    async def open(self, path: str) -> Opened:
        return await self.vfs.open((await self.get(path)).inode)

    async def read(self, path: str, offset: int = 0, n_bytes: int = 1 << 30) -> bytes:
        opened = await self.open(path)
        try:
            return bytes(await self.vfs.read(opened.handle, offset, n_bytes))
        finally:
            self.vfs.close(opened.handle)

    async def xattr(self, path: str, name: str) -> str:
        return (await self.vfs.get_xattr((await self.get(path)).inode, f"user.kacheryfs.{name}")).decode()
