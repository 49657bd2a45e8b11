"""A provider of a file of 1 TB that exists nowhere: its manifest is constructed, its blocks are made when asked for.

A program of its own: ``python -m benchmarks.synthetic --log FILE [--static]`` prints its URL and the file's link. The
log has a line for each answer: bytes of the body, then the path.
"""

from __future__ import annotations

import argparse
import struct
import threading
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np

from kacheryfs.core import wire
from kacheryfs.core.manifest import GROUP_BLOCKS, Root, n_groups_of
from kacheryfs.core.model import BLOCK_BYTES, Blake3, BlockRange, ByteRange, Layout, Sha1, salted

SIZE_BYTES = 10**12
REAL_GROUPS = (0, 1000)
"""The groups whose blocks can be read; the digests in all the others are noise."""
_SHA1 = Sha1.of(b"a terabyte that nobody has")
_TAIL = np.random.Generator(np.random.SFC64(7)).bytes(BLOCK_BYTES - 8)


class Terabyte:
    """The file: what is read of it is made."""

    def __init__(self) -> None:
        self.layout = Layout(SIZE_BYTES)
        self.groups = {Blake3.of(data): data for data in map(self._group, range(n_groups_of(SIZE_BYTES)))}
        self.root = Root(SIZE_BYTES, _SHA1, tuple(self.groups))

    def _group(self, group: int) -> bytes:
        blocks = wire.group_blocks(self.layout, group)
        if group in REAL_GROUPS:
            return b"".join(Blake3.of(self.block(index)).raw for index in blocks)
        return np.random.Generator(np.random.SFC64(group)).bytes(len(blocks) * Blake3.n_bytes)

    def block(self, index: int) -> bytes:
        return (struct.pack("<Q", index) + _TAIL)[: self.layout.block_size(index)]

    def read(self, span: ByteRange) -> bytes:
        blocks = self.layout.blocks_of(span)
        start = self.layout.bytes_of(BlockRange(blocks.start, blocks.start)).start
        return b"".join(map(self.block, blocks))[span.start - start : span.stop - start]

    def manifest_part(self, path: str) -> bytes | None:
        digest = Blake3.from_hex(path.rsplit("/", 1)[1])
        return self.root.encode() if digest == self.root.digest else self.groups.get(digest)

    @cached_property
    def link(self) -> str:
        return f"sha1://{_SHA1.hex}/terabyte.dat?manifest={self.root.digest.hex}"

    @staticmethod
    def readable_offset() -> int:
        """An offset far inside that can be read."""
        return REAL_GROUPS[1] * GROUP_BLOCKS * BLOCK_BYTES + 12_345


class Handler(BaseHTTPRequestHandler):
    """Answers as ``core/wire.py`` says, or only what a folder would (``is_static``)."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one segment
    terabyte: Terabyte
    is_static: bool
    log_path: Path
    log_lock = threading.Lock()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path in (wire.sha1_path(_SHA1), *([wire.static_sha1_path(_SHA1)] if self.is_static else [])):
            self._answer_range()
        elif url.path.startswith("/manifest/"):
            self._answer(self.terabyte.manifest_part(url.path))
        else:
            self._answer(None if self.is_static else self._find_json(url.path, url.query))

    do_HEAD = do_GET

    def _find_json(self, path: str, query: str) -> bytes | None:
        if path == wire.PEER_PATH:
            return b'{"protocol": 1, "software": "bench"}'
        if path == wire.HAVE_PATH:
            have = [text == salted(_SHA1).hex for text in parse_qs(query)["q"]]
            return f'{{"have": {str(have).lower()}}}'.encode()
        if path == wire.file_path(_SHA1):
            return wire.encode_file(wire.FileInfo(SIZE_BYTES, self.terabyte.root.digest))
        return None

    def _answer_range(self) -> None:
        span = wire.parse_range(self.headers.get("Range", ""), SIZE_BYTES)
        if span is None and self.command == "HEAD":
            self._head(200, SIZE_BYTES, {"Accept-Ranges": "bytes"})
        elif not span or len(span) > 64 * 1024 * 1024:
            self._answer(None)
        else:
            self._answer(self.terabyte.read(span), 206, wire.format_content_range(span, SIZE_BYTES))

    def _answer(self, body: bytes | None, status: int = 200, content_range: str = "") -> None:
        status, body = (404, b"{}") if body is None else (status, body)
        self._head(status, len(body), {"Content-Range": content_range} if content_range else {})
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()
        self._log(len(body))

    def _head(self, status: int, n_bytes: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(n_bytes)}.items():
            self.send_header(name, value)
        self.end_headers()

    def _log(self, n_bytes: int) -> None:
        with self.log_lock, self.log_path.open("a") as log:
            log.write(f"{n_bytes} {self.path}\n")

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing to the terminal."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--static", action="store_true")
    options = parser.parse_args()
    Handler.terabyte, Handler.is_static, Handler.log_path = Terabyte(), options.static, options.log
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_port} {Handler.terabyte.link}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
