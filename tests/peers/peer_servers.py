"""Servers on loopback for the tests of peers/: one that follows a script, one that speaks the protocol, and nginx."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

import h11
import trio
from fakes import FakeFile, FakePeer

from kacheryfs.core import wire
from kacheryfs.core.manifest import GROUP_BLOCKS
from kacheryfs.core.model import Binding, Blake3, ByteRange, Sha1, parse_manifest_digest, salted
from kacheryfs.serve import open_listeners, serve
from kacheryfs.serve.server import port_of

Handler = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[str]:
    """Call ``handler`` for each connection; give the server's URL. Ends every handler on leaving."""
    async with trio.open_nursery() as nursery:

        async def serve_one(stream: trio.SocketStream) -> None:
            try:
                await handler(stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the client was right to hang up
            finally:
                stream.socket.close()

        listeners = await nursery.start(trio.serve_tcp, serve_one, 0)
        port = next(one.socket.getsockname()[1] for one in listeners if one.socket.family == socket.AF_INET)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            nursery.cancel_scope.cancel()


async def read_request(stream: trio.SocketStream) -> bytes:
    """Read one request's head; b"" where the client closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        new = await stream.receive_some(65536)
        if not new:
            return b""
        data += new
    return data


Reply = bytes | Callable[[trio.SocketStream], Awaitable[None]]


@dataclass(slots=True)
class Script:
    """Answers requests one after the other, however they come; what ``/v1/peer`` gets stands apart.

    A reply is bytes, or an async function that does what it likes. After the last one connections are closed.
    """

    replies: Sequence[Reply]
    peer: Reply | None = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    requests: list[bytes] = field(default_factory=list)
    n_connections: int = 0
    n_closed: int = 0

    async def handle(self, stream: trio.SocketStream) -> None:
        self.n_connections += 1
        while request := await read_request(stream):
            if self.peer is not None and b"/v1/peer " in request:
                await _send(stream, self.peer)
                continue
            self.requests.append(request)
            if len(self.requests) > len(self.replies):
                break
            await _send(stream, self.replies[len(self.requests) - 1])
        self.n_closed += 1


async def _send(stream: trio.SocketStream, reply: Reply) -> None:
    if callable(reply):
        await reply(stream)
    else:
        await stream.send_all(reply)


SPEAKS = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"protocol": 1}'


def head(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("latin-1")


def part(body: bytes, start: int, size_bytes: int) -> bytes:
    """A right 206."""
    at = f"Content-Range: bytes {start}-{start + len(body) - 1}/{size_bytes}"
    return head("206 Partial Content", f"Content-Length: {len(body)}", at) + body


class TinyServer:
    """The protocol of ``core/wire.py`` in its shortest form, out of what a FakePeer has."""

    def __init__(self, fake: FakePeer) -> None:
        self.fake = fake

    async def handle(self, stream: trio.SocketStream) -> None:
        while True:
            state = h11.Connection(h11.SERVER)
            while not isinstance(event := state.next_event(), h11.Request):
                if isinstance(event, h11.ConnectionClosed):
                    return
                state.receive_data(await stream.receive_some(65536))
            headers = {key.decode(): value.decode() for key, value in event.headers}
            status, fields, body = self._answer(event.target.decode(), headers.get("range"))
            fields["Content-Length"] = str(len(body))
            data = head(f"{status} x", *(f"{key}: {value}" for key, value in fields.items()))
            await stream.send_all(data if event.method == b"HEAD" else data + body)

    def _answer(self, target: str, range_header: str | None) -> tuple[int, dict[str, str], bytes]:
        path, _, query = target.partition("?")
        match path.split("/")[1:]:
            case ["v1", "peer"]:
                return 200, {}, b'{"protocol": 1, "software": "tiny/1"}'
            case ["v1", "have"]:
                asked = [Sha1.from_hex(item.removeprefix("q=")) for item in query.split("&")]
                known = {salted(binding.sha1) for binding, (_, blocks) in self.fake.blocks.items() if blocks}
                return 200, {}, json.dumps({"have": [one in known for one in asked]}).encode()
            case ["v1", "file", digest] if file := self.fake.files.get(Sha1.from_hex(digest)):
                return 200, {}, wire.encode_file(file.info)
            case ["v1", "presence", digest, manifest, group]:
                return self._presence(Binding(Sha1.from_hex(digest), parse_manifest_digest(manifest)), int(group))
            case ["sha1", digest] if file := self.fake.files.get(Sha1.from_hex(digest)):
                return _file_answer(file.data, range_header)
            case ["v1", "blocks", digest, manifest]:
                return self._blocks(Binding(Sha1.from_hex(digest), parse_manifest_digest(manifest)), range_header or "")
            case ["manifest", *_, digest] if data := self.fake.parts.get(Blake3.from_hex(digest)):
                return 200, {}, data
        return 404, {}, wire.encode_error("not here")

    def _presence(self, binding: Binding, group: int) -> tuple[int, dict[str, str], bytes]:
        if binding not in self.fake.blocks:
            return 404, {}, b""
        file, present = self.fake.blocks[binding]
        blocks = range(group * GROUP_BLOCKS, min((group + 1) * GROUP_BLOCKS, file.layout.n_blocks))
        return 200, {}, wire.encode_presence([block in present for block in blocks])

    def _blocks(self, binding: Binding, range_header: str) -> tuple[int, dict[str, str], bytes]:
        if binding not in self.fake.blocks:
            return 404, {}, b""
        file, present = self.fake.blocks[binding]
        span = wire.parse_range(range_header, len(file.data))
        if span is None or not present.issuperset(file.layout.blocks_of(span)):
            return 404, {}, b""
        return _file_answer(file.data, range_header)


def _file_answer(data: bytes, range_header: str | None) -> tuple[int, dict[str, str], bytes]:
    span = wire.parse_range(range_header, len(data)) if range_header else None
    if span is None:
        return 200, {}, data
    if not span:
        return 416, {"Content-Range": f"bytes */{len(data)}"}, b""
    return 206, {"Content-Range": wire.format_content_range(span, len(data))}, data[span.start : span.stop]


def write_static_layout(root: Path, files: Sequence[FakeFile], *, is_flat: bool = False) -> None:
    for file in files:
        name = file.sha1.hex if is_flat else wire.fan_out(file.sha1)
        _write(root / "sha1" / name, file.data)
        for digest, data in file.parts.items():
            _write(root / "manifest" / wire.fan_out(digest), data)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def find_nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


_NGINX_CONFIG = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off; sendfile on; tcp_nopush on;  # as Debian's package has it
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen 127.0.0.1:{port}; root {folder}/root; }}
}}
"""


@asynccontextmanager
async def running_nginx(folder: Path) -> AsyncIterator[str]:
    """Serve ``folder``/root by the real nginx."""
    nginx = find_nginx()
    assert nginx is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(_NGINX_CONFIG.format(folder=folder, port=port))
    command = [nginx, "-c", str(config), "-e", str(folder / "error.log")]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(trio.run_process, command, stderr=subprocess.DEVNULL, check=False))
        try:
            await _wait_until_listening(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            nursery.cancel_scope.cancel()  # terminates it, and waits


async def _wait_until_listening(port: int, process: trio.Process) -> None:
    with trio.fail_after(10):
        while process.poll() is None:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
            except OSError:
                await trio.sleep(0.01)
            else:
                return
    raise AssertionError(f"nginx ended with {process.returncode}")


@dataclass(slots=True)
class _OpenFake:
    """Implements ``serve.source.Readable`` by a temporary file."""

    file: FakeFile
    present: set[int]
    wanted: set[int]
    opened: IO[bytes]

    @property
    def fd(self) -> int:
        return self.opened.fileno()

    @property
    def size_bytes(self) -> int:
        return len(self.file.data)

    def find_missing(self, span: ByteRange) -> int | None:
        layout = self.file.layout
        missing = [block for block in layout.blocks_of(span) if block not in self.present]
        return max(missing[0] * layout.block_bytes, span.start) if missing else None

    def is_coming(self, span: ByteRange) -> bool:
        return (self.present | self.wanted).issuperset(self.file.layout.blocks_of(span))

    def hold(self, span: ByteRange) -> AbstractContextManager[None]:
        return nullcontext()

    def check(self, span: ByteRange) -> None:
        pass

    def close(self) -> None:
        self.opened.close()


class FakeSource:
    """What a FakePeer has, as a ``serve.source.Source``, so that kacheryfs's own server can offer it."""

    def __init__(self, fake: FakePeer) -> None:
        self._fake = fake

    def find_salted(self, digest: Sha1) -> bool:
        return digest in {salted(binding.sha1) for binding, (_, blocks) in self._fake.blocks.items() if blocks} | {
            salted(sha1) for sha1 in self._fake.files
        }

    def file_info(self, sha1: Sha1) -> wire.FileInfo | None:
        file = self._fake.files.get(sha1)
        return file.info if file else None

    def presence(self, binding: Binding, group: int) -> list[bool] | None:
        if binding not in self._fake.blocks:
            return None
        file, present = self._fake.blocks[binding]
        return [block in present for block in wire.group_blocks(file.layout, group)]

    def open_file(self, sha1: Sha1) -> _OpenFake | None:
        file = self._fake.files.get(sha1)
        return self._open(file, set(range(file.layout.n_blocks)), set()) if file else None

    def open_partial(self, binding: Binding) -> _OpenFake | None:
        if binding not in self._fake.blocks:
            return None
        return self._open(*self._fake.blocks[binding], self._fake.wanted.get(binding, set()))

    def find_manifest_part(self, digest: Blake3) -> bytes | None:
        return self._fake.parts.get(digest)

    def _open(self, file: FakeFile, present: set[int], wanted: set[int]) -> _OpenFake:
        opened = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - whom it is given to closes it
        opened.write(file.data)
        return _OpenFake(file, present, wanted, opened)


@asynccontextmanager
async def running_kacheryfs(fake: FakePeer) -> AsyncIterator[str]:
    """Serve what ``fake`` has by kacheryfs's own server."""
    listeners = await open_listeners("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, FakeSource(fake), listeners)
        yield f"http://127.0.0.1:{port_of(listeners[0])}"
        nursery.cancel_scope.cancel()
