"""What every kind of peer does, in memory and over real HTTP: one suite for all of them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from fakes import FakeFile, FakePeer, Slow
from peer_servers import TinyServer, find_nginx, listening, running_kacheryfs, running_nginx, write_static_layout

from kacheryfs.core.model import BLOCK_BYTES, Binding, Blake3, ByteRange, Sha1
from kacheryfs.core.wire import FileInfo
from kacheryfs.errors import PeerError, PeerLacksError, PeerLiedError, PeerUnreachableError
from kacheryfs.peers.client import HttpPeer
from kacheryfs.peers.peer import Peer

_random = random.Random(1)
BIG = FakeFile.of(_random.randbytes(5 * BLOCK_BYTES + 1234))
SMALL = FakeFile.of(b"one block needs no manifest")
EMPTY = FakeFile.of(b"")
PARTIAL = FakeFile.of(_random.randbytes(4 * BLOCK_BYTES))
PRESENT = (1, 2)
STRANGE = FakeFile.of(b"nobody has this")
WHOLE = (BIG, SMALL, EMPTY)


@dataclass(frozen=True)
class Subject:
    """A peer under test, and what may be expected of its kind."""

    peer: Peer
    is_static: bool = False
    waiting: FakePeer | None = None
    """Whose missing blocks it waits for; None: it is of a kind that doesn't."""


def _fake(*, is_static: bool = False) -> FakePeer:
    return FakePeer(whole=WHOLE, partial=[] if is_static else [(PARTIAL, PRESENT)], is_static=is_static)


@asynccontextmanager
async def fake(_: Path) -> AsyncIterator[Subject]:
    made = _fake()
    yield Subject(made, waiting=made)


@asynccontextmanager
async def static_fake(_: Path) -> AsyncIterator[Subject]:
    yield Subject(_fake(is_static=True), is_static=True)


@asynccontextmanager
async def wrapped(_: Path) -> AsyncIterator[Subject]:
    made = _fake()
    yield Subject(Slow(made, latency_s=0, rate_bytes_per_s=1e9), waiting=made)


@asynccontextmanager
async def tiny(_: Path) -> AsyncIterator[Subject]:
    async with listening(TinyServer(_fake()).handle) as url:
        yield Subject(HttpPeer(url))


@asynccontextmanager
async def kacheryfs(_: Path) -> AsyncIterator[Subject]:
    made = _fake()
    async with running_kacheryfs(made) as url:
        yield Subject(HttpPeer(url), waiting=made)


@asynccontextmanager
async def nginx(folder: Path, *, is_flat: bool = False) -> AsyncIterator[Subject]:
    if find_nginx() is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    write_static_layout(folder / "root", WHOLE, is_flat=is_flat)
    async with running_nginx(folder) as url:
        yield Subject(HttpPeer(url), is_static=True)


@asynccontextmanager
async def flat_nginx(folder: Path) -> AsyncIterator[Subject]:
    async with nginx(folder, is_flat=True) as subject:
        yield subject


KINDS: list[Callable[[Path], object]] = [fake, static_fake, wrapped, tiny, kacheryfs, nginx, flat_nginx]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    async with request.param(tmp_path) as subject:
        yield subject
        await subject.peer.aclose()


async def fetch(
    peer: Peer,
    file: FakeFile,
    span: ByteRange,
    *,
    is_partial: bool = False,
    n_buffer: int = 1 << 20,
    wait_s: float = 0.0,
) -> bytes:
    pieces, buffer = [], memoryview(bytearray(n_buffer))
    async with peer.open_range(
        file.binding, span, is_partial=is_partial, size_bytes=len(file.data), wait_s=wait_s
    ) as stream:
        while n_bytes := await stream.receive_into(buffer):
            pieces.append(bytes(buffer[:n_bytes]))
        assert await stream.receive_into(buffer) == 0
    return b"".join(pieces)


