"""Whitening's matrices are float32 where their data are; JSON makes them float64, and the products come out otherwise.

SpikeInterface keeps them as lists. Which had another dtype stands in ``kacheryfs.json``, so that a loaded recording
computes the same bits; stock SpikeInterface loads it with float64 matrices, which differ in the last digit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import ProofError
from .layouts import CAST_NAMES, Cast
from .sharing_json import parents_of


def find_casts(recording: Any, at: tuple[str | int, ...] = ()) -> Iterator[Cast]:
    """Yield the matrices of a chain whose dtype JSON would change."""
    for segment in recording.segments[:1]:
        for name in CAST_NAMES:
            matrix = getattr(segment, name, None)
            if isinstance(matrix, np.ndarray) and matrix.dtype == np.float32:
                yield Cast(at, name, "<f4")
    for keys, parent in parents_of(recording):
        yield from find_casts(parent, (*at, "kwargs", *keys))


def apply_casts(recording: Any, casts: tuple[Cast, ...]) -> None:
    """Give the matrices of a loaded chain the dtypes that they had; ProofError where there are none."""
    for cast in casts:
        for segment in _find(recording, cast).segments:
            matrix = getattr(segment, cast.name, None)
            if not isinstance(matrix, np.ndarray) or matrix.dtype.kind != "f":
                raise ProofError(f"the recording's description casts {cast.name!r} of a step that has no such matrix")
            setattr(segment, cast.name, matrix.astype(cast.dtype))


def _find(recording: Any, cast: Cast) -> Any:
    here: Any = recording
    for key in cast.at:
        try:
            here = here._kwargs if key == "kwargs" else here[key]
        except (AttributeError, LookupError, TypeError) as exc:
            raise ProofError("the recording's description casts a matrix of a step that it doesn't have") from exc
    if not hasattr(here, "segments"):
        raise ProofError("the recording's description casts a matrix of what is no step")
    return here
