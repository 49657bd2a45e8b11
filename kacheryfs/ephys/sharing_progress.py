"""A progress bar in a notebook or a terminal, for files that take more than a moment to read."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from typing_extensions import Self

MIN_BYTES = 500_000_000
"""Read in less than a second."""


class Progress:
    """Takes (done, total) in bytes; use as a context."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def set(self, done_bytes: int, total_bytes: int) -> None:
        if total_bytes < MIN_BYTES:
            return
        if self._bar is None:
            from tqdm.auto import tqdm  # SpikeInterface's own choice, so it is there

            what = f"hash the files of {self._what}"
            self._bar = tqdm(total=total_bytes, unit="B", unit_scale=True, desc=what, mininterval=0.5, leave=False)
        self._bar.update(done_bytes - self._bar.n)
