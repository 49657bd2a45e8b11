"""Labs for each test of the embedded fetcher."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from embedded_labs import Labs


@pytest.fixture
def labs(tmp_path: Path) -> Iterator[Labs]:
    labs = Labs(tmp_path)
    try:
        yield labs
    finally:
        labs.close()
