"""Other processes that read, so that what happens to a reader can happen to somebody else."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from system_labs import WAIT_TIMEOUT_S, Running

CHILD = Path(__file__).with_name("reading_child.py")


@dataclass(eq=False)
class Reader:
    """A process that has a file open and reads when told to."""

    process: subprocess.Popen[bytes]

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()

    def result(self, timeout_s: float = WAIT_TIMEOUT_S) -> Any:
        """Return what came of it; waits for its end."""
        output, _ = self.process.communicate(timeout=timeout_s)
        assert self.process.returncode == 0
        return json.loads(output)

    def exit_code(self, timeout_s: float = WAIT_TIMEOUT_S) -> int:
        return self.process.wait(timeout_s)


def start_reader(
    running: Running, how: str, path: Path, start: int, n_bytes: int = 4096, n_threads: int | None = None
) -> Reader:
    """Start a reader; returns when it has the file open."""
    words = [how, path, start, n_bytes, *([] if n_threads is None else [n_threads])]
    process = running.start(
        [sys.executable, str(CHILD), *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n", f"the reader can't open {path}"
    return Reader(process)
