"""The examples in the docstrings of collections and datasets run, and print what they say."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from lab_pairs import LabPair

from kacheryfs.ephys import collections, datasets


@pytest.fixture
def at_alice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    labs = LabPair(tmp_path, monkeypatch)
    with labs.at(labs.alice):
        yield


@pytest.mark.usefixtures("at_alice")
@pytest.mark.parametrize("module", [collections, datasets], ids=lambda module: module.__name__)
def test_the_examples_run(module: ModuleType) -> None:
    done = doctest.testmod(module)
    assert done.attempted > 5
    assert done.failed == 0
