"""An in-memory peer, and wrappers that make any peer slow, flaky, lying or breaking off: one concern each."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace

import trio
from blake3 import blake3

from kacheryfs.core.manifest import GROUP_BLOCKS, Root, build
from kacheryfs.core.model import BLOCK_BYTES, Binding, Blake3, ByteRange, Layout, Sha1
from kacheryfs.core.wire import FileInfo
from kacheryfs.errors import PeerLacksError, PeerLiedError, PeerRefusedError, PeerUnreachableError
from kacheryfs.peers.peer import Peer, RangeStream, WhenFull
from kacheryfs.peers.stats import PeerStats


@dataclass(frozen=True, slots=True)
class FakeFile:
    """A file's bytes together with everything that names and proves them."""

    data: bytes
    sha1: Sha1
    root: Root | None
    groups: tuple[bytes, ...]

    @classmethod
    def of(cls, data: bytes) -> FakeFile:
        sha1 = Sha1(hashlib.sha1(data).digest())
        if len(data) <= BLOCK_BYTES:
            return cls(data, sha1, None, ())
        blocks = (data[i : i + BLOCK_BYTES] for i in range(0, len(data), BLOCK_BYTES))
        root, groups = build(len(data), sha1, (blake3(block).digest() for block in blocks))
        return cls(data, sha1, root, tuple(groups))

    @property
    def binding(self) -> Binding:
        if self.root is None:
            return Binding(self.sha1, None, len(self.data))
        return Binding(self.sha1, self.root.digest)

    @property
    def layout(self) -> Layout:
        return Layout(len(self.data))

    @property
    def info(self) -> FileInfo:
        return FileInfo(len(self.data), self.binding.manifest)

    @property
    def parts(self) -> dict[Blake3, bytes]:
        """The root and the groups, by their digests."""
        if self.root is None:
            return {}
        return {self.root.digest: self.root.encode()} | dict(zip(self.root.groups, self.groups, strict=True))


