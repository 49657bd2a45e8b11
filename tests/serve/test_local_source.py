"""The server over a real catalog and a real store: what a peer may have, and what it may not."""

import contextlib
import os
import random
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from serve_fakes import Served, serving

from kacheryfs.core import wire
from kacheryfs.core.link import parse_link
from kacheryfs.core.manifest import GroupedProof, Root, WholeProof, build
from kacheryfs.core.model import BLOCK_BYTES, Binding, Blake3, BlockRange, ByteRange, Layout, Sha1, salted
from kacheryfs.core.wire import FileInfo
from kacheryfs.errors import ProofError, StoreError
from kacheryfs.serve import LocalSource
from kacheryfs.store.blocks import Store
from kacheryfs.store.catalog import Catalog
from kacheryfs.store.files import StoredFile
from kacheryfs.store.locks import try_lock
from kacheryfs.store.sharing import share

SIZE = 20 * BLOCK_BYTES + 1000
DATA = random.Random(0).randbytes(SIZE)
LAYOUT = Layout(SIZE)


def block(index):
    return DATA[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]


ROOT, GROUPS = build(SIZE, Sha1.of(DATA), [Blake3.of(block(i)).raw for i in range(LAYOUT.n_blocks)])
BINDING = Binding(ROOT.sha1, ROOT.digest)
PATH = wire.sha1_path(ROOT.sha1)


@dataclass
class Machine:
    """One peer's folders."""

    folder: object
    catalog: Catalog
    store: Store

    @property
    def source(self):
        return LocalSource(self.catalog, self.store)

    def share(self, name="shared.dat", data=DATA):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return path, share(self.catalog, path)

    def fetch(self, blocks, root: Root = ROOT):
        """Put blocks as a mount does, and prove the file if they are all of it."""
        self.store.put_manifest_part(root.digest, root.encode())
        for group in GROUPS:
            self.store.put_manifest_part(Blake3.of(group), group)
        proof = GroupedProof(root)
        for number, group in enumerate(GROUPS):
            proof.add_group(number, group)
        file = self.store.open(proof)
        for index in blocks:
            assert file.put(proof.verify(index, block(index)))
        file.prove()
        file.close()

    def find(self, name):
        return next(self.folder.glob(f"store/**/{name}"))


@pytest.fixture
def machine(tmp_path):
    store = Store(tmp_path / "store", min_free_fraction=0)
    with Catalog(tmp_path / "catalog") as catalog:
        yield Machine(tmp_path, catalog, store)
    store.close()


def serving_it(machine):
    return serving(machine.source)


def spoil(path, offset):
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0xFF]))


async def ranged(server: Served, path, start, stop):
    return await server.ask(path, range=wire.format_range(ByteRange(start, stop)))


async def test_a_shared_file_is_served_in_place_with_its_manifest(machine):
    machine.share()
    async with serving_it(machine) as server:
        assert (await server.ask(PATH)).body == DATA
        assert wire.parse_file((await server.ask(wire.file_path(ROOT.sha1))).body) == FileInfo(SIZE, ROOT.digest)
        assert wire.parse_have((await server.ask(wire.have_path([salted(ROOT.sha1)]))).body, 1) == [True]
        root = (await server.ask(wire.manifest_path(ROOT.digest))).body
        assert Root.decode(root, ROOT.digest) == ROOT
        assert (await server.ask(wire.manifest_path(ROOT.groups[0]))).body == GROUPS[0]


async def test_a_shared_file_answers_for_its_own_manifests_blocks(machine):
    machine.share()
    async with serving_it(machine) as server:
        got = await server.ask(wire.presence_path(BINDING, 0))
        assert wire.parse_presence(got.body, LAYOUT.n_blocks) == [True] * LAYOUT.n_blocks
        assert (await ranged(server, wire.blocks_path(BINDING), 5, 5000)).body == DATA[5:5000]
        other = Binding(ROOT.sha1, Blake3.of(b"another manifest"))
        assert (await server.ask(wire.presence_path(other, 0))).status == 404
        assert (await ranged(server, wire.blocks_path(other), 5, 5000)).status == 404


