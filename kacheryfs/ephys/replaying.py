"""Have a recording opened anew in a process of its own: which files that takes, and whether its traces come out equal.

Files that are opened by libraries in C (HDF5) leave no trace; their paths stand in the description.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from typing_extensions import Self

from ..errors import InputError

TIMEOUT_S = 300.0
"""An extractor that reads every sample of a long recording to open it (NWB time stamps) takes a minute or two."""


class Replay:
    """The process, for one recording; use as a context."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._folder = tempfile.TemporaryDirectory(prefix="kacheryfs-replay-")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 closed with the process, in __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from kacheryfs.ephys.replay_child import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=self._folder.name,  # the first place where Python looks for modules: nobody else's
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))},
            text=True,
        )
        self._timer = threading.Timer(TIMEOUT_S, self._process.kill)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._timer.cancel()
        self._process.kill()
        with suppress(BrokenPipeError):  # it ended by itself, with a question left in the pipe
            self._stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()
        self._folder.cleanup()

    @property
    def _stdin(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    def open_anew(self, description: dict[str, Any], leaves: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
        """Return the files that were opened, as absolute paths, and the digests of sampled traces."""
        answer = self._ask({"description": description, "leaves": leaves})
        return answer["opened"], answer["digests"]

    def load(self, path: Path) -> list[str]:
        """Return the digests of what ``si.load`` makes of a ``recording.json``."""
        digests: list[str] = self._ask(os.fspath(path))["digests"]
        return digests

    def _ask(self, question: object) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            self._stdin.write(json.dumps(question) + "\n")
            self._stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise InputError(f"{self._what} could not be opened anew: {self._why_it_ended()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise InputError(
                f"{self._what} could not be opened anew from its description: {_one_line(answer['error'])}"
            )
        return answer

    def _why_it_ended(self) -> str:
        self._process.wait()
        if not self._timer.is_alive():
            return f"that took more than {TIMEOUT_S:.0f} s"
        self._errors.seek(0)
        lines = self._errors.read()[-10_000:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"the process ended with {self._process.returncode}"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]
