"""The server over a real catalog, a real store and real sockets: nothing but what is shared or stored gets out."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from serve_fakes import Served, serving

from kacheryfs.core import wire
from kacheryfs.core.manifest import Root
from kacheryfs.core.model import Blake3, Sha1
from kacheryfs.serve import LocalSource
from kacheryfs.store.blocks import Store
from kacheryfs.store.catalog import Catalog
from kacheryfs.store.sharing import share

DATA = random.Random(7).randbytes(600_000)
SECRET = b"the secret beside the shared file"
H = Sha1.of(DATA)


@dataclass(frozen=True)
class Machine:
    """A shared file, and beside it a file that nobody shared."""

    folder: Path
    catalog: Catalog
    server: Served

    @property
    def original(self) -> Path:
        return self.folder / "home" / "shared.dat"

    async def say(self, *lines: str | bytes) -> bytes:
        """Send these lines as a request, end our side, and return all that comes; it must not tell of the machine."""
        data = b"\r\n".join(line.encode("latin-1") if isinstance(line, str) else line for line in lines)
        answer = await self.server.say(data)
        self.check_discreet(answer)
        return answer

    def check_discreet(self, answer: bytes) -> None:
        for told in (SECRET, str(self.folder).encode(), b"shared.dat", b"secret.txt", b"Traceback", b".py"):
            assert told not in answer


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Machine]:
    (folder / "home").mkdir()
    (folder / "home" / "shared.dat").write_bytes(DATA)
    (folder / "home" / "secret.txt").write_bytes(SECRET)
    store = Store(folder / "store", min_free_fraction=0)
    with Catalog(folder / "data") as catalog:
        share(catalog, folder / "home" / "shared.dat")
        async with serving(LocalSource(catalog, store)) as server:
            yield Machine(folder, catalog, server)
    store.close()


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:100]
    return int(answer.split(b" ")[1])


def get(target: str | bytes, *headers: str) -> tuple[str | bytes, ...]:
    raw = target.encode("latin-1") if isinstance(target, str) else target
    return (b"GET " + raw + b" HTTP/1.1", "Host: peer", *headers, "", "")


FAN = wire.fan_out(H)
TRICKS = [
    "/../../secret.txt",
    "/sha1/../../home/secret.txt",
    "/sha1/../../../../../../../../etc/passwd",
    "/sha1/%2e%2e/%2e%2e/home/secret.txt",
    "/sha1/%2E%2E%2F%2E%2E%2Fhome%2Fsecret.txt",
    "/sha1/..%2f..%2fhome%2fsecret.txt",
    "/sha1/..%5c..%5chome%5csecret.txt",
    "/sha1/..\\..\\home\\secret.txt",
    "/sha1/%252e%252e%252fhome%252fsecret.txt",
    "/sha1/..%c0%afhome%c0%afsecret.txt",
    "/sha1/....//....//home/secret.txt",
    f"/sha1/{H}/../../../home/secret.txt",
    f"/sha1/{H}%00.txt",
    f"/sha1/{H}%0d%0aX:%20y",
    f"/sha1/{str(H).upper()}",
    f"/sha1/{H}/",
    f"/sha1//{H}",
    f"/sha1/%{ord(str(H)[0]):02x}{str(H)[1:]}",
    f"/sha1/{FAN}/../{H}",
    f"/manifest/../sha1/{FAN}",
    "/manifest/ab/cd/ef/../../../../data/catalog.sqlite",
    "/v1/blocks/../../home/secret.txt",
    f"/v1/blocks/{H}/..%2f..%2fdata%2fcatalog.sqlite",
    f"/v1/presence/{H}/{'0' * 64}/-1",
    f"/v1/presence/{H}/{'0' * 64}/{'9' * 3000}",
    "/v1/have?q=../../home/secret.txt",
    "/catalog.sqlite",
    "/store/VERSION",
    "/home/secret.txt",
    "/.git/config",
    "/favicon.ico",
    "file:///etc/passwd",
    f"http://peer/sha1/{H}",
    f"http://elsewhere.example/sha1/{H}",
    f"//elsewhere.example/sha1/{H}",
    "/" + "../" * 1000,
    "/sha1/" + "a" * 3000,
    "/%",
    "/%zz",
    "/?" + "q=" * 1500,
    "?",
    "*",
]


@pytest.mark.parametrize("target", TRICKS)
async def test_no_path_leads_out_of_the_table(target, tmp_path):
    async with running(tmp_path) as machine:
        answer = await machine.say(*get(target))
        # "/?…" is the front page, which says what this is and ignores its query.
        assert status(answer) in (400, 404, 414) or target.startswith("/?")
        assert status(await machine.say(*get(f"/sha1/{H}"))) == 200  # and it goes on


@pytest.mark.parametrize("raw", [b"/sha1/\x00", b"/sha1/\xff\xfe", b"/a b", b"/\x7f", b"\x00", b"/\x1b[2J", b""])
async def test_a_path_with_bytes_that_no_path_has_is_refused(raw, tmp_path):
    async with running(tmp_path) as machine:
        answer = await machine.say(*get(raw))
        assert answer == b"" or status(answer) in (400, 404, 505)
        assert status(await machine.say(*get(f"/sha1/{H}"))) == 200


ABSURD_RANGES = [
    "bytes=0-" + "9" * 19,
    "bytes=0-" + "9" * 20,
    "bytes=0-" + "9" * 4000,
    "bytes=" + "9" * 20 + "-",
    "bytes=-" + "9" * 20,
    f"bytes={2**63}-{2**64}",
    "bytes=-0",
    "bytes=5-4",
    "bytes=--5",
    "bytes=0--1",
    "bytes=1.5-2",
    "bytes=0x10-0x20",
    "bytes=\u00b2-\u00b3",
    "bytes=0-0," * 500,
    "bytes=" + ",".join(f"{i}-{i}" for i in range(500)),
    "items=0-5",
    "bytes",
    "=",
    "",
]


@pytest.mark.parametrize("value", ABSURD_RANGES)
async def test_no_range_gives_other_bytes_than_the_files(value, tmp_path):
    async with running(tmp_path) as machine:
        answer = await machine.say(*get(f"/sha1/{H}", f"Range: {value}", "Connection: close"))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert status(answer) in (200, 206, 400, 416, 431)
        if status(answer) in (200, 206):
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            assert len(body) == int(fields[b"content-length"])
            assert body in DATA


async def test_a_client_that_ends_its_side_gets_its_whole_answer(tmp_path):
    async with running(tmp_path) as machine:
        answer = await machine.say(*get(f"/sha1/{H}"))  # ``say`` half-closes before it reads
        assert answer.endswith(DATA)


async def test_pipelined_tricks_are_answered_in_order_between_right_ones(tmp_path):
    async with running(tmp_path) as machine:
        right = f"GET /sha1/{H} HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9\r\n\r\n"
        trick = "GET /sha1/../../home/secret.txt HTTP/1.1\r\nHost: a\r\n\r\n"
        answer = await machine.say((right + trick) * 20 + right)
        assert answer.count(b"HTTP/1.1 206 ") == 21
        assert answer.count(DATA[:10]) == 21
        assert answer.count(b"HTTP/1.1 ") == 41


HELLOS = {
    "HTTP/0.9": f"GET /sha1/{H}\r\n".encode(),
    "HTTP/0.9 with an end": f"GET /sha1/{H}\r\n\r\n".encode(),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"),
    "HTTP/2 upgrade": f"GET /sha1/{H} HTTP/2.0\r\nHost: a\r\n\r\n".encode(),
    "TLS": bytes.fromhex("16030100a5010000a10303") + bytes(200),
    "a proxy's": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
    "SMB": b"\x00\x00\x00\x54\xffSMB" + bytes(100),
    "nothing but line ends": b"\r\n" * 5000,
    "smuggled": f"GET /sha1/{H} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked".encode()
    + b"\r\n\r\n0\r\n\r\n",
    "a line end in a header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nb\rc\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
}


@pytest.mark.parametrize("hello", HELLOS)
async def test_another_protocol_is_refused_or_hung_up_on(hello, tmp_path):
    async with running(tmp_path) as machine:
        answer = await machine.say(HELLOS[hello])
        assert answer == b"" or 400 <= status(answer) <= 505
        assert DATA[:100] not in answer
        assert status(await machine.say(*get(f"/sha1/{H}"))) == 200


@pytest.mark.expects_warnings
async def test_a_changed_original_is_410_and_an_unshared_one_404(tmp_path):
    async with running(tmp_path) as machine:
        machine.original.write_bytes(DATA[::-1])
        assert status(await machine.say(*get(f"/sha1/{H}"))) == 410
        machine.catalog.unshare(str(machine.original))
        for target in (f"/sha1/{H}", f"/v1/file/{H}", f"/sha1/{FAN}"):
            assert status(await machine.say(*get(target))) == 404


@pytest.mark.expects_warnings
@pytest.mark.parametrize("what", ["a symbolic link", "a folder's link", "a fifo", "a folder"])
async def test_what_was_put_in_an_originals_place_is_not_served(what, tmp_path):
    async with running(tmp_path) as machine:
        secret = machine.folder / "home" / "secret.txt"
        if what == "a folder's link":
            (machine.folder / "elsewhere").mkdir()
            (machine.folder / "elsewhere" / "shared.dat").write_bytes(SECRET)
            (machine.folder / "home").rename(machine.folder / "old")
            (machine.folder / "home").symlink_to(machine.folder / "elsewhere")
        else:
            machine.original.unlink()
        if what == "a symbolic link":
            machine.original.symlink_to(secret)
        if what == "a fifo":
            os.mkfifo(machine.original)  # opening one that nobody writes to would wait for ever
        if what == "a folder":
            machine.original.mkdir()
        with trio.fail_after(20):
            assert status(await machine.say(*get(f"/sha1/{H}"))) == 410


async def test_every_answer_about_a_file_keeps_the_machine_to_itself(tmp_path):
    async with running(tmp_path) as machine:
        info = wire.parse_file((await machine.server.ask(f"/v1/file/{H}")).body)
        assert isinstance(info.manifest, Blake3)
        root = Root.decode((await machine.server.ask(wire.manifest_path(info.manifest))).body, info.manifest)
        for target in (
            "/",
            "/v1/peer",
            f"/v1/file/{H}",
            f"/sha1/{H}",
            f"/v1/presence/{H}/{info.manifest}/0",
            wire.manifest_path(info.manifest),
            wire.manifest_path(root.groups[0]),
        ):
            answer = await machine.say(*get(target))
            assert status(answer) == 200
