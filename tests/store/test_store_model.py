"""The whole store against a dict, under random puts, reads, restarts, proofs, drops and spoilt disks."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from store_content import Content, data_path, make_content, partial_path, spoil

from kacheryfs.core.model import BLOCK_BYTES, BlockRange, ByteRange
from kacheryfs.errors import StoreError
from kacheryfs.store.blocks import Store, StoredFile

CONTENTS = [make_content(3 * BLOCK_BYTES + 10), make_content(BLOCK_BYTES, seed=1)]
N_STORES = 2
WHICH = st.integers(0, len(CONTENTS) - 1)
STORES = st.integers(0, N_STORES - 1)
BLOCKS = st.integers(0, 3)


class StoreModel(RuleBasedStateMachine):
    """Two stores in one folder, as two processes have them. ``put`` and ``spoilt`` say what the disk must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="store-model-"))
        self.root = self.folder / "store"
        self.put: list[set[int]] = [set() for _ in CONTENTS]
        self.spoilt: list[set[int]] = [set() for _ in CONTENTS]
        self.proven: set[int] = set()
        self.stores: list[Store] = []
        self.files: list[list[StoredFile]] = []

    @initialize()
    def open_all(self) -> None:
        self.stores = [Store(self.root, min_free_fraction=0) for _ in range(N_STORES)]
        self.files = [[store.open(content.proof()) for content in CONTENTS] for store in self.stores]

    def close_store(self, number: int) -> None:
        for file in self.files[number]:
            file.close()
        self.stores[number].close()

    def teardown(self) -> None:
        for number in range(len(self.stores)):
            self.close_store(number)
        shutil.rmtree(self.folder)

    @rule(number=STORES, which=WHICH, block=BLOCKS)
    def put_block(self, number: int, which: int, block: int) -> None:
        content = CONTENTS[which]
        if block < content.n_blocks:
            file = self.files[number][which]
            is_checked = file.is_checked(block)
            assert file.put(content.verified(block))
            self.put[which].add(block)
            if not is_checked and file.is_checked(block):
                self.spoilt[which].discard(block)

    @rule(number=STORES, which=WHICH, first=BLOCKS, n_blocks=st.integers(2, 4))
    def put_blocks(self, number: int, which: int, first: int, n_blocks: int) -> None:
        content, file = CONTENTS[which], self.files[number][which]
        blocks = range(first, min(first + n_blocks, content.n_blocks))
        if not blocks:
            return
        were_checked = [block for block in blocks if file.is_checked(block)]
        assert file.put_all([content.verified(block) for block in blocks])
        self.put[which].update(blocks)
        self.spoilt[which].difference_update(
            block for block in blocks if file.is_checked(block) and block not in were_checked
        )

    @rule(number=STORES, which=WHICH, block=BLOCKS)
    def check_block(self, number: int, which: int, block: int) -> None:
        file = self.files[number][which]
        if block >= CONTENTS[which].n_blocks or file.is_checked(block):
            return
        is_right = file.check(block)
        assert not is_right or block in self.put[which]
        assert not is_right or block not in self.spoilt[which], "a wrong byte passed"
        if not is_right:
            assert not file.is_present(block)

    @rule(number=STORES, which=WHICH, start=st.integers(0, 4 * BLOCK_BYTES), n_bytes=st.integers(1, 300_000))
    def read_span(self, number: int, which: int, start: int, n_bytes: int) -> None:
        content, file = CONTENTS[which], self.files[number][which]
        span = content.layout.clip(start, n_bytes)
        are_checked = all(file.is_checked(block) for block in content.layout.blocks_of(span))
        buffer = memoryview(bytearray(len(span)))
        try:
            file.read_into(span, buffer)
        except StoreError:
            assert not are_checked or self.was_cut(which)
            return
        assert are_checked
        self.compare(which, span, bytes(buffer))

    @rule(number=STORES, which=WHICH, start=st.integers(0, 4 * BLOCK_BYTES))
    def read_span_now(self, number: int, which: int, start: int) -> None:
        content, file = CONTENTS[which], self.files[number][which]
        span = content.layout.clip(start, 1000)
        buffer = memoryview(bytearray(len(span)))
        if file.read_now(span, buffer):
            self.compare(which, span, bytes(buffer))

    def compare(self, which: int, span: ByteRange, found: bytes) -> None:
        """What was checked before the disk spoilt it behind our back can't be known to be wrong."""
        content = CONTENTS[which]
        if not self.spoilt[which].intersection(content.layout.blocks_of(span)):
            assert found == content.data[span.start : span.stop]

    def was_cut(self, which: int) -> bool:
        return bool(self.spoilt[which])

    @rule(number=STORES, which=WHICH)
    def prove(self, number: int, which: int) -> None:
        file = self.files[number][which]
        if file.is_proven:
            return
        if file.prove():
            assert self.put[which] == set(range(CONTENTS[which].n_blocks))
            assert which in self.proven or not self.spoilt[which]  # else another process has proven it before
            self.proven.add(which)

    @rule(number=STORES)
    def restart(self, number: int) -> None:
        self.close_store(number)
        self.stores[number] = Store(self.root, min_free_fraction=0)
        self.files[number] = [self.stores[number].open(content.proof()) for content in CONTENTS]

    @rule(number=STORES, which=WHICH)
    def reopen(self, number: int, which: int) -> None:
        self.files[number][which].close()
        self.files[number][which] = self.stores[number].open(CONTENTS[which].proof())

    @rule(which=WHICH, block=BLOCKS)
    def spoil_block(self, which: int, block: int) -> None:
        content = CONTENTS[which]
        path = data_path(self.root, content.binding)
        if block in self.put[which] and block not in self.spoilt[which] and path.exists():
            spoil(path, block * BLOCK_BYTES + 3)
            self.spoilt[which].add(block)

    @rule(which=WHICH)
    def cut(self, which: int) -> None:
        path = data_path(self.root, CONTENTS[which].binding)
        if path.exists():
            n_left = path.stat().st_size // 2
            os.truncate(path, n_left)
            layout = CONTENTS[which].layout
            blocks = (BlockRange(block, block + 1) for block in range(layout.n_blocks))
            self.spoilt[which].update(block.start for block in blocks if layout.bytes_of(block).stop > n_left)

    @rule(which=WHICH)
    def lose_presence(self, which: int) -> None:
        (partial_path(self.root, CONTENTS[which].binding) / "present").unlink(missing_ok=True)

    @rule()
    def lose_index(self) -> None:
        for path in self.root.glob("index.sqlite*"):
            path.unlink()

    @rule(number=STORES, which=WHICH, n_bytes=st.sampled_from([None, 1]))
    def evict(self, number: int, which: int, n_bytes: int | None) -> None:
        self.stores[number].cache.evict([CONTENTS[which].sha1], n_bytes)
        if CONTENTS[which].sha1 not in {summary.sha1 for summary in self.stores[number].files()}:
            # A file that lost its presence on disk isn't listed; whoever had it open still has its map.
            files = [files[which] for files in self.files]
            self.put[which] = {b for b in self.put[which] if any(file.is_present(b) for file in files)}

    @rule(number=STORES, which=WHICH)
    def pin_for_a_while(self, number: int, which: int) -> None:
        store, content = self.stores[number], CONTENTS[which]
        store.pins.pin("a link", [content.sha1])
        before = [self.files[number][which].is_present(block) for block in range(content.n_blocks)]
        self.stores[1 - number].cache.evict([content.sha1])
        assert before == [self.files[number][which].is_present(block) for block in range(content.n_blocks)]
        assert store.pins.unpin("a link")

    @precondition(lambda self: self.stores)
    @rule(number=STORES, which=WHICH)
    def drop(self, number: int, which: int) -> None:
        self.files[number][which].drop()
        self.reopen(number, which)

    @rule(number=STORES)
    def list_files(self, number: int) -> None:
        known = {content.sha1: content for content in CONTENTS}
        for summary in self.stores[number].files():
            assert 0 < summary.present_bytes <= known[summary.sha1].layout.size_bytes

    @invariant()
    def what_is_checked_is_right(self) -> None:
        for files in self.files:
            for which, file in enumerate(files):
                self.hold_against_dict(CONTENTS[which], which, file)

    def hold_against_dict(self, content: Content, which: int, file: StoredFile) -> None:
        for block in range(content.n_blocks):
            assert not file.is_present(block) or block in self.put[which], "present without having been put"
            assert not file.is_checked(block) or file.is_present(block)


StoreModel.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
test_the_store_behaves_like_a_dict = StoreModel.TestCase