async def test_connecting_twice_asks_once(subject: Subject) -> None:
    await subject.peer.connect()
    n_requests = subject.peer.stats.n_requests
    await subject.peer.connect()
    assert subject.peer.stats.n_requests == n_requests


async def test_have_answers_in_order(subject: Subject) -> None:
    answers = await subject.peer.have([STRANGE.sha1, BIG.sha1, SMALL.sha1, PARTIAL.sha1, EMPTY.sha1])
    assert answers[:3] == [False, True, True]
    assert answers[3] is not subject.is_static


async def test_have_of_more_than_one_request_holds(subject: Subject) -> None:
    asked = [Sha1.of(bytes([i])) for i in range(150)]
    asked[70] = BIG.sha1
    assert await subject.peer.have(asked) == [i == 70 for i in range(150)]


async def test_have_of_nothing_is_nothing(subject: Subject) -> None:
    assert await subject.peer.have([]) == []


async def test_describe_tells_size_and_manifest(subject: Subject) -> None:
    for file in WHOLE:
        manifest = None if subject.is_static else file.binding.manifest
        assert await subject.peer.describe(file.sha1) == FileInfo(len(file.data), manifest)


async def test_describe_names_peer_and_file_of_what_it_lacks(subject: Subject) -> None:
    with pytest.raises(PeerLacksError, match=STRANGE.sha1.short) as caught:
        await subject.peer.describe(STRANGE.sha1)
    assert str(caught.value).startswith(subject.peer.url)


async def test_a_partial_file_is_not_claimed_and_not_served_as_whole(subject: Subject) -> None:
    with pytest.raises(PeerLacksError):
        await subject.peer.describe(PARTIAL.sha1)
    with pytest.raises(PeerLacksError):
        await fetch(subject.peer, PARTIAL, ByteRange(BLOCK_BYTES, 2 * BLOCK_BYTES))


async def test_presence_tells_each_block(subject: Subject) -> None:
    if subject.is_static:
        with pytest.raises(PeerLacksError):
            await subject.peer.presence(PARTIAL.binding, 0, 4)
        return
    assert await subject.peer.presence(PARTIAL.binding, 0, 4) == [False, True, True, False]
    assert await subject.peer.presence(BIG.binding, 0, 6) == [True] * 6


async def test_presence_belongs_to_one_manifest(subject: Subject) -> None:
    with pytest.raises(PeerLacksError):
        await subject.peer.presence(Binding(PARTIAL.sha1, BIG.binding.manifest), 0, 6)


async def test_only_what_has_a_manifest_is_served_in_part(subject: Subject) -> None:
    with pytest.raises(PeerLacksError):
        await subject.peer.presence(SMALL.binding, 0, 1)
    with pytest.raises(PeerLacksError):
        await fetch(subject.peer, SMALL, ByteRange(0, 5), is_partial=True)


async def test_manifest_parts_come_as_they_are(subject: Subject) -> None:
    for digest, data in BIG.parts.items():
        assert await subject.peer.get_manifest_part(digest, 1 << 20) == data
        assert await subject.peer.get_manifest_part(digest, len(data)) == data


async def test_a_manifest_part_that_is_too_long_is_a_lie(subject: Subject) -> None:
    digest, data = next(iter(BIG.parts.items()))
    with pytest.raises(PeerLiedError, match="limit"):
        await subject.peer.get_manifest_part(digest, len(data) - 1)


async def test_a_missing_manifest_part_is_lacked(subject: Subject) -> None:
    with pytest.raises(PeerLacksError):
        await subject.peer.get_manifest_part(Blake3.of(b"nothing"), 1 << 20)


SPANS = [(0, 1), (0, len(BIG.data)), (100, 300_000), (len(BIG.data) - 1, len(BIG.data)), (65536, 131072)]


@pytest.mark.parametrize(("start", "stop"), SPANS)
async def test_a_range_gives_exactly_its_bytes(subject: Subject, start: int, stop: int) -> None:
    assert await fetch(subject.peer, BIG, ByteRange(start, stop)) == BIG.data[start:stop]