async def test_the_json_and_the_files_of_a_shared_folder_are_served(machine):
    machine.share("folder/a.dat", b"aaa")
    link = share(machine.catalog, machine.folder / "folder").link
    async with serving_it(machine) as server:
        tree = await server.ask(wire.sha1_path(parse_link(str(link)).sha1))
        assert b'"a.dat"' in tree.body
        assert (await server.ask(wire.sha1_path(Sha1.of(b"aaa")))).body == b"aaa"


async def test_a_file_that_is_only_there_is_not_served(machine):
    (machine.folder / "private.dat").write_bytes(b"private")
    async with serving_it(machine) as server:
        assert (await server.ask(wire.sha1_path(Sha1.of(b"private")))).status == 404


async def test_an_unshared_file_is_not_served(machine):
    path, _ = machine.share()
    machine.catalog.unshare(str(path))
    async with serving_it(machine) as server:
        assert (await server.ask(PATH)).status == 404
        assert (await server.ask(wire.manifest_path(ROOT.digest))).status == 404


@pytest.mark.expects_warnings
@pytest.mark.parametrize("how", ["written", "replaced", "removed", "a link"])
async def test_an_original_that_changed_is_410_until_it_is_shared_again(machine, how):
    path, _ = machine.share()
    async with serving_it(machine) as server:
        assert (await server.ask(PATH)).status == 200
        changed = bytes(SIZE)
        if how == "written":
            path.write_bytes(changed)
        else:
            path.unlink()
        if how == "replaced":
            path.write_bytes(DATA)
        if how == "a link":
            other = machine.folder / "other.dat"
            other.write_bytes(DATA)
            path.symlink_to(other)
        got = await server.ask(PATH)
        assert got.status == 410
        assert "shared.dat" not in got.body.decode()
        if how == "replaced":
            share(machine.catalog, path)
            assert (await server.ask(PATH)).body == DATA


