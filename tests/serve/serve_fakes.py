"""A Source in memory and temporary files, and a raw client: what the tests of serve/ talk to."""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field

import h11
import trio

from kacheryfs.core.model import BLOCK_BYTES, Binding, Blake3, ByteRange, Layout, Sha1, salted
from kacheryfs.core.wire import FileInfo, group_blocks
from kacheryfs.errors import ChangedError, ProofError
from kacheryfs.serve import ServeLimits, Source, open_listeners, serve
from kacheryfs.serve.access import Access
from kacheryfs.serve.counters import Counters

PEER_ID = bytes(range(16))


class FakeFile:
    """An open file in memory; ``fail_check`` says from which check on it is something else."""

    def __init__(self, data: bytes, present: list[bool] | None = None) -> None:
        self.fd = os.memfd_create("fake")
        weakref.finalize(self, os.close, self.fd)
        os.pwrite(self.fd, data, 0)
        self.size_bytes = len(data)
        self.present = present
        self.wanted: set[int] = set()
        self.held: list[ByteRange] = []
        self.hold_failure: Exception | None = None
        self.checks_before_failure: int | None = None
        self.failure: Exception = ChangedError("sha1 00000000: changed, said the fake")
        self.is_changed_by_reading_its_end = False
        self._is_end_read = False
        self.n_open = 0
        self.closed = trio.Event()

    def find_missing(self, span: ByteRange) -> int | None:
        for block in Layout(self.size_bytes).blocks_of(span):
            if self.present is not None and not self.present[block]:
                return max(block * BLOCK_BYTES, span.start)
        return None

    def is_coming(self, span: ByteRange) -> bool:
        blocks = Layout(self.size_bytes).blocks_of(span)
        return self.present is None or all(self.present[block] or block in self.wanted for block in blocks)

    def hold(self, span: ByteRange) -> AbstractContextManager[None]:
        if self.hold_failure is not None:
            raise self.hold_failure
        self.held.append(span)
        return nullcontext()

    def check(self, span: ByteRange) -> None:
        if self.is_changed_by_reading_its_end and span.stop == self.size_bytes:
            if self._is_end_read:
                raise self.failure
            self._is_end_read = True
        if self.checks_before_failure is not None:
            if self.checks_before_failure <= 0:
                raise self.failure
            self.checks_before_failure -= 1

    def truncate(self, n_bytes: int) -> None:
        os.ftruncate(self.fd, n_bytes)

    def close(self) -> None:
        self.n_open -= 1
        try:
            self.closed.set()
        except RuntimeError:  # in a thread
            trio.from_thread.run_sync(self.closed.set)


class FakeSource:
    """What was put into it, and a gate that holds every lookup when it is shut."""

    def __init__(self) -> None:
        self.whole: dict[Sha1, FakeFile | Exception] = {}
        self.partial: dict[Binding, FakeFile] = {}
        self.infos: dict[Sha1, FileInfo] = {}
        self.parts: dict[Blake3, bytes] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def _pass(self) -> None:
        self.entered.set()
        self.gate.wait()

    def add(self, data: bytes) -> tuple[Sha1, FakeFile]:
        sha1, file = Sha1.of(data), FakeFile(data)
        self.whole[sha1] = file
        self.infos[sha1] = FileInfo(len(data), None)
        return sha1, file

    def add_partial(self, data: bytes, present: list[bool]) -> tuple[Binding, FakeFile]:
        binding, file = Binding(Sha1.of(data), Blake3.of(data)), FakeFile(data, present)
        self.partial[binding] = file
        return binding, file

    def find_salted(self, asked: Sha1) -> bool:
        self._pass()
        return any(salted(sha1) == asked for sha1 in [*self.whole, *(binding.sha1 for binding in self.partial)])

    def file_info(self, sha1: Sha1) -> FileInfo | None:
        self._pass()
        return self.infos.get(sha1)

    def presence(self, binding: Binding, group: int) -> list[bool] | None:
        file = self.partial.get(binding)
        if file is None or file.present is None:
            return None
        return [file.present[block] for block in group_blocks(Layout(file.size_bytes), group)] or None

    def open_file(self, sha1: Sha1) -> FakeFile | None:
        self._pass()
        return _opened(self.whole.get(sha1))

    def open_partial(self, binding: Binding) -> FakeFile | None:
        return _opened(self.partial.get(binding))

    def find_manifest_part(self, digest: Blake3) -> bytes | None:
        return self.parts.get(digest)


def _opened(file: FakeFile | Exception | None) -> FakeFile | None:
    if isinstance(file, Exception):
        raise file
    if file is not None:
        file.n_open += 1
    return file


