"""One folder that others share, for all tests that only read; and labs for those that break something.

The asking side is this process's own environment, as it is for whoever uses fsspec.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from embedded_labs import Labs, random_bytes
from shared_folder import Shared

from kacheryfs.app.embedded import get_fetcher


@pytest.fixture
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Labs]:
    labs = Labs(tmp_path)
    monkeypatch.setenv("KACHERYFS_DIR", str(labs.ours.folder))
    try:
        yield labs
    finally:
        get_fetcher().close()
        labs.close()


@pytest.fixture(scope="module")
def _lasting_labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labs]:
    labs = Labs(tmp_path_factory.mktemp("fsspec"))
    labs.share("data/big.dat", random_bytes(3_000_000))
    labs.share("data/small.txt", b"one,two\n1,2\n3,4\n")
    labs.share("data/with space/100%25 (a+b)#?.txt", b"odd")
    labs.share("data/inner/deep/x.bin", b"x" * 1000)
    labs.share("data/inner/empty", b"")
    try:
        labs.serve()
        yield labs
    finally:
        get_fetcher(labs.settings()).close()
        labs.close()


@pytest.fixture
def shared(_lasting_labs: Labs, monkeypatch: pytest.MonkeyPatch) -> Shared:
    monkeypatch.setenv("KACHERYFS_DIR", str(_lasting_labs.ours.folder))
    folder = _lasting_labs.folder / "data"
    return Shared(folder, _lasting_labs.theirs.get("share", folder))
