"""The upload limit: how much goes out, and to whom; on a clock that jumps."""

from __future__ import annotations

import os
from collections import Counter

import pytest
import trio
import trio.testing
from serve_fakes import serving

from kacheryfs.core import wire
from kacheryfs.serve import ServeLimits
from kacheryfs.serve.uploads import Uploads

RATE = 10_000_000


async def send(uploads: Uploads, address: str, sent: Counter[str], *, share: float = 1.0) -> None:
    """Send for ever; of each step only a ``share``, as to a client whose socket is full."""
    while True:
        n_granted = await uploads.take(address)
        n_sent = int(n_granted * share)
        sent[address] += n_sent
        uploads.give_back(address, n_granted - n_sent)
        await trio.lowlevel.checkpoint()


async def run_for(seconds: float, uploads: Uploads, senders: dict[str, int], **options: float) -> Counter[str]:
    """Return what each address has sent by so many connections."""
    sent: Counter[str] = Counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(uploads.run)
        for address, n_connections in senders.items():
            for _ in range(n_connections):
                nursery.start_soon(lambda who: send(uploads, who, sent, **options), address)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    return sent


@pytest.mark.parametrize("rate", [16_000, RATE, 1_000_000_000])
@pytest.mark.parametrize("share", [1.0, 0.3])
async def test_the_limit_holds_within_a_tenth(rate: int, share: float, autojump_clock: trio.testing.MockClock) -> None:
    sent = await run_for(10, Uploads(rate), {"a": 3}, share=share)
    assert sent.total() == pytest.approx(10 * rate, rel=0.1)


async def test_an_address_with_a_hundred_connections_gets_no_more_than_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sent = await run_for(10, Uploads(RATE), {"greedy": 100, "modest": 1, "other": 2})
    for n_bytes in sent.values():
        assert n_bytes == pytest.approx(10 * RATE / 3, rel=0.1)


async def test_who_comes_later_is_not_given_what_he_missed(autojump_clock: trio.testing.MockClock) -> None:
    uploads, sent = Uploads(RATE), Counter[str]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(uploads.run)
        nursery.start_soon(send, uploads, "early", sent)
        await trio.sleep(10)
        before = sent["early"]
        nursery.start_soon(send, uploads, "late", sent)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert sent["early"] - before == pytest.approx(5 * RATE, rel=0.1)
    assert sent["late"] == pytest.approx(5 * RATE, rel=0.1)


async def test_small_answers_do_not_wait_behind_bulk_but_count(autojump_clock: trio.testing.MockClock) -> None:
    uploads, sent = Uploads(RATE), Counter[str]()
    n_small = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(uploads.run)
        for _ in range(50):
            nursery.start_soon(send, uploads, "bulk", sent)
        with trio.move_on_after(10):
            while True:
                asked_at = trio.current_time()
                await uploads.take_small("asker", 5_000)
                assert trio.current_time() == asked_at
                n_small += 5_000
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert n_small == pytest.approx(5_000_000, rel=0.01)
    assert sent.total() + n_small == pytest.approx(10 * RATE, rel=0.1)


async def test_a_flood_of_small_answers_keeps_to_the_limit_too(autojump_clock: trio.testing.MockClock) -> None:
    uploads, n_small = Uploads(100_000), 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(uploads.run)
        with trio.move_on_after(20):
            while True:
                await uploads.take_small("flood", 10_000)
                n_small += 10_000
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert n_small == pytest.approx(20 * 100_000, rel=0.1)


async def test_who_is_cancelled_takes_nothing_along(autojump_clock: trio.testing.MockClock) -> None:
    uploads = Uploads(RATE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(uploads.run)
        for i in range(1000):
            with trio.move_on_after(0.001 * (i % 7)):
                await uploads.take(f"goer {i}")
        sent: Counter[str] = Counter()
        nursery.start_soon(send, uploads, "stayer", sent)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert sent.total() == pytest.approx(10 * RATE, rel=0.1)
    assert not uploads._waiting
    assert len(uploads._next_start) <= 1


async def test_without_a_limit_nobody_waits() -> None:
    uploads = Uploads(None)
    await uploads.take_small("a", 10**12)
    assert await uploads.take("a") > 0
    uploads.give_back("a", 5)


async def test_what_a_limited_server_sends_is_whole_and_counted():
    data = os.urandom(3_000_000)
    async with serving(limits=ServeLimits(upload_bytes_per_s=20_000_000)) as server:
        sha1, _ = server.source.add(data)
        assert (await server.ask(wire.sha1_path(sha1))).body == data
        got = await server.ask(wire.sha1_path(sha1), range="bytes=5-200004")  # from memory
        assert got.body == data[5:200_005]
    assert server.counters.sent_bytes >= len(data) + 200_000


async def test_a_limited_client_is_not_taken_for_a_slow_one():
    data = os.urandom(1_000_000)
    limits = ServeLimits(upload_bytes_per_s=2_000_000, send_window_s=0.05, min_send_bytes_per_s=10_000_000)
    async with serving(limits=limits) as server:
        sha1, _ = server.source.add(data)
        assert (await server.ask(wire.sha1_path(sha1))).body == data
