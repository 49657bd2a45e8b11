"""A peer that answers rightly over HTTP but for the paths that it was told to lie about."""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

import trio
from fakes import FakePeer
from peer_servers import TinyServer, head, listening, read_request


@dataclass(frozen=True, slots=True)
class Answer:
    """What an honest peer says to one request."""

    target: str
    is_head: bool
    status: int
    fields: Mapping[str, str]
    body: bytes

    def encode(self) -> bytes:
        fields = {"Content-Length": str(len(self.body)), **self.fields}
        data = head(f"{self.status} x", *(f"{key}: {value}" for key, value in fields.items()))
        return data if self.is_head else data + self.body

    def with_fields(self, **fields: str) -> Answer:
        named = {key.replace("_", "-"): value for key, value in fields.items()}
        return replace(self, fields={**self.fields, **named})


Lie = Callable[[trio.SocketStream, Answer], Awaitable[None]]
"""Says something else instead of the honest answer; returning normally keeps the connection."""


class Hangup(Exception):
    """A lie ends the connection."""


class Liar(TinyServer):
    """Serves ``fake`` and lies where a path begins with one of ``lies``; counts the lies that it told."""

    def __init__(self, fake: FakePeer, lies: Mapping[str, Lie] | None = None) -> None:
        super().__init__(fake)
        self.lies = dict(lies or {})
        self.n_told = 0
        self.asked: list[str] = []

    def running(self) -> AbstractAsyncContextManager[str]:
        return listening(self.handle)

    async def handle(self, stream: trio.SocketStream) -> None:
        while request := await read_request(stream):
            answer = self._honest(request)
            self.asked.append(answer.target)
            lie = next((lie for path, lie in self.lies.items() if answer.target.startswith(path)), None)
            if lie is None:
                await stream.send_all(answer.encode())
                continue
            self.n_told += 1
            try:
                await lie(stream, answer)
            except Hangup:
                return

    def _honest(self, request: bytes) -> Answer:
        first, *lines = request.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines if line)}
        return Answer(target, method == "HEAD", *self._answer(target, headers.get("range")))


def says(status: str, body: bytes = b"", *headers: str) -> Lie:
    """Answer everything with this."""

    async def lie(stream: trio.SocketStream, answer: Answer) -> None:
        await stream.send_all(
            head(status, f"Content-Length: {len(body)}", *headers) + (b"" if answer.is_head else body)
        )

    return lie


def says_json(body: bytes) -> Lie:
    return says("200 OK", body)


def changes(change: Callable[[Answer], Answer]) -> Lie:
    """Say the honest answer with a change."""

    async def lie(stream: trio.SocketStream, answer: Answer) -> None:
        await stream.send_all(change(answer).encode())

    return lie


def cuts(n_bytes: int) -> Lie:
    """Hang up after ``n_bytes`` of the body (less than nothing: within the head)."""

    async def lie(stream: trio.SocketStream, answer: Answer) -> None:
        data = answer.encode()
        await stream.send_all(data[: len(data) - len(answer.body) + n_bytes])
        raise Hangup

    return lie


async def hangs_up(stream: trio.SocketStream, answer: Answer) -> None:
    raise Hangup


async def is_silent(stream: trio.SocketStream, answer: Answer) -> None:
    await trio.sleep_forever()


async def drips_the_head(stream: trio.SocketStream, answer: Answer) -> None:
    """One byte a second, from the first on, for ever."""
    await _drip(stream, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000)


async def drips_the_body(stream: trio.SocketStream, answer: Answer) -> None:
    data = answer.encode()
    n_head = len(data) - len(answer.body)
    await stream.send_all(data[:n_head])
    await _drip(stream, data[n_head:])


async def _drip(stream: trio.SocketStream, data: bytes) -> None:
    for byte in data:
        await stream.send_all(bytes([byte]))
        await trio.sleep(1)


async def never_ends(stream: trio.SocketStream, answer: Answer) -> None:
    await stream.send_all(head(f"{answer.status} x", *(f"{key}: {value}" for key, value in answer.fields.items())))
    while True:
        await stream.send_all(bytes(65536))


async def never_ends_its_chunks(stream: trio.SocketStream, answer: Answer) -> None:
    await stream.send_all(
        head(
            f"{answer.status} x",
            "Transfer-Encoding: chunked",
            *(f"{key}: {value}" for key, value in answer.fields.items()),
        )
    )
    while True:
        await stream.send_all(b"8000\r\n" + bytes(0x8000) + b"\r\n")


def flips_last_bit(answer: Answer) -> Answer:
    return replace(answer, body=answer.body[:-1] + bytes([answer.body[-1] ^ 1])) if answer.body else answer


def unrelated_bytes(answer: Answer) -> Answer:
    return replace(answer, body=bytes(len(answer.body)))


def in_gzip(answer: Answer) -> Answer:
    return replace(answer, body=gzip.compress(answer.body)).with_fields(Content_Encoding="gzip")


_BOMB = gzip.compress(bytes(20_000_000))


def a_gzip_bomb(answer: Answer) -> Answer:
    return replace(answer, body=_BOMB).with_fields(Content_Encoding="gzip")


def one_byte_longer(answer: Answer) -> Answer:
    return replace(answer, body=answer.body + b"x")


def one_byte_shorter(answer: Answer) -> Answer:
    return replace(answer, body=answer.body[:-1])


def shifted_by_one(answer: Answer) -> Answer:
    return replace(answer, body=b"x" + answer.body[:-1])