@dataclass(slots=True)
class FakePeer:
    """A peer that has some files whole and some in part, and answers at once.

    ``is_static``: like a plain web server, it knows no manifest by itself and no presence. ``requests`` tells what it
    was asked, in order.
    """

    whole: Sequence[FakeFile] = ()
    partial: Sequence[tuple[FakeFile, Iterable[int]]] = ()
    url: str = "fake://peer"
    is_static: bool = False
    stats: PeerStats = field(default_factory=PeerStats)
    requests: list[tuple[str, object]] = field(default_factory=list)
    is_known: bool = False
    is_closed: bool = False
    files: dict[Sha1, FakeFile] = field(default_factory=dict)
    blocks: dict[Binding, tuple[FakeFile, set[int]]] = field(default_factory=dict)
    parts: dict[Blake3, bytes] = field(default_factory=dict)
    peer_id: bytes | None = None
    wanted: dict[Binding, set[int]] = field(default_factory=dict)
    """Missing blocks that are on their way to it: who asks with ``wait_s`` waits until they are all added."""

    def __post_init__(self) -> None:
        for file in self.whole:
            self.add(file)
        for file, blocks in self.partial:
            self.add_blocks(file, blocks)

    def add(self, file: FakeFile) -> None:
        self.files[file.sha1] = file
        self.add_blocks(file, range(file.layout.n_blocks))

    def add_blocks(self, file: FakeFile, blocks: Iterable[int]) -> None:
        self.blocks.setdefault(file.binding, (file, set()))[1].update(blocks)
        self.parts |= file.parts

    def forget(self, file: FakeFile) -> None:
        self.files.pop(file.sha1, None)
        self.blocks.pop(file.binding, None)

    def refuse_closed(self) -> None:
        if self.is_closed:
            raise PeerUnreachableError(f"{self.url}: closed on this side")

    async def connect(self) -> None:
        if not self.is_known:
            await self._note("connect", None)
            self.is_known = True
        await trio.lowlevel.checkpoint()

    async def warm(self) -> None:
        await trio.lowlevel.checkpoint()

    async def have(self, sha1s: Sequence[Sha1]) -> list[bool]:
        await self._note("have", tuple(sha1s))
        partly = set() if self.is_static else {binding.sha1 for binding, (_, blocks) in self.blocks.items() if blocks}
        return [sha1 in self.files or sha1 in partly for sha1 in sha1s]

    async def describe(self, sha1: Sha1) -> FileInfo:
        await self._note("describe", sha1)
        if sha1 not in self.files:
            raise PeerLacksError(f"{self.url}: it does not have sha1 {sha1.short}")
        info = self.files[sha1].info
        return FileInfo(info.size_bytes, None) if self.is_static else info

    async def presence(self, binding: Binding, group: int, n_blocks: int) -> list[bool]:
        await self._note("presence", (binding, group))
        if self.is_static or binding.manifest is None or binding not in self.blocks:
            raise PeerLacksError(f"{self.url}: it has nothing of sha1 {binding.sha1.short} under that manifest")
        present = self.blocks[binding][1]
        return [group * GROUP_BLOCKS + i in present for i in range(n_blocks)]

    async def get_manifest_part(self, digest: Blake3, max_bytes: int) -> bytes:
        await self._note("manifest", digest)
        if digest not in self.parts:
            raise PeerLacksError(f"{self.url}: it does not have manifest {digest.short}")
        if len(self.parts[digest]) > max_bytes:
            raise PeerLiedError(f"{self.url}: its answer is over the limit of {max_bytes} bytes")
        return self.parts[digest]

    @asynccontextmanager
    async def open_range(
        self, binding: Binding, span: ByteRange, *, is_partial: bool, size_bytes: int, wait_s: float = 0.0
    ) -> AsyncIterator[RangeStream]:
        await self._note("partial range" if is_partial else "range", (binding, span))
        if is_partial and wait_s:
            await self._wait_for(binding, span, wait_s)
        file = self._find_partial(binding, span) if is_partial else self.files.get(binding.sha1)
        if file is None:
            raise PeerLacksError(f"{self.url}: it does not have that of sha1 {binding.sha1.short}")
        if len(file.data) != size_bytes:
            raise PeerLiedError(f"{self.url}: its file has {len(file.data)} bytes, not {size_bytes}")
        self.stats.n_open_connections += 1
        try:
            yield _FakeStream(self, memoryview(file.data)[span.start : span.stop])
        finally:
            self.stats.n_open_connections -= 1

    async def aclose(self) -> None:
        self.is_closed = True

    async def _wait_for(self, binding: Binding, span: ByteRange, wait_s: float) -> None:
        with trio.move_on_after(wait_s):
            while self._missing(binding, span) and self._missing(binding, span) <= self.wanted.get(binding, set()):
                await trio.sleep(0.01)

    def _missing(self, binding: Binding, span: ByteRange) -> set[int]:
        file, present = self.blocks.get(binding, (None, set[int]()))
        return set(file.layout.blocks_of(span)) - present if file else set()

    def _find_partial(self, binding: Binding, span: ByteRange) -> FakeFile | None:
        file, present = self.blocks.get(binding, (None, set[int]()))
        return file if binding.manifest and file and present.issuperset(file.layout.blocks_of(span)) else None

    async def _note(self, what: str, subject: object) -> None:
        await trio.lowlevel.checkpoint()
        self.refuse_closed()
        self.requests.append((what, subject))
        self.stats.n_requests += 1
        self.stats.note_round_trip(0.001, trio.current_time())


@dataclass(slots=True)
class _FakeStream:
    peer: FakePeer
    rest: memoryview

    async def receive_into(self, buffer: memoryview, when_full: WhenFull | None = None) -> int:
        await trio.lowlevel.checkpoint()
        self.peer.refuse_closed()
        n_bytes = min(len(buffer), len(self.rest))
        buffer[:n_bytes] = self.rest[:n_bytes]
        self.rest = self.rest[n_bytes:]
        self.peer.stats.bytes_received += n_bytes
        return n_bytes