async def test_small_buffers_get_the_same_bytes(subject: Subject) -> None:
    assert await fetch(subject.peer, BIG, ByteRange(5, 20_005), n_buffer=777) == BIG.data[5:20_005]


async def test_small_and_empty_files_are_read_whole(subject: Subject) -> None:
    for file in (SMALL, EMPTY):
        assert await fetch(subject.peer, file, ByteRange(0, len(file.data))) == file.data


async def test_a_range_of_what_it_lacks_is_lacked(subject: Subject) -> None:
    with pytest.raises(PeerLacksError):
        await fetch(subject.peer, STRANGE, ByteRange(0, 5))


async def test_a_partial_file_gives_its_present_blocks(subject: Subject) -> None:
    span = ByteRange(BLOCK_BYTES, 3 * BLOCK_BYTES)
    if subject.is_static:
        with pytest.raises(PeerLacksError):
            await fetch(subject.peer, PARTIAL, span, is_partial=True)
        return
    assert await fetch(subject.peer, PARTIAL, span, is_partial=True) == PARTIAL.data[span.start : span.stop]
    with pytest.raises(PeerLacksError):
        await fetch(subject.peer, PARTIAL, ByteRange(0, 2 * BLOCK_BYTES), is_partial=True)


async def test_who_may_wait_is_answered_at_once_where_nothing_is_on_its_way(subject: Subject) -> None:
    if subject.is_static:
        return
    span = ByteRange(BLOCK_BYTES, 3 * BLOCK_BYTES)
    got = await fetch(subject.peer, PARTIAL, span, is_partial=True, wait_s=3600)
    assert got == PARTIAL.data[span.start : span.stop]
    with trio.fail_after(60), pytest.raises(PeerLacksError):
        await fetch(subject.peer, PARTIAL, ByteRange(0, 2 * BLOCK_BYTES), is_partial=True, wait_s=3600)


async def test_blocks_on_their_way_are_waited_for(subject: Subject) -> None:
    made = subject.waiting
    if made is None:
        return
    span = ByteRange(BLOCK_BYTES + 5, 4 * BLOCK_BYTES)
    made.wanted[PARTIAL.binding] = {3}
    async with trio.open_nursery() as nursery:

        async def arrive() -> None:
            await trio.sleep(0.05)
            made.add_blocks(PARTIAL, [3])

        nursery.start_soon(arrive)
        got = await fetch(subject.peer, PARTIAL, span, is_partial=True, wait_s=5)
    assert got == PARTIAL.data[span.start : span.stop]


async def test_blocks_that_are_given_up_are_lacking_and_the_peer_is_well(subject: Subject) -> None:
    made = subject.waiting
    if made is None:
        return
    made.wanted[PARTIAL.binding] = wanted = {3}
    async with trio.open_nursery() as nursery:

        async def give_up() -> None:
            await trio.sleep(0.05)
            wanted.clear()

        nursery.start_soon(give_up)
        with pytest.raises(PeerLacksError):
            await fetch(subject.peer, PARTIAL, ByteRange(BLOCK_BYTES, 4 * BLOCK_BYTES), is_partial=True, wait_s=5)
    assert subject.peer.stats.last_error is None
    assert await fetch(subject.peer, BIG, ByteRange(0, 9)) == BIG.data[:9]


async def test_a_file_of_another_size_is_not_taken(subject: Subject) -> None:
    for size_bytes in (len(BIG.data) + 1, len(BIG.data) - 1):
        with pytest.raises(PeerLiedError):
            async with subject.peer.open_range(BIG.binding, ByteRange(0, 9), is_partial=False, size_bytes=size_bytes):
                pass


