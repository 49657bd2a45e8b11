"""Have a recording opened anew in a process of its own: which files that takes, and whether its traces come out equal.

Files that are opened by libraries in C (HDF5) leave no trace; their paths stand in the description.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from typing_extensions import Self

from ..errors import InputError
from .replay_start import Starter, end

Samples = list[np.ndarray[Any, Any]]

_starter = Starter()
"""One for the process: what it starts is worth keeping between two shares."""

TIMEOUT_S = 300.0
"""An extractor that reads every sample of a long recording to open it (NWB time stamps) takes a minute or two."""


class Replay:
    """The process, for one recording; use as a context."""

    def __init__(self, what: str) -> None:
        """InputError where the process can't be started."""
        self._what = what
        self._folder = tempfile.TemporaryDirectory(prefix="kacheryfs-replay-")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 closed with the process, in __exit__
        try:
            self._child = _starter.start(self._folder.name, self._errors.fileno())
        except OSError as exc:
            reason = self._last_words() or str(exc)
            self._drop_files()
            raise InputError(f"{what} could not be opened anew: {reason}") from exc
        except BaseException:
            self._drop_files()
            raise
        self._timer = threading.Timer(TIMEOUT_S, self._child.kill)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._timer.cancel()
        self._timer.join()  # it may be about to use what is closed now
        end(self._child)
        self._drop_files()

    def _drop_files(self) -> None:
        self._errors.close()
        self._folder.cleanup()

    def open_anew(self, description: dict[str, Any], leaves: list[dict[str, Any]]) -> tuple[list[str], Samples]:
        """Return the files that were opened, as absolute paths, and sampled traces."""
        answer = self._ask({"description": description, "leaves": leaves})
        return answer["opened"], self._read_samples(answer["samples"])

    def load(self, path: Path) -> Samples:
        """Return sampled traces of what ``si.load`` makes of a ``recording.json``."""
        return self._read_samples(self._ask(os.fspath(path))["samples"])

    def _read_samples(self, name: str) -> Samples:
        with np.load(os.path.join(self._folder.name, name), allow_pickle=False) as archive:
            return [archive[key] for key in archive.files]

    def _ask(self, question: object) -> dict[str, Any]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps(question) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise InputError(f"{self._what} could not be opened anew: {self._why_it_ended()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise InputError(
                f"{self._what} could not be opened anew from its description (save it with recording.save(folder=…), "
                f"and share what that returns): {_one_line(answer['error'])}"
            )
        return answer

    def _why_it_ended(self) -> str:
        self._child.wait()
        if not self._timer.is_alive():
            return f"that took more than {TIMEOUT_S:.0f} s"
        return self._last_words() or "the process that did it crashed, or was killed: is memory short?"

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read()[-10_000:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def are_equal(some: Samples, others: Samples) -> bool:
    """Tell whether traces are equal, but for the last digit of a float: JSON turns float32 factors into float64."""
    return len(some) == len(others) and all(map(_is_equal, some, others))


def _is_equal(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    scale = float(np.max(np.abs(other), initial=0.0, where=np.isfinite(other)))
    return np.allclose(one, other, rtol=1e-5, atol=1e-5 * scale, equal_nan=True)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]
