"""What the hostile world is about: a file, its forgery, a folder; and what of them lies in a store."""

from __future__ import annotations

import random
from pathlib import Path

import trio
from blake3 import blake3
from fakes import FakeFile

from kacheryfs.core.manifest import build
from kacheryfs.core.model import BLOCK_BYTES, Binding, Blake3, BlockRange, Sha1
from kacheryfs.core.request import FileRequest
from kacheryfs.core.tree import FileEntry, Tree, encode_tree
from kacheryfs.errors import KacheryError
from kacheryfs.fetch.engine import Engine
from kacheryfs.store.blocks import Store


def forged(sha1: Sha1, data: bytes) -> FakeFile:
    """Make a coherent false file: ``data`` with a manifest that fits it, under somebody else's SHA-1."""
    digests = (blake3(data[i : i + BLOCK_BYTES]).digest() for i in range(0, len(data), BLOCK_BYTES))
    root, groups = build(len(data), sha1, digests)
    return FakeFile(data, sha1, root, tuple(groups))


def _entry(file: FakeFile) -> FileEntry:
    return FileEntry(len(file.data), file.sha1, file.binding.manifest)


FILE = FakeFile.of(random.Random(1).randbytes(3 * BLOCK_BYTES + 7))
OTHER = FakeFile.of(random.Random(2).randbytes(3 * BLOCK_BYTES + 7))
SMALL = FakeFile.of(random.Random(3).randbytes(5000))
FORGERY = forged(FILE.sha1, OTHER.data)
SMALL_FORGERY = FakeFile(OTHER.data[:5000], SMALL.sha1, None, ())
TREE = Tree({"sub": Tree({}, {"file.dat": _entry(FILE)})}, {"small.dat": _entry(SMALL)})
JSON = FakeFile.of(encode_tree(TREE))
ALL = (FILE, SMALL, JSON)
TRUTH = {file.sha1: file.data for file in (*ALL, OTHER)}
LINKED = FileRequest(FILE.sha1, FILE.binding.manifest)
READS = {
    "link": (LINKED, FILE.data),
    "file of a folder": (FileRequest(FILE.sha1, FILE.binding.manifest, len(FILE.data)), FILE.data),
    "small file of a folder": (FileRequest(SMALL.sha1, None, len(SMALL.data)), SMALL.data),
    "small bare name": (FileRequest(SMALL.sha1), SMALL.data),
}

Outcome = bytes | Tree | KacheryError


async def read_all(engine: Engine, request: FileRequest) -> bytes:
    reader = (await engine.locate(request)).open()
    try:
        return b"".join([bytes(await reader.read(at, 300_000)) for at in range(0, reader.size_bytes, 300_000)])
    finally:
        reader.close()


async def read_everything(engine: Engine) -> dict[str, Outcome]:
    """Read the file, the small one and the folder at once, by every name that carries a proof; errors are outcomes."""
    found: dict[str, Outcome] = {}

    async def attempt(name: str) -> None:
        try:
            if name == "folder":
                found[name] = await engine.get_tree(JSON.sha1)
            else:
                found[name] = await read_all(engine, READS[name][0])
        except KacheryError as exc:
            found[name] = exc

    async with trio.open_nursery() as nursery:
        for name in (*READS, "folder"):
            nursery.start_soon(attempt, name)
    return found


def wrong_reads(found: dict[str, Outcome]) -> list[str]:
    """Return which reads gave neither the right bytes nor an error."""
    right: dict[str, Outcome] = {name: data for name, (_, data) in READS.items()} | {"folder": TREE}
    return [name for name, it in found.items() if not isinstance(it, KacheryError) and it != right[name]]


def failed_reads(found: dict[str, Outcome]) -> dict[str, KacheryError]:
    return {name: outcome for name, outcome in found.items() if isinstance(outcome, KacheryError)}


def wrong_in_store(folder: Path) -> list[str]:
    """Look into a store as a process that starts anew does; return what is not as its name says."""
    wrong = [str(path) for path in (folder / "sha1").glob("??/??/??/*") if Sha1.of(path.read_bytes()).hex != path.name]
    for path in (folder / "manifest").glob("??/??/??/*"):
        if Blake3.of(path.read_bytes()).hex != path.name:
            wrong.append(str(path))
    store = Store(folder, min_free_fraction=0)
    for kept in store.files():
        binding = Binding(kept.sha1, kept.manifest, None if kept.manifest else kept.size_bytes)
        wrong += [f"{kept}: block {block}" for block in _wrong_blocks(store, binding)]
    store.close()
    return wrong


def _wrong_blocks(store: Store, binding: Binding) -> list[int]:
    file = store.find_partial(binding)
    assert file is not None, f"{binding} can't be verified"
    wrong = []
    for block in range(file.layout.n_blocks):
        if file.is_present(block):
            span = file.layout.bytes_of(BlockRange(block, block + 1))
            buffer = bytearray(len(span))
            assert file.check(block)
            file.read_into(span, memoryview(buffer))
            if buffer != TRUTH[binding.sha1][span.start : span.stop]:
                wrong.append(block)
    file.close()
    return wrong
