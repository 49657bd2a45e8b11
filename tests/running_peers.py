"""Runs the real command line, in this process or as one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 60.0
COMMAND = (sys.executable, "-m", "kacheryfs")


@dataclass(frozen=True)
class Peer:
    """Everything that one peer keeps, under a folder of its own."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "KACHERYFS_DIR": str(self.folder)}

    def run(self, *arguments: str | Path, cwd: Path | None = None, stdin: bytes | None = None) -> Done:
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            env=self.environment,
            cwd=cwd,
            input=stdin,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr.decode())

    def get(self, *arguments: str | Path) -> str:
        """Return what a command that must succeed printed, without the line's end."""
        return self.run(*arguments).success.stdout.decode().strip()

    def get_json(self, *arguments: str | Path) -> Any:
        return json.loads(self.get(*arguments, "--json"))

    @contextmanager
    def serving(self, listen: str = "127.0.0.1:0") -> Iterator[str]:
        """Serve; yields the URL, and demands that SIGTERM ends it well."""
        command = [*COMMAND, "serve", "--listen", listen]
        with subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as server:
            try:
                assert server.stdout is not None
                yield server.stdout.readline().strip()
            finally:
                server.terminate()
                assert server.wait(TIMEOUT_S) == 0

    @contextmanager
    def mounted(self, mountpoint: Path, *arguments: str) -> Iterator[Path]:
        self.get("mount", mountpoint, *arguments)
        try:
            yield mountpoint
        finally:
            self.get("umount", "--force", mountpoint)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def success(self) -> Done:
        assert self.code == 0, self.stderr
        return self

    @property
    def one_line(self) -> str:
        """The one line of an error; a traceback, or more lines, fail."""
        lines = self.stderr.splitlines()
        assert len(lines) == 1, self.stderr
        assert lines[0].startswith("kacheryfs: ")
        return lines[0]
