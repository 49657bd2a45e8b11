"""Tables of an analyzer (metrics): read by pandas, which SpikeInterface itself needs for them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from .npy import Array


def parse_table(data: bytes, unit_ids: Array) -> Any:
    """Return a ``.csv`` as stock SpikeInterface does, its index of the units' type where it has one row a unit."""
    table = _pandas().read_csv(io.BytesIO(data), index_col=0)
    if len(table) == len(unit_ids) and table.index.dtype != unit_ids.dtype:
        table.index = table.index.astype(unit_ids.dtype)
    return table


def make_table(columns: Mapping[str, Array], index: Array) -> Any:
    """Return columns of a Zarr as a table, with the types that fit them."""
    return _pandas().DataFrame(dict(columns), index=index).convert_dtypes()


def _pandas() -> Any:
    try:
        import pandas  # type: ignore[import-untyped]
    except ImportError as exc:
        raise InputError("tables of metrics are read with pandas: pip install pandas") from exc
    return pandas
