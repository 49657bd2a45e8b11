"""The whole engine against the bytes that it should give, while everything around it goes wrong at random."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import trio
from fakes import Dropping, FakeFile, FakePeer, Flaky, Hanging, Lying, Refusing, Slow, Wrapper
from settling import assert_settled

from kacheryfs.core.model import BLOCK_BYTES
from kacheryfs.core.request import FileRequest
from kacheryfs.errors import KacheryError

pytestmark = pytest.mark.expects_warnings
FILES = [
    FakeFile.of(random.Random(1).randbytes(20 * BLOCK_BYTES + 1000)),
    FakeFile.of(random.Random(2).randbytes(5 * BLOCK_BYTES)),
    FakeFile.of(b"small" * 1000),
    FakeFile.of(b""),
]
READ_TIMEOUT_S = 20.0
MOST_S = 90.0
"""A lookup that proves a small file whole may take SETTLE_TIMEOUT_S, a read READ_TIMEOUT_S."""

FAULTS: list[Callable[[FakePeer, random.Random], Wrapper]] = [
    lambda peer, rng: Slow(peer, latency_s=rng.choice([0.01, 0.3, 2]), rate_bytes_per_s=rng.choice([None, 1e4, 1e7])),
    lambda peer, rng: Flaky(peer, n_failures=rng.randrange(8)),
    lambda peer, rng: Refusing(peer, n_failures=rng.randrange(8)),
    lambda peer, rng: Dropping(peer, n_bytes=rng.randrange(600_000), n_drops=rng.choice([None, 1, 5])),
    lambda peer, rng: Hanging(peer),
    lambda peer, rng: Lying(peer, flips_bodies=True),
    lambda peer, rng: Lying(peer, flips_parts=True),
    lambda peer, rng: Lying(peer, size_bytes=rng.choice([0, 1, 10**6, 10**12])),
    lambda peer, rng: Lying(peer, says_have=rng.random() < 0.5),
    lambda peer, rng: Lying(peer, says_present=True),
]


class World:
    """An engine, its peers of the moment, and readers at work."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.n_peers = 0
        self.n_right = 0

    def make_peer(self) -> FakePeer | Wrapper:
        self.n_peers += 1
        rng, url = self.rng, f"fake://{self.n_peers}"
        files = [file for file in FILES if rng.random() < 0.8]
        parts = [(file, rng.sample(range(file.layout.n_blocks), file.layout.n_blocks // 2)) for file in FILES]
        peer = FakePeer(files, parts, url=url, is_static=rng.random() < 0.2)
        return peer if rng.random() < 0.3 else rng.choice(FAULTS)(peer, rng)

    def request(self, file: FakeFile) -> FileRequest:
        size_bytes = self.rng.choice([None, len(file.data)])
        return FileRequest(file.sha1, self.rng.choice([None, file.binding.manifest]), size_bytes)

    async def read(self, engine) -> None:
        file = self.rng.choice(FILES)
        began = trio.current_time()
        with trio.move_on_after(self.rng.choice([0.05, 1.0, 1000, 1000])) as scope:
            try:
                reader = (await engine.locate(self.request(file))).open()
                try:
                    await self.read_some(reader, file)
                finally:
                    reader.close()
            except KacheryError as exc:
                assert "\n" not in str(exc)
        assert scope.cancelled_caught or trio.current_time() - began < 5 * MOST_S

    async def read_some(self, reader, file: FakeFile) -> None:
        offset = self.rng.randrange(len(file.data) + 1)
        for _ in range(self.rng.randrange(12)):
            n_bytes = self.rng.choice([1, 4096, 131072, 3 * BLOCK_BYTES])
            data = bytes(await reader.read(offset, n_bytes))
            assert data == file.data[offset : offset + n_bytes]
            self.n_right += 1
            offset += n_bytes

    async def live(self, engine) -> None:
        """Let readers come and go, and peers."""
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                act = self.rng.random()
                if act < 0.6:
                    nursery.start_soon(self.read, engine)
                elif act < 0.8:
                    engine.add_peer(self.make_peer())
                elif act < 0.9 and len(engine.peers) > 1:
                    await engine.peers.remove(self.rng.choice(list(engine.peers)).url)
                elif act < 0.95:
                    engine.cancel()
                await trio.sleep(self.rng.choice([0, 0.01, 0.5, 3]))


@pytest.mark.parametrize("seed", range(8))
async def test_nothing_that_goes_wrong_gives_a_wrong_byte_or_a_read_without_end(jumping_clock, start, seed):
    world = World(random.Random(seed))
    for _ in range(3):
        full = world.rng.choice([0.0, 0.0, 1.0])
        async with start(world.make_peer(), min_free_fraction=full, read_timeout_s=READ_TIMEOUT_S) as engine:
            await world.live(engine)
            await assert_settled(engine)
    async with start(FakePeer(FILES, url="fake://good")) as engine:  # whatever was kept is right
        for file in FILES:
            reader = (await engine.locate(FileRequest(file.sha1, file.binding.manifest, len(file.data)))).open()
            with trio.fail_after(10):
                assert bytes(await reader.read(0, len(file.data))) == file.data
            reader.close()
        await assert_settled(engine)
    assert world.n_right
