"""What the folders of a store say by themselves: enough to make its index again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..core.model import BLOCK_BYTES, MAX_BLOCK_BYTES, Binding, Blake3, Layout, Sha1
from .index import Row
from .places import DATA, PRESENT, Places, list_files, parse_partial_name
from .presence import find_n_blocks


def survey(places: Places) -> Iterator[Row]:
    """Yield what lies in the store; the manifest that a complete file was proven with is not known here."""
    for path in list_files(places.completes, 3):
        yield from complete_row(path)
    for path in list_files(places.partials, 1):
        yield from partial_row(path)


def complete_row(path: Path) -> Iterator[Row]:
    try:
        sha1, size_bytes = Sha1.from_hex(path.name), path.stat().st_size
    except (ValueError, OSError):  # not ours, or gone
        return
    block_bytes = min(max(size_bytes, 1), MAX_BLOCK_BYTES)
    yield Row(Binding(sha1, None, size_bytes), Layout(size_bytes, block_bytes), is_proven=True)


def partial_row(path: Path) -> Iterator[Row]:
    binding = parse_partial_name(path.name)
    try:
        size_bytes, n_blocks = os.stat(path / DATA).st_size, find_n_blocks(path / PRESENT)
    except OSError:  # not ours, or gone
        return
    if binding is not None and n_blocks:
        yield Row(binding, _layout(binding, size_bytes, n_blocks), is_proven=False)


def _layout(binding: Binding, size_bytes: int, n_blocks: int) -> Layout:
    """Return the layout; a legacy manifest's block size is known only as far as the number of blocks tells it."""
    if isinstance(binding.manifest, Blake3):
        return Layout(size_bytes, BLOCK_BYTES)
    return Layout(size_bytes, min(max(-(-size_bytes // n_blocks), 1), MAX_BLOCK_BYTES))