@dataclass
class Got:
    """A response, read to its end; ``is_whole`` is False where the connection ended before its Content-Length."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    is_whole: bool = True
    raw: bytes = field(default=b"", repr=False)

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


class Client:
    """Speaks HTTP/1.1 strictly (h11) over one connection to the server under test."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT)

    async def ask(self, target: str, method: str = "GET", **headers: str) -> Got:
        """Send a request and read its whole response; ``if_range="x"`` becomes ``If-Range: x``."""
        await self.send(target, method, **headers)
        return await self.read()

    async def send(self, target: str, method: str = "GET", **headers: str) -> None:
        lines = [("Host", "peer"), *((name.replace("_", "-"), value) for name, value in headers.items())]
        data = self._http.send(h11.Request(method=method, target=target, headers=lines))
        await self.stream.send_all(data + self._http.send(h11.EndOfMessage()))

    async def read_some(self, n_bytes: int) -> tuple[h11.Response, bytes]:
        """Return a response's head and at least ``n_bytes`` of its body, which must be there without asking more."""
        response = await self._next()
        assert isinstance(response, h11.Response), response
        body = b""
        while len(body) < n_bytes:
            event = await self._next()
            assert isinstance(event, h11.Data), event
            body += event.data
        return response, body

    async def read_rest(self) -> bytes:
        """Return what is left of a body, which must be whole."""
        body = b""
        while not isinstance(event := await self._next(), h11.EndOfMessage):
            assert isinstance(event, h11.Data), event
            body += event.data
        self._http.start_next_cycle()
        return body

    async def read_until_broken(self) -> bytes:
        """Return what still comes of a body that ends too early, in good order: closed, not reset."""
        body = b""
        try:
            while True:
                event = await self._next()
                assert isinstance(event, h11.Data), event
                body += event.data
        except h11.RemoteProtocolError:
            return body

    async def read_without_asking(self) -> Got:
        """Read the response to a request that was sent past h11."""
        self._http.send(h11.Request(method="GET", target="/", headers=[("Host", "peer")]))
        self._http.send(h11.EndOfMessage())
        return await self.read()

    async def read(self) -> Got:
        response = await self._next()
        assert isinstance(response, h11.Response), response
        headers = {name.decode().lower(): value.decode() for name, value in response.headers}
        got = Got(response.status_code, headers)
        body = bytearray()
        try:
            while not isinstance(event := await self._next(), h11.EndOfMessage):
                assert isinstance(event, h11.Data), event
                body += event.data
        except (h11.RemoteProtocolError, trio.BrokenResourceError):
            got.is_whole = False
        got.body = bytes(body)
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        return got

    async def _next(self) -> h11.Event:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self.stream.receive_some(65536))

    async def is_closed(self) -> bool:
        """Wait until the server closes the connection; whatever it still sends is dropped."""
        try:
            while await self.stream.receive_some(65536):
                pass
        except trio.BrokenResourceError:
            pass
        return True


@dataclass
class Served:
    """A running server under test."""

    source: FakeSource | Source
    port: int
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    stopped: trio.Event = field(default_factory=trio.Event)
    streams: list[trio.SocketStream] = field(default_factory=list)
    access: Access | None = None
    counters: Counters = field(default_factory=Counters)

    async def open(self) -> Client:
        self.streams.append(await trio.open_tcp_stream("127.0.0.1", self.port))
        return Client(self.streams[-1])

    def cancel(self) -> None:
        if isinstance(self.source, FakeSource):
            self.source.gate.set()
        self.scope.cancel()

    async def stop(self) -> None:
        self.cancel()
        await self.stopped.wait()

    async def run(
        self,
        listeners: list[trio.SocketListener],
        limits: ServeLimits | None,
        task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with self.scope:
            await serve(
                self.source,
                listeners,
                limits,
                peer_id=PEER_ID,
                access=self.access,
                counters=self.counters,
                task_status=task_status,
            )
        self.stopped.set()

    async def ask(self, target: str, method: str = "GET", **headers: str) -> Got:
        client = await self.open()
        async with client.stream:
            return await client.ask(target, method, **headers)

    async def say(self, data: bytes) -> bytes:
        """Send raw bytes, end our side, and return everything that comes back."""
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            try:
                await stream.send_all(data)
                await stream.send_eof()
                return b"".join([part async for part in stream])
            except trio.BrokenResourceError:
                return b""


@asynccontextmanager
async def serving(
    source: FakeSource | Source | None = None, limits: ServeLimits | None = None, access: Access | None = None
) -> AsyncIterator[Served]:
    """Run a server on a free loopback port; at the end it is cancelled and the clients' connections are closed."""
    listeners = await open_listeners("127.0.0.1", 0)
    server = Served(source or FakeSource(), listeners[0].socket.getsockname()[1], access=access)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run, listeners, limits)
            try:
                yield server
            finally:
                server.cancel()
                for stream in server.streams:
                    with trio.CancelScope(shield=True):
                        await trio.aclose_forcefully(stream)


__all__ = ["BLOCK_BYTES", "PEER_ID", "Client", "FakeFile", "FakeSource", "Got", "ProofError", "Served", "serving"]