@dataclass(slots=True)
class Wrapper:
    """A peer around a peer: before each request it calls ``before``, and it may wrap streams and answers."""

    peer: Peer

    @property
    def url(self) -> str:
        return self.peer.url

    @property
    def stats(self) -> PeerStats:
        return self.peer.stats

    @property
    def peer_id(self) -> bytes | None:
        return self.peer.peer_id

    async def before(self) -> None:
        """Do what this wrapper does to a request."""

    def wrap(self, stream: RangeStream) -> RangeStream:
        return stream

    async def connect(self) -> None:
        await self.before()
        await self.peer.connect()

    async def warm(self) -> None:
        await self.peer.warm()

    async def have(self, sha1s: Sequence[Sha1]) -> list[bool]:
        await self.before()
        return await self.peer.have(sha1s)

    async def describe(self, sha1: Sha1) -> FileInfo:
        await self.before()
        return await self.peer.describe(sha1)

    async def presence(self, binding: Binding, group: int, n_blocks: int) -> list[bool]:
        await self.before()
        return await self.peer.presence(binding, group, n_blocks)

    async def get_manifest_part(self, digest: Blake3, max_bytes: int) -> bytes:
        await self.before()
        return await self.peer.get_manifest_part(digest, max_bytes)

    def open_range(
        self, binding: Binding, span: ByteRange, *, is_partial: bool, size_bytes: int, wait_s: float = 0.0
    ) -> AbstractAsyncContextManager[RangeStream]:
        return self._open(binding, span, is_partial, size_bytes, wait_s)

    @asynccontextmanager
    async def _open(
        self, binding: Binding, span: ByteRange, is_partial: bool, size_bytes: int, wait_s: float
    ) -> AsyncIterator[RangeStream]:
        await self.before()
        async with self.peer.open_range(
            binding, span, is_partial=is_partial, size_bytes=size_bytes, wait_s=wait_s
        ) as stream:
            yield self.wrap(stream)

    async def aclose(self) -> None:
        await self.peer.aclose()


@dataclass(slots=True)
class Slow(Wrapper):
    """Every request takes ``latency_s`` more, and a body comes at ``rate_bytes_per_s`` (None: at once)."""

    latency_s: float = 0.02
    rate_bytes_per_s: float | None = None

    async def before(self) -> None:
        await trio.sleep(self.latency_s)

    def wrap(self, stream: RangeStream) -> RangeStream:
        return stream if self.rate_bytes_per_s is None else _SlowStream(stream, self.rate_bytes_per_s)


@dataclass(slots=True)
class _SlowStream:
    stream: RangeStream
    rate_bytes_per_s: float

    async def receive_into(self, buffer: memoryview, when_full: WhenFull | None = None) -> int:
        n_bytes = await self.stream.receive_into(buffer[: 64 * 1024])
        await trio.sleep(n_bytes / self.rate_bytes_per_s)
        return n_bytes


@dataclass(slots=True)
class Capped(Wrapper):
    """All bodies share a line of ``rate_bytes_per_s``, which may be changed at any moment; 0.0: nothing comes."""

    latency_s: float = 0.02
    rate_bytes_per_s: float = 25e6
    sent_bytes: int = 0
    _line: trio.Lock = field(default_factory=trio.Lock)

    async def before(self) -> None:
        await trio.sleep(self.latency_s)

    def wrap(self, stream: RangeStream) -> RangeStream:
        return _CappedStream(stream, self)

    async def carry(self, n_bytes: int) -> None:
        async with self._line:  # in the order of asking: connections share a line about evenly
            while not self.rate_bytes_per_s:
                await trio.sleep(0.1)
            await trio.sleep(n_bytes / self.rate_bytes_per_s)
        self.sent_bytes += n_bytes


