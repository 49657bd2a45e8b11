"""The wrappers of fakes.py do one thing each, so that tests of the engine can rely on them."""

from __future__ import annotations

import pytest
import trio
from fakes import Dropping, FakeFile, FakePeer, Flaky, Hanging, Lying, Refusing, Slow

from kacheryfs.core.model import BLOCK_BYTES, ByteRange
from kacheryfs.core.wire import FileInfo
from kacheryfs.errors import PeerRefusedError, PeerUnreachableError
from kacheryfs.peers.peer import Peer

FILE = FakeFile.of(bytes(range(256)) * 2048)


async def fetch(peer: Peer) -> bytes:
    pieces, buffer = [], memoryview(bytearray(1 << 20))
    span = ByteRange(0, len(FILE.data))
    async with peer.open_range(FILE.binding, span, is_partial=False, size_bytes=len(FILE.data)) as stream:
        while n_bytes := await stream.receive_into(buffer):
            pieces.append(bytes(buffer[:n_bytes]))
    return b"".join(pieces)


async def test_slow_takes_its_latency_and_its_rate(autojump_clock: trio.testing.MockClock) -> None:
    peer = Slow(FakePeer(whole=[FILE]), latency_s=2, rate_bytes_per_s=len(FILE.data) / 8)
    assert await fetch(peer) == FILE.data
    assert trio.current_time() == pytest.approx(10)


async def test_hanging_waits_until_it_may_go_on(autojump_clock: trio.testing.MockClock) -> None:
    peer = Hanging(FakePeer(whole=[FILE]))
    with trio.move_on_after(100) as scope:
        await fetch(peer)
    assert scope.cancelled_caught
    peer.resume()
    assert await fetch(peer) == FILE.data


async def test_flaky_fails_as_often_as_it_was_told() -> None:
    peer = Flaky(FakePeer(whole=[FILE]), n_failures=2)
    for _ in range(2):
        with pytest.raises(PeerUnreachableError):
            await fetch(peer)
    assert await fetch(peer) == FILE.data
    peer.is_failing = True
    with pytest.raises(PeerUnreachableError):
        await fetch(peer)


async def test_refusing_answers_no() -> None:
    with pytest.raises(PeerRefusedError):
        await Refusing(FakePeer(whole=[FILE]), n_failures=1).have([FILE.sha1])


async def test_dropping_breaks_off_within_a_body() -> None:
    peer = Dropping(FakePeer(whole=[FILE]), n_bytes=1000, n_drops=1)
    with pytest.raises(PeerUnreachableError):
        await fetch(peer)
    assert await fetch(peer) == FILE.data


async def test_lying_changes_what_it_was_told_to_and_nothing_else() -> None:
    honest = FakePeer(whole=[FILE])
    manifest = FILE.binding.manifest
    assert manifest is not None
    digest = next(iter(FILE.parts))
    assert await fetch(Lying(honest, flips_bodies=True)) != FILE.data
    assert await Lying(honest, flips_parts=True).get_manifest_part(digest, 1 << 20) != FILE.parts[digest]
    assert await Lying(honest, size_bytes=5).describe(FILE.sha1) == FileInfo(5, manifest)
    assert await Lying(honest, says_have=False).have([FILE.sha1]) == [False]
    assert await Lying(honest, says_present=False).presence(FILE.binding, 0, 2) == [False, False]
    assert await fetch(Lying(honest)) == FILE.data


def test_a_fake_file_is_named_and_proven_by_its_bytes() -> None:
    assert FILE.root is not None
    assert FILE.root.digest == FILE.binding.manifest
    assert FILE.root.size_bytes == len(FILE.data) == 2 * BLOCK_BYTES
    assert FakeFile.of(b"small").binding.size_bytes == 5
