"""What the folders of a store say by themselves: enough to make its index again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..core.model import BLOCK_BYTES, MAX_BLOCK_BYTES, Binding, Blake3, Layout, Sha1
from .index import Row
from .places import DATA, PRESENT, Places, parse_partial_name


def survey(places: Places) -> Iterator[Row]:
    """Yield what lies in the store; the manifest that a complete file was proven with is not known here."""
    for path in places.completes.glob("??/??/??/*"):
        yield from _complete_row(path)
    for path in places.partials.glob("??/*"):
        yield from _partial_row(path)


def _complete_row(path: Path) -> Iterator[Row]:
    try:
        sha1, size_bytes = Sha1.from_hex(path.name), path.stat().st_size
    except (ValueError, OSError):  # not ours, or gone
        return
    block_bytes = min(max(size_bytes, 1), MAX_BLOCK_BYTES)
    yield Row(Binding(sha1, None, size_bytes), Layout(size_bytes, block_bytes), is_proven=True)


def _partial_row(path: Path) -> Iterator[Row]:
    binding = parse_partial_name(path.name)
    try:
        size_bytes, n_blocks = os.stat(path / DATA).st_size, os.stat(path / PRESENT).st_size
    except OSError:  # not ours, or gone
        return
    if binding is not None and n_blocks:
        yield Row(binding, _layout(binding, size_bytes, n_blocks), is_proven=False)


def _layout(binding: Binding, size_bytes: int, n_blocks: int) -> Layout:
    """Return the layout; a legacy manifest's block size is known only as far as the number of blocks tells it."""
    if isinstance(binding.manifest, Blake3):
        return Layout(size_bytes, BLOCK_BYTES)
    return Layout(size_bytes, min(max(-(-size_bytes // n_blocks), 1), MAX_BLOCK_BYTES))