@dataclass(slots=True)
class _CappedStream:
    stream: RangeStream
    peer: Capped

    async def receive_into(self, buffer: memoryview, when_full: WhenFull | None = None) -> int:
        n_bytes = await self.stream.receive_into(buffer[: 64 * 1024])
        await self.peer.carry(n_bytes)
        return n_bytes


@dataclass(slots=True)
class Hanging(Wrapper):
    """Requests wait for ever while ``is_hanging``; ``resume`` lets them all go on."""

    is_hanging: bool = True
    _gate: trio.Event = field(default_factory=trio.Event)

    async def before(self) -> None:
        if self.is_hanging:
            await self._gate.wait()

    def resume(self) -> None:
        self.is_hanging = False
        self._gate.set()


@dataclass(slots=True)
class Flaky(Wrapper):
    """Requests fail while ``is_failing`` or while ``n_failures`` are left, with ``error``."""

    n_failures: int = 0
    is_failing: bool = False
    error: Callable[[str], Exception] = PeerUnreachableError

    async def before(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_failing or self.n_failures > 0:
            self.n_failures -= 1
            self.peer.stats.note_error("flaky", trio.current_time())
            raise self.error(f"{self.url}: flaky")


@dataclass(slots=True)
class Refusing(Flaky):
    """Like Flaky, but the peer answers: no."""

    error: Callable[[str], Exception] = PeerRefusedError


@dataclass(slots=True)
class Dropping(Wrapper):
    """Bodies break off after ``n_bytes``; ``n_drops`` of them (None: all)."""

    n_bytes: int = 0
    n_drops: int | None = None

    def wrap(self, stream: RangeStream) -> RangeStream:
        if self.n_drops is not None:
            if self.n_drops == 0:
                return stream
            self.n_drops -= 1
        return _DroppingStream(stream, self.n_bytes, self.url)


@dataclass(slots=True)
class _DroppingStream:
    stream: RangeStream
    n_left: int
    url: str

    async def receive_into(self, buffer: memoryview, when_full: WhenFull | None = None) -> int:
        if self.n_left == 0:
            raise PeerUnreachableError(f"{self.url}: the connection broke")
        n_bytes = await self.stream.receive_into(buffer[: self.n_left])
        self.n_left -= n_bytes
        return n_bytes


@dataclass(slots=True)
class Lying(Wrapper):
    """Answers are replaced: bits of bodies and manifest parts flipped, and any of the claims given here."""

    flips_bodies: bool = False
    flips_parts: bool = False
    info: FileInfo | None = None
    size_bytes: int | None = None
    says_have: bool | None = None
    says_present: bool | None = None

    async def have(self, sha1s: Sequence[Sha1]) -> list[bool]:
        have = await self.peer.have(sha1s)
        return have if self.says_have is None else [self.says_have] * len(have)

    async def describe(self, sha1: Sha1) -> FileInfo:
        info = self.info or await self.peer.describe(sha1)
        return info if self.size_bytes is None else replace(info, size_bytes=self.size_bytes)

    async def presence(self, binding: Binding, group: int, n_blocks: int) -> list[bool]:
        if self.says_present is None:
            return await self.peer.presence(binding, group, n_blocks)
        await trio.lowlevel.checkpoint()
        return [self.says_present] * n_blocks

    async def get_manifest_part(self, digest: Blake3, max_bytes: int) -> bytes:
        data = await self.peer.get_manifest_part(digest, max_bytes)
        return _flipped(data) if self.flips_parts else data

    def wrap(self, stream: RangeStream) -> RangeStream:
        return _FlippingStream(stream) if self.flips_bodies else stream


@dataclass(slots=True)
class _FlippingStream:
    stream: RangeStream

    async def receive_into(self, buffer: memoryview, when_full: WhenFull | None = None) -> int:
        n_bytes = await self.stream.receive_into(buffer)
        buffer[:n_bytes] = _flipped(bytes(buffer[:n_bytes]))
        return n_bytes


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1]) if data else data
