"""A file's SHA-1 and manifest come from one pass, whatever its size."""

from __future__ import annotations

import itertools
import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from kacheryfs.core.manifest import Root
from kacheryfs.core.model import BLOCK_BYTES, Sha1
from kacheryfs.errors import ChangedError
from kacheryfs.store import hashing, hashing_blocks
from kacheryfs.store.hashing import BUFFER_BYTES, N_BUFFERS, STRETCH_BYTES, FileHasher, HashedFile, hash_file

SIZES = [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, BUFFER_BYTES, BUFFER_BYTES + 1, 5 * BUFFER_BYTES + 7]
VECTORS = {
    5_000_000: "f44fb545e66b2277a119655760e050a8889fe146",
    20_000_001: "c46c66d606692ee5904d6f0403aaa620265ccbb4",
    45_000_000: "497f23702eb05d9879e8e4836eff4d65de938889",
}
"""Content is bytes 00..ff repeated; from the lineage's formats."""


def hash_path(
    path: Path, size_bytes: int | None = None, on_progress: Callable[[int], None] | None = None
) -> HashedFile:
    with path.open("rb") as file:
        size_bytes = path.stat().st_size if size_bytes is None else size_bytes
        return hash_file(file.fileno(), size_bytes, on_progress=on_progress)


@pytest.fixture(scope="module")
def noise() -> bytes:
    return os.urandom(max(SIZES))


@pytest.mark.parametrize("size_bytes", SIZES)
def test_one_pass_finds_what_each_digest_finds_alone(tmp_path: Path, noise: bytes, size_bytes: int) -> None:
    data = noise[:size_bytes]
    (tmp_path / "f").write_bytes(data)
    hashed = hash_path(tmp_path / "f")
    assert hashed.sha1 == Sha1.of(data)
    assert hashed.size_bytes == size_bytes
    if size_bytes <= BLOCK_BYTES:
        assert hashed.root is None
        assert hashed.manifest is None
        assert hashed.groups == []
    else:
        blocks = [data[start : start + BLOCK_BYTES] for start in range(0, size_bytes, BLOCK_BYTES)]
        assert hashed.groups == [b"".join(blake3(block).digest() for block in blocks)]
        assert hashed.root is not None
        assert hashed.root == Root(size_bytes, hashed.sha1, hashed.root.groups)
        assert hashed.manifest == hashed.root.digest


