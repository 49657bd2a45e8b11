"""Slow, greedy and too many clients are bounded; tiny limits, no wall-clock assertions."""

import os
import socket

import pytest
import trio
from serve_fakes import serving

from kacheryfs.core import wire
from kacheryfs.core.model import Sha1
from kacheryfs.serve.doorman import Doorman, neighbourhood
from kacheryfs.serve.limits import ServeLimits
from kacheryfs.serve.sending import Pace, Transfer

ABSENT = wire.file_path(Sha1.of(b"absent"))


async def test_a_head_that_comes_byte_by_byte_is_cut():
    async with serving(limits=ServeLimits(head_timeout_s=0.2)) as server:
        client = await server.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip, client.stream)
            assert await client.is_closed()
            nursery.cancel_scope.cancel()


async def drip(stream):
    try:
        while True:
            await stream.send_all(b"X")
            await trio.sleep(0.01)
    except trio.BrokenResourceError:
        pass


async def test_a_connection_that_says_nothing_is_closed():
    async with serving(limits=ServeLimits(idle_timeout_s=0.05)) as server:
        assert await (await server.open()).is_closed()


async def test_a_connection_that_idles_after_a_request_is_closed():
    async with serving(limits=ServeLimits(idle_timeout_s=0.05)) as server:
        client = await server.open()
        assert (await client.ask("/v1/peer")).status == 200
        assert await client.is_closed()


async def test_who_reads_nothing_is_cut_and_its_file_closed():
    limits = ServeLimits(send_window_s=0.1, max_sends=1)
    async with serving(limits=limits) as server:
        sha1, file = server.source.add(os.urandom(30_000_000))
        client = await server.open()
        await client.stream.send_all(f"GET /sha1/{sha1} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await file.closed.wait()
        with pytest.raises(trio.BrokenResourceError):  # a reset: the kernel keeps nothing for who takes nothing
            await drain(client.stream)


async def drain(stream):
    while await stream.receive_some(1 << 20):
        pass


async def test_what_waits_in_the_kernel_is_not_taken():
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        server, _ = listener.accept()
        with server:
            server.setblocking(False)
            transfer = Transfer(server.fileno(), b"x" * 30_000_000, b"")
            transfer.push(1 << 30)
            assert not transfer.is_done
            assert transfer.taken_bytes() < transfer.sent_bytes
            left = transfer.sent_bytes
            while left:
                left -= len(client.recv(left))
            while transfer.taken_bytes() < transfer.sent_bytes:  # until the last acknowledgement came
                pass


async def test_who_reads_nothing_holds_no_thread():
    async with serving(limits=ServeLimits(max_sends=1)) as server:
        sha1, _ = server.source.add(data := os.urandom(30_000_000))
        stuck = await server.open()
        await stuck.stream.send_all(f"GET /sha1/{sha1} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await stuck.stream.receive_some(1)
        assert (await server.ask(wire.sha1_path(sha1))).body == data


async def test_who_reads_slowly_but_enough_gets_everything():
    async with serving(limits=ServeLimits(send_window_s=0.05, min_send_bytes_per_s=1)) as server:
        sha1, _ = server.source.add(data := os.urandom(12_000_000))
        client = await server.open()
        client.stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 65536)
        assert (await client.ask(wire.sha1_path(sha1))).body == data


async def test_a_refused_body_is_not_read_for_ever():
    async with serving(limits=ServeLimits(linger_s=0.1)) as server:
        client = await server.open()
        await client.stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip, client.stream)  # ends when the server has hung up
            assert (await client.read_without_asking()).status == 413


async def test_when_all_threads_are_taken_a_request_is_told_when_to_try_again():
    async with serving(limits=ServeLimits(max_lookups=1, thread_timeout_s=0.05)) as server:
        server.source.gate.clear()
        first, second = await server.open(), await server.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.ask, ABSENT)
            await trio.to_thread.run_sync(server.source.entered.wait, abandon_on_cancel=True)
            got = await second.ask(ABSENT)
            server.source.gate.set()
        assert (got.status, got.headers["retry-after"]) == (503, "2")
        assert (await server.ask("/v1/peer")).status == 200


@pytest.mark.parametrize(
    "limits", [ServeLimits(max_connections=1), ServeLimits(max_connections_per_address=1)], ids=["all", "per address"]
)
async def test_when_all_places_are_taken_a_newcomer_is_told_so(limits):
    async with serving(limits=limits) as server:
        server.source.gate.clear()
        first = await server.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.ask, ABSENT)
            await trio.to_thread.run_sync(server.source.entered.wait, abandon_on_cancel=True)
            second = await server.open()
            got = await second.ask("/v1/peer")
            assert (got.status, got.headers["retry-after"]) == (503, "2")
            server.source.gate.set()
        assert await second.is_closed()


async def test_when_all_places_are_taken_the_longest_idle_leaves():
    async with serving(limits=ServeLimits(max_connections=2)) as server:
        oldest, other = await server.open(), await server.open()
        for n_answered, client in enumerate((oldest, other), 1):
            await client.ask("/v1/peer")
            while server.counters.requests[200] < n_answered:  # a reply may be here before its sender idles again
                await trio.sleep(0.005)
        newcomer = await server.open()
        assert (await newcomer.ask("/v1/peer")).status == 200
        assert await oldest.is_closed()
        assert (await other.ask("/v1/peer")).status == 200


async def test_a_place_is_free_again_when_its_client_left():
    async with serving(limits=ServeLimits(max_connections=1)) as server:
        for _ in range(5):
            assert (await server.ask("/v1/peer", connection="close")).status == 200
            while server.counters.n_open:  # it is told that the client has left by the socket
                await trio.sleep(0.005)


def test_a_doorman_counts_out_whom_it_counted_in():
    doorman = Doorman(ServeLimits(max_connections=3, max_connections_per_address=2))
    with doorman.admit("10.0.0.1") as a, doorman.admit("10.0.0.1") as b, doorman.admit("10.0.0.1") as c:
        assert (a, b, c) == (True, True, False)
        with doorman.admit("10.0.0.2") as d, doorman.admit("10.0.0.3") as e:
            assert (d, e) == (True, False)
            assert doorman.n_inside == 3
    assert doorman.n_inside == 0


@pytest.mark.parametrize(
    ("host", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("?", "?"),
    ],
)
def test_an_ipv6_host_is_counted_by_its_network(host, counted_as):
    assert neighbourhood(host) == counted_as


def test_the_pace_is_judged_once_a_window():
    pace = Pace(ServeLimits(send_window_s=10, min_send_bytes_per_s=100), now=0)
    assert not pace.is_too_slow(9.9, 0)
    assert not pace.is_too_slow(10.0, 1000)
    assert not pace.is_too_slow(19.9, 1000)
    assert pace.is_too_slow(20.0, 1999)


def test_bytes_taken_before_do_not_count_for_later():
    pace = Pace(ServeLimits(send_window_s=10, min_send_bytes_per_s=100), now=0)
    assert not pace.is_too_slow(10, 1_000_000)
    assert pace.is_too_slow(20, 1_000_000)


def test_by_default_one_address_can_not_take_all_places():
    assert ServeLimits().max_connections_per_address < ServeLimits().max_connections
