"""A batch of blocks is present as a whole once its data is written, or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from store_content import BLOCK_BYTES, make_content, read

from kacheryfs.store.blocks import Store

N_BLOCKS = 4
CONTENT = make_content(N_BLOCKS * BLOCK_BYTES)
BATCH = [CONTENT.verified(block) for block in range(N_BLOCKS)]


@pytest.mark.expects_warnings
@pytest.mark.parametrize("is_cut_short", [False, True], ids=["refused", "cut short"])
@pytest.mark.parametrize("n_written", range(N_BLOCKS + 1))
def test_a_batch_that_the_disk_takes_in_part_is_missing_and_can_be_put_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_written: int, *, is_cut_short: bool
) -> None:
    pwrite, calls = os.pwrite, 0

    def fail_once_full(fd: int, data: bytes | memoryview, offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls <= n_written:
            return pwrite(fd, data, offset)
        if is_cut_short and calls == n_written + 1:
            return pwrite(fd, data[: len(data) // 2], offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = Store(tmp_path / "store", min_free_fraction=0)
    file = store.open(CONTENT.proof())
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail_once_full)
        assert not file.put_all(BATCH)
    assert not any(map(file.is_checked, range(N_BLOCKS)))
    assert file.put_all(BATCH)
    assert all(map(file.is_checked, range(N_BLOCKS)))
    assert read(file, 0, len(CONTENT.data)) == CONTENT.data
    file.close()
    store.close()