async def test_after_a_stream_that_was_left_the_next_is_right(subject: Subject) -> None:
    buffer = memoryview(bytearray(1000))
    for _ in range(3):
        span = ByteRange(0, len(BIG.data))
        async with subject.peer.open_range(BIG.binding, span, is_partial=False, size_bytes=len(BIG.data)) as stream:
            n_bytes = await stream.receive_into(buffer)
            assert BIG.data.startswith(bytes(buffer[:n_bytes]))
    assert await fetch(subject.peer, BIG, ByteRange(7, 70_000)) == BIG.data[7:70_000]


async def test_after_a_cancelled_stream_the_next_is_right(subject: Subject) -> None:
    buffer = memoryview(bytearray(1000))
    with trio.CancelScope() as scope:
        async with subject.peer.open_range(
            BIG.binding, ByteRange(0, len(BIG.data)), is_partial=False, size_bytes=len(BIG.data)
        ) as stream:
            await stream.receive_into(buffer)
            scope.cancel()
            await stream.receive_into(buffer)
            raise AssertionError("receiving is no checkpoint")
    assert scope.cancelled_caught
    assert await fetch(subject.peer, BIG, ByteRange(7, 70_000)) == BIG.data[7:70_000]


async def test_an_error_of_the_reader_passes_unchanged(subject: Subject) -> None:
    with pytest.raises(OSError, match="the disk is full"):
        async with subject.peer.open_range(BIG.binding, ByteRange(0, 9), is_partial=False, size_bytes=len(BIG.data)):
            raise OSError("the disk is full")
    assert subject.peer.stats.last_error is None


async def test_two_streams_at_once_do_not_mix(subject: Subject) -> None:
    first, second = memoryview(bytearray(100)), memoryview(bytearray(100))
    size = len(BIG.data)
    async with (
        subject.peer.open_range(BIG.binding, ByteRange(0, 300_000), is_partial=False, size_bytes=size) as one,
        subject.peer.open_range(BIG.binding, ByteRange(500_000, 800_000), is_partial=False, size_bytes=size) as two,
    ):
        n_first, n_second = await one.receive_into(first), await two.receive_into(second)
    assert bytes(first[:n_first]) == BIG.data[:n_first]
    assert bytes(second[:n_second]) == BIG.data[500_000 : 500_000 + n_second]


async def test_many_readers_at_once_each_get_theirs(subject: Subject) -> None:
    async def read(start: int) -> None:
        assert await fetch(subject.peer, BIG, ByteRange(start, start + 20_000)) == BIG.data[start : start + 20_000]

    async with trio.open_nursery() as nursery:
        for i in range(40):
            nursery.start_soon(read, i * 25_000)


async def test_stats_count_what_came(subject: Subject) -> None:
    await fetch(subject.peer, BIG, ByteRange(0, 500_000))
    stats = subject.peer.stats
    assert stats.bytes_received >= 500_000
    assert stats.n_requests >= 1
    assert stats.round_trip_s is not None
    assert stats.last_error is None


async def read_while_closing(peer: Peer) -> None:
    buffer = memoryview(bytearray(1000))
    span = ByteRange(0, len(BIG.data))
    async with peer.open_range(BIG.binding, span, is_partial=False, size_bytes=len(BIG.data)) as stream:
        await stream.receive_into(buffer)
        await peer.aclose()
        while await stream.receive_into(buffer):
            pass


async def test_a_closed_peer_is_unreachable_also_for_who_reads(subject: Subject) -> None:
    with pytest.raises(PeerUnreachableError, match="closed on this side"):
        await read_while_closing(subject.peer)
    with pytest.raises(PeerUnreachableError, match="closed on this side"):
        await subject.peer.describe(BIG.sha1)
    assert subject.peer.stats.n_open_connections == 0


async def test_every_error_is_a_peer_error_that_names_the_peer(subject: Subject) -> None:
    for wrong in (STRANGE, PARTIAL):
        with pytest.raises(PeerError, match=subject.peer.url):
            await fetch(subject.peer, wrong, ByteRange(0, 5))
