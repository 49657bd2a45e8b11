"""One of several processes that use a store with a small cache, and hold each byte against what is known.

    python evicting_child.py ROOT ROLE SEED SECONDS

A reader opens, reads, puts what is missing, proves; a sender sends present blocks; an evictor takes away at random.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import sys
import time
from pathlib import Path

from store_content import BLOCK_BYTES, Content, make_content

from kacheryfs.core.model import BlockRange, ByteRange
from kacheryfs.core.quantities import CacheSize
from kacheryfs.errors import StoreError
from kacheryfs.store.blocks import Store, StoredFile

LIMIT_BYTES = 24 * 1024 * 1024
CONTENTS = [make_content(n_blocks * BLOCK_BYTES + 77, seed=n_blocks) for n_blocks in (130, 40, 8, 3)]
SMALL = [make_content(50_000 + seed, seed=1000 + seed) for seed in range(20)]


def open_store(root: Path) -> Store:
    return Store(root, min_free_fraction=0, cache_size=CacheSize(n_bytes=LIMIT_BYTES))


class Counts:
    """What happened, for the test to see that something did."""

    def __init__(self) -> None:
        self.n_read = self.n_put = self.n_refused = self.n_missing = self.n_sent = self.n_evicted = self.n_proven = 0

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in vars(self).items())


def read_and_put(store: Store, content: Content, rng: random.Random, counts: Counts) -> None:
    file = store.open(content.proof())
    start = rng.randrange(content.n_blocks)
    for index in range(start, min(start + rng.randrange(1, 60), content.n_blocks)):
        span = content.layout.bytes_of(BlockRange(index, min(index + rng.randrange(1, 3), content.n_blocks)))
        blocks = content.layout.blocks_of(span)
        file.note_use(blocks)
        if not all(file.check(block) for block in blocks):
            counts.n_missing += 1
            put(file, content, blocks, counts)
        read(file, content, span, rng, counts)
    if file.is_full() and rng.random() < 0.5:
        counts.n_proven += file.prove()
    file.close()


def put(file: StoredFile, content: Content, blocks: BlockRange, counts: Counts) -> None:
    proof = content.proof()
    is_put = file.put_all([proof.verify(block, content.block(block)) for block in blocks])
    counts.n_put += is_put
    counts.n_refused += not is_put


def read(file: StoredFile, content: Content, span: ByteRange, rng: random.Random, counts: Counts) -> None:
    buffer = memoryview(bytearray(len(span)))
    if rng.random() < 0.5:
        is_read = file.read_now(span, buffer)
    else:
        is_read = False
        with contextlib.suppress(StoreError):
            file.read_into(span, buffer)
            is_read = True
    if is_read:
        counts.n_read += 1
        assert buffer == content.data[span.start : span.stop], f"wrong bytes in {span}"


def send(store: Store, content: Content, rng: random.Random, counts: Counts) -> None:
    file = store.open(content.proof())
    with contextlib.suppress(StoreError), contextlib.closing(file.open_sender()) as sender:
        for _ in range(30):
            index = rng.randrange(content.n_blocks)
            span = content.layout.bytes_of(BlockRange(index, index + 1))
            with sender.holding(span):
                if file.check(index):
                    counts.n_sent += 1
                    assert through_socket(sender.fd, span) == content.data[span.start : span.stop], (
                        f"sent wrong: {span}"
                    )
    file.close()


def through_socket(fd: int, span: ByteRange) -> bytes:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * BLOCK_BYTES)
    found, offset = b"", span.start
    with ours, theirs:
        while offset < span.stop:
            offset += os.sendfile(ours.fileno(), fd, offset, min(span.stop - offset, 32768))
            while len(found) < offset - span.start:
                found += theirs.recv(1 << 20)
    return found


def evict(store: Store, content: Content, rng: random.Random, counts: Counts) -> None:
    counts.n_evicted += store.cache.evict([content.sha1], rng.choice([None, 1, 20_000_000])) > 0
    if rng.random() < 0.05:
        counts.n_evicted += store.cache.clear() > 0
    time.sleep(rng.random() * 0.05)


ROLES = {"reader": read_and_put, "sender": send, "evictor": evict}


def main(root: Path, role: str, seed: int, seconds: float) -> None:
    rng, counts, deadline = random.Random(seed), Counts(), time.monotonic() + seconds
    store = open_store(root)
    while time.monotonic() < deadline:
        content = rng.choice(CONTENTS) if rng.random() < 0.8 else rng.choice(SMALL)
        ROLES[role](store, content, rng, counts)
        if rng.random() < 0.02:
            store.close()
            store = open_store(root)
    store.close()
    print(counts)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