@pytest.mark.parametrize("size_bytes", VECTORS)
def test_the_vectors_of_the_lineage_have_their_sha1(tmp_path: Path, size_bytes: int) -> None:
    (tmp_path / "f").write_bytes((bytes(range(256)) * (size_bytes // 256 + 1))[:size_bytes])
    assert hash_path(tmp_path / "f").sha1.hex == VECTORS[size_bytes]


def test_a_file_of_more_than_one_group_has_several(tmp_path: Path) -> None:
    size_bytes = 2048 * BLOCK_BYTES + 1
    (tmp_path / "f").touch()
    os.truncate(tmp_path / "f", size_bytes)
    hashed = hash_path(tmp_path / "f")
    assert [len(group) for group in hashed.groups] == [2048 * 32, 32]
    assert hashed.groups[1] == blake3(b"\0").digest()


def test_one_hasher_hashes_large_and_small_files_in_turn(tmp_path: Path, noise: bytes) -> None:
    hasher = FileHasher()
    for size_bytes in (3 * BUFFER_BYTES + 1, 10, BUFFER_BYTES, 0, 4 * BUFFER_BYTES):
        (tmp_path / "f").write_bytes(noise[:size_bytes])
        with (tmp_path / "f").open("rb") as file:
            assert hasher.hash(file.fileno(), size_bytes).sha1 == Sha1.of(noise[:size_bytes])


@pytest.mark.parametrize("turns", ["here", "beside", "here beside", "beside here"])
def test_whichever_thread_reads_the_digests_are_the_same(
    tmp_path: Path, noise: bytes, monkeypatch: pytest.MonkeyPatch, turns: str
) -> None:
    (tmp_path / "f").write_bytes(noise)
    expected = hash_path(tmp_path / "f")
    turn = itertools.cycle(turns.split())
    monkeypatch.setattr(hashing, "STRETCH_BYTES", 3 * BUFFER_BYTES)
    monkeypatch.setattr(hashing_blocks.Arrangement, "choose", lambda arrangement, n_bytes: next(turn) == "beside")
    assert hash_path(tmp_path / "f") == expected
    with pytest.raises(ChangedError):
        hash_path(tmp_path / "f", len(noise) + 1)


def test_the_faster_thread_reads_and_the_other_is_tried_now_and_then() -> None:
    arrangement = hashing_blocks.Arrangement()
    chosen = []
    for stretch in range(200):
        chosen.append(arrangement.choose(STRETCH_BYTES))
        is_slow = chosen[-1] is (stretch < 100)
        arrangement.note(chosen[-1], STRETCH_BYTES, 2.0 if is_slow else 1.0)
    assert chosen[:2] == [False, True]
    assert chosen[2:100].count(True) == 3
    assert chosen[160:].count(False) <= 2


def test_a_short_stretch_decides_nothing() -> None:
    arrangement = hashing_blocks.Arrangement()
    arrangement.note(False, 1000, 1.0)
    assert not arrangement.choose(STRETCH_BYTES)
    for stretch in range(32):
        arrangement.note(stretch % 2 == 1, STRETCH_BYTES, 2.0 - stretch % 2)
    assert not arrangement.choose(STRETCH_BYTES), "the slower one's turn"
    assert all(arrangement.choose(STRETCH_BYTES // 8) for _ in range(3))


def test_progress_adds_up_to_the_size(tmp_path: Path, noise: bytes) -> None:
    (tmp_path / "f").write_bytes(noise)
    steps: list[int] = []
    hash_path(tmp_path / "f", on_progress=steps.append)
    assert sum(steps) == len(noise)
    assert max(steps) <= BUFFER_BYTES


def test_the_position_of_the_file_is_not_used(tmp_path: Path, noise: bytes) -> None:
    (tmp_path / "f").write_bytes(noise)
    with (tmp_path / "f").open("rb") as file:
        file.seek(100)
        assert hash_file(file.fileno(), len(noise)).sha1 == Sha1.of(noise)
        assert file.tell() == 100


@pytest.mark.parametrize("size_bytes", [10, 2 * BUFFER_BYTES])
@pytest.mark.parametrize("other_bytes", [-1, 1])
def test_a_file_of_another_length_than_expected_is_refused(
    tmp_path: Path, noise: bytes, size_bytes: int, other_bytes: int
) -> None:
    (tmp_path / "f").write_bytes(noise[:size_bytes])
    with pytest.raises(ChangedError):
        hash_path(tmp_path / "f", size_bytes + other_bytes)


@pytest.mark.parametrize("size_bytes", [10, 2 * BUFFER_BYTES])
def test_a_read_error_reaches_the_caller(tmp_path: Path, size_bytes: int) -> None:
    with (tmp_path / "f").open("wb") as write_only, pytest.raises(OSError, match="Bad file descriptor"):
        hash_file(write_only.fileno(), size_bytes)


@pytest.mark.parametrize("is_beside", [False, True])
def test_an_interrupted_pass_leaves_no_thread_behind(
    tmp_path: Path, noise: bytes, monkeypatch: pytest.MonkeyPatch, is_beside: bool
) -> None:
    (tmp_path / "f").write_bytes(noise)
    monkeypatch.setattr(hashing_blocks.Arrangement, "choose", lambda arrangement, n_bytes: is_beside)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        hash_path(tmp_path / "f", on_progress=interrupt)
    assert threading.active_count() == before


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    os.truncate(tmp_path / "f", 20 * N_BUFFERS * BUFFER_BYTES)
    tracemalloc.start()
    try:
        hash_path(tmp_path / "f")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2 * N_BUFFERS * BUFFER_BYTES
