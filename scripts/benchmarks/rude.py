"""Peers without manners, as a program of its own: ``python -m benchmarks.rude HOST:PORT TARGET`` runs until SIGTERM.

Five kinds at once, from three addresses: connections that send a head byte by byte, that ask for ``TARGET`` and never
read, that ask for it a thousand times in one go and drop what comes, that send noise, and that ask for little, much
and fast. It runs at the lowest priority: real ones bring a processor of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import cycle

import trio

ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
"""One address alone may have half of the connections."""
LOWEST_PRIORITY = 19
RECEIVE_BYTES = 256 * 1024
PAUSE_S = 0.05
"""After a connection ended: a peer that is turned away at once would only measure the kernel's handshakes."""
PATIENCE_S = 10.0
N_PIPELINED = 1000
N_LITTLE = 64
NOISE_BYTES = 64 * 1024
ANSWER = b"HTTP/1.1 "


@dataclass(frozen=True, slots=True)
class Victim:
    """The server that they ask, and what of it is large."""

    host: str
    port: int
    target: str

    def request(self, target: str) -> bytes:
        return f"GET {target} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode()


Rudeness = Callable[[trio.SocketStream, Victim], Awaitable[None]]


async def drip(stream: trio.SocketStream, victim: Victim) -> None:
    """Send a head that never ends, byte by byte."""
    for byte in cycle(b"GET / HTTP/1.1\r\nX-Slow: slow"):
        await stream.send_all(bytes([byte]))
        await trio.sleep(0.2)


async def never_read(stream: trio.SocketStream, victim: Victim) -> None:
    await stream.send_all(victim.request(victim.target))
    await trio.sleep(PATIENCE_S)


async def pipeline(stream: trio.SocketStream, victim: Victim) -> None:
    await stream.send_all(victim.request(victim.target) * N_PIPELINED)
    await _drop(stream)


async def babble(stream: trio.SocketStream, victim: Victim) -> None:
    await stream.send_all(os.urandom(NOISE_BYTES))
    await _drop(stream)


async def flood(stream: trio.SocketStream, victim: Victim) -> None:
    """Ask for little as fast as it is answered."""
    have = "/v1/have?" + "&".join(f"q={os.urandom(20).hex()}" for _ in range(N_LITTLE))
    targets = ("/v1/peer", have, "/", "/nowhere") * 16
    batch = b"".join(map(victim.request, targets))
    while True:
        await stream.send_all(batch)
        await _take_answers(stream, len(targets))


async def _take_answers(stream: trio.SocketStream, n_answers: int) -> None:
    tail = b""
    while n_answers > 0:
        data = await stream.receive_some(RECEIVE_BYTES)
        if not data:
            raise trio.BrokenResourceError
        n_answers -= (tail + data).count(ANSWER)
        tail = (tail + data)[1 - len(ANSWER) :]


async def _drop(stream: trio.SocketStream) -> None:
    while await stream.receive_some(RECEIVE_BYTES):
        pass


CROWD: Mapping[str, tuple[Rudeness, int]] = {
    "drip": (drip, 150),
    "never-read": (never_read, 50),
    "pipeline": (pipeline, 16),
    "babble": (babble, 16),
    "flood": (flood, 48),
}
"""More together than the 256 connections that a server takes."""


async def _be_rude(how: Rudeness, victim: Victim, address: str) -> None:
    while True:
        with contextlib.suppress(OSError, trio.BrokenResourceError), trio.socket.socket() as sock:
            await sock.bind((address, 0))
            await sock.connect((victim.host, victim.port))
            await how(trio.SocketStream(sock), victim)
        # Turned away, or cut: again.
        await trio.sleep(PAUSE_S)


async def _run(victim: Victim, kinds: list[str]) -> None:
    addresses = cycle(ADDRESSES)
    async with trio.open_nursery() as nursery:
        for kind in kinds:
            how, n_connections = CROWD[kind]
            for _ in range(n_connections):
                nursery.start_soon(_be_rude, how, victim, next(addresses))
        print("rude", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("target")
    parser.add_argument("--kind", action="append", choices=list(CROWD))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(LOWEST_PRIORITY)
    host, port = options.address.rsplit(":", 1)
    trio.run(_run, Victim(host, int(port), options.target), options.kind or list(CROWD))


if __name__ == "__main__":
    main()