@pytest.mark.expects_warnings
async def test_an_original_that_is_written_while_it_is_sent_never_ends_cleanly(machine):
    data = random.Random(1).randbytes(30_000_000)
    path, _ = machine.share("large.dat", data)
    async with serving_it(machine) as server:
        client = await server.open()
        await client.stream.send_all(f"GET /sha1/{Sha1.of(data)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await client.stream.receive_some(1)
        with path.open("r+b") as file:
            file.write(b"changed")
        n_received = 1
        with contextlib.suppress(trio.BrokenResourceError):  # a reset, as it is meant
            while part := await client.stream.receive_some(1 << 20):
                n_received += len(part)
        assert n_received < len(data)


async def test_a_changed_original_is_served_from_the_store_if_that_has_it(machine):
    path, _ = machine.share()
    machine.fetch(range(LAYOUT.n_blocks))
    path.write_bytes(b"changed")
    async with serving_it(machine) as server:
        assert (await server.ask(PATH)).body == DATA


async def test_a_part_is_served_under_its_manifest_and_never_by_its_bare_name(machine):
    machine.fetch(range(3, 9))
    async with serving_it(machine) as server:
        present = wire.parse_presence((await server.ask(wire.presence_path(BINDING, 0))).body, LAYOUT.n_blocks)
        assert present == [3 <= i < 9 for i in range(LAYOUT.n_blocks)]
        assert wire.parse_have((await server.ask(wire.have_path([salted(ROOT.sha1)]))).body, 1) == [True]
        span = (3 * BLOCK_BYTES, 9 * BLOCK_BYTES)
        assert (await ranged(server, wire.blocks_path(BINDING), *span)).body == DATA[slice(*span)]
        assert (await ranged(server, wire.blocks_path(BINDING), span[0], span[1] + 1)).status == 404
        assert (await server.ask(PATH)).status == 404
        assert (await server.ask(wire.file_path(ROOT.sha1))).status == 404
        assert (await server.ask(wire.presence_path(BINDING, 1))).status == 404


async def test_a_proven_file_is_served_by_its_bare_name_with_its_manifest(machine):
    machine.fetch(range(LAYOUT.n_blocks))
    async with serving_it(machine) as server:
        assert (await server.ask(PATH)).body == DATA
        assert wire.parse_file((await server.ask(wire.file_path(ROOT.sha1))).body) == FileInfo(SIZE, ROOT.digest)
        assert (await ranged(server, wire.blocks_path(BINDING), 0, SIZE)).body == DATA


async def test_a_file_of_one_block_is_served_from_the_store(machine):
    for data in (b"small", b""):
        proof = WholeProof(Sha1.of(data), len(data))
        file = machine.store.open(proof)
        if data:
            assert file.put(proof.verify(0, data))
        assert file.prove()
        file.close()
        async with serving_it(machine) as server:
            assert (await server.ask(wire.sha1_path(Sha1.of(data)))).body == data


async def test_a_block_that_the_disk_spoilt_is_not_sent(machine):
    machine.fetch(range(3, 9))
    spoil(machine.find("data"), 5 * BLOCK_BYTES + 7)
    async with serving_it(machine) as server:
        path = wire.blocks_path(BINDING)
        assert (await ranged(server, path, 5 * BLOCK_BYTES, 5 * BLOCK_BYTES + 1)).status == 404
        assert (await ranged(server, path, 4 * BLOCK_BYTES, 6 * BLOCK_BYTES)).status == 404
        assert (await ranged(server, path, 3 * BLOCK_BYTES, 5 * BLOCK_BYTES)).status == 206
        present = wire.parse_presence((await server.ask(wire.presence_path(BINDING, 0))).body, LAYOUT.n_blocks)
        assert present == [3 <= i < 9 and i != 5 for i in range(LAYOUT.n_blocks)]


async def test_a_proven_file_that_the_disk_spoilt_is_not_sent(machine):
    machine.fetch(range(LAYOUT.n_blocks))
    spoil(machine.find(str(ROOT.sha1)), 2 * BLOCK_BYTES)
    async with serving_it(machine) as server:
        assert (await server.ask(PATH)).status == 404
        got = await ranged(server, wire.blocks_path(BINDING), 3 * BLOCK_BYTES, SIZE)
        assert got.body == DATA[3 * BLOCK_BYTES :]


@pytest.mark.expects_warnings
async def test_a_block_that_is_spoilt_behind_the_head_cuts_the_body(machine):
    machine.fetch(range(LAYOUT.n_blocks))
    spoil(machine.find(str(ROOT.sha1)), 17 * BLOCK_BYTES)
    async with serving_it(machine) as server:
        got = await server.ask(PATH)
        assert not got.is_whole
        assert DATA.startswith(got.body)


async def test_a_false_manifest_serves_nobody_its_blocks_by_a_bare_name(machine):
    """A stranger's coherent lie: another file's SHA-1 with these blocks; it can be stored, and never proven."""
    victim = Sha1.of(b"what everybody wants")
    lie = Root(SIZE, victim, ROOT.groups)
    machine.fetch(range(5), lie)
    async with serving_it(machine) as server:
        assert (await server.ask(wire.sha1_path(victim))).status == 404
        assert (await server.ask(wire.file_path(victim))).status == 404
        under_its_name = wire.blocks_path(Binding(victim, lie.digest))
        assert (await ranged(server, under_its_name, 0, BLOCK_BYTES)).status == 206


def open_files(folder):
    """Return the files below ``folder`` that this process has open, but for the databases and the store's account."""
    links = [Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    paths = [str(link.readlink()) for link in links if link.is_symlink()]
    return [
        path for path in paths if path.startswith(str(folder)) and "sqlite" not in path and not path.endswith("/usage")
    ]


async def test_no_descriptor_is_left_open(machine):
    other = b"other" * 100_000
    machine.share("other.dat", other)
    machine.fetch(range(LAYOUT.n_blocks))
    async with serving_it(machine) as server:
        client = await server.open()
        for path in (PATH, wire.blocks_path(BINDING), wire.sha1_path(Sha1.of(other)), "/sha1/x"):
            for kind in ({}, {"range": "bytes=1-9"}, {"range": "bytes=99999999-"}, {"if_none_match": "*"}):
                await client.ask(path, **kind)
                await client.ask(wire.presence_path(BINDING, 0))
        await server.stop()
    assert open_files(machine.folder) == []


async def test_a_proven_file_without_a_manifest_is_served_whole(machine):
    place = machine.folder / "store" / wire.static_sha1_path(ROOT.sha1)[1:]
    place.parent.mkdir(parents=True)
    place.write_bytes(DATA)
    async with serving_it(machine) as server:
        assert (await server.ask(PATH)).body == DATA
        assert wire.parse_file((await server.ask(wire.file_path(ROOT.sha1))).body) == FileInfo(SIZE, None)


def test_blocks_that_were_replaced_under_a_sender_are_not_taken_for_checked(machine):
    machine.fetch(range(3, 9))
    readable = machine.source.open_partial(BINDING)
    assert readable.fd >= 0
    os.truncate(machine.find("data"), 0)  # the store gives up a data file that was cut, and begins another
    machine.fetch(range(10, 12))
    with pytest.raises(StoreError, match="replaced"), readable.hold(ByteRange(10 * BLOCK_BYTES, 12 * BLOCK_BYTES)):
        pass
    readable.close()


async def test_blocks_that_a_mount_has_under_way_are_waited_for_and_sent_as_they_are_put(machine):
    machine.fetch(range(2))
    path, start = wire.blocks_path(BINDING), BLOCK_BYTES
    mount = machine.store.find_partial(BINDING)
    mount.note_wanted(BlockRange(2, 5))
    async with serving_it(machine) as server, trio.open_nursery() as nursery:

        async def put() -> None:
            for index in range(2, 5):
                await trio.sleep(0.03)
                machine.fetch([index])

        nursery.start_soon(put)
        got = await server.ask(path, range=f"bytes={start}-{5 * BLOCK_BYTES - 1}", prefer="wait=5")
        assert (got.status, got.body) == (206, DATA[start : 5 * BLOCK_BYTES])
        assert (await server.ask(path, range=f"bytes=0-{6 * BLOCK_BYTES}", prefer="wait=5")).status == 404
    mount.close()


def test_what_is_being_sent_is_not_evicted(machine):
    machine.fetch(range(9))
    readable, span = machine.source.open_partial(BINDING), ByteRange(BLOCK_BYTES, 3 * BLOCK_BYTES)
    with machine.find("data").open("r+b") as evictor:
        with readable.hold(span):
            assert not try_lock(evictor.fileno(), span)
            assert try_lock(evictor.fileno(), ByteRange(span.stop, span.stop + BLOCK_BYTES))
        assert try_lock(evictor.fileno(), span)
    readable.close()


async def test_what_peers_read_is_in_use_and_what_they_do_not_is_not(machine, monkeypatch):
    machine.fetch(range(20))
    used = []
    monkeypatch.setattr(StoredFile, "note_use", lambda self, blocks: used.extend(blocks))
    async with serving_it(machine) as server:
        assert (await ranged(server, wire.blocks_path(BINDING), 5 * BLOCK_BYTES, 12 * BLOCK_BYTES)).status == 206
        assert (await ranged(server, wire.blocks_path(BINDING), 15 * BLOCK_BYTES, 15 * BLOCK_BYTES + 9)).status == 206
    assert set(used) == {*range(5, 12), 15}


def test_blocks_that_are_replaced_between_hold_and_check_are_not_sent(machine):
    machine.fetch(range(3, 9))
    readable, span = machine.source.open_partial(BINDING), ByteRange(3 * BLOCK_BYTES, 5 * BLOCK_BYTES)
    with readable.hold(span):
        os.truncate(machine.find("data"), 0)
        machine.fetch(range(3, 9))  # now the store has these blocks in another file, and finds them right there
        with pytest.raises((StoreError, ProofError)):
            readable.check(span)
    readable.close()
