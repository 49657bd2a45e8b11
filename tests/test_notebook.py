"""The notebook in scripts/ runs from top to bottom, as for somebody who opens it, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
NOTEBOOK = SCRIPTS / "collaboration.ipynb"
TIMEOUT_S = 300.0
RUN = """
import sys, nbformat
from nbclient import NotebookClient
source, target, folder = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
try:
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": folder}}).execute()
finally:
    nbformat.write(notebook, target)
"""
A_FOLDER_OF_SOMEBODY = re.compile(r"(?<![\w./:-])/(home|root|tmp|usr|opt|var|srv|mnt|media|data|work|Users)/")


def read_cells(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text())["cells"])


def source_of(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def outputs_of(path: Path) -> list[dict[str, Any]]:
    return [output for cell in read_cells(path) for output in cell.get("outputs", [])]


def words_of(path: Path) -> str:
    return "".join("".join(output.get("text", [])) for output in outputs_of(path))


class Desk:
    """Where a notebook is run: its own temporary folder, by which every process that it starts is known."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.result = folder / "result.ipynb"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()

    @property
    def environment(self) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith("KACHERYFS_")}
        places = {name: str(self.folder / name.lower()) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR")}
        return {**others, **places, "KACHERYFS_DIR": str(self.folder / "kacheryfs"), "TMPDIR": str(self.temporary)}

    def run(self, notebook: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", RUN, str(notebook), str(self.result), str(SCRIPTS)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def find_processes(self) -> list[int]:
        """Return who runs with this desk's temporary folder: nobody else has it."""
        mark = f"TMPDIR={self.temporary}".encode()
        return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if mark in read_environ(path)]

    def wait_for_nobody(self, timeout_s: float = 20.0) -> list[int]:
        """Return who is still there after the timeout: a process that was told to end takes a moment."""
        end = time.monotonic() + timeout_s
        while (left := self.find_processes()) and time.monotonic() < end:
            time.sleep(0.1)
        return left


def read_environ(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\0")
    except OSError:  # it ended, or is another user's
        return []


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    for pid in desk.find_processes():
        os.kill(pid, signal.SIGKILL)


def test_the_notebook_runs_from_top_to_bottom(desk: Desk) -> None:
    done = desk.run(NOTEBOOK)
    assert done.returncode == 0, done.stderr[-3000:]
    assert any("image/png" in output.get("data", {}) for output in outputs_of(desk.result))
    words = words_of(desk.result)
    assert "384 channels, 5 s at 30,000 Hz" in words
    assert "60 neurons" in words
    assert "Bit for bit the same." in words
    assert "true_spikes" not in words.split("Bit for bit")[0].split("is kept")[1]  # Bob sees what was shared
    assert desk.wait_for_nobody() == []
    assert list(desk.temporary.glob("collaboration-*")) == []


def test_a_notebook_that_fails_halfway_leaves_no_process_and_no_file(desk: Desk) -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    serving = next(cell for cell in cells if '"serve"' in source_of(cell))
    making_a_folder = {**serving, "id": "folder", "source": "%%alice\nimport os\nfrom pathlib import Path\n\n"}
    making_a_folder["source"] += 'world = Path(os.environ["WORLD"])'
    failing = {
        **serving,
        "id": "failing",
        "source": "%%alice\nassert server.poll() is None\nraise ValueError('halfway')",
    }
    path = desk.folder / "failing.ipynb"
    path.write_text(json.dumps({**notebook, "cells": [cells[0], making_a_folder, serving, failing]}))
    done = desk.run(path)
    assert done.returncode != 0
    assert "Alice's cell failed" in done.stderr
    assert "halfway" in desk.result.read_text()
    assert desk.wait_for_nobody() == []
    assert list(desk.temporary.glob("collaboration-*")) == []


def test_the_notebook_tells_nothing_of_the_machine_that_it_was_written_on() -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}
    for cell in notebook["cells"]:
        assert not A_FOLDER_OF_SOMEBODY.search(source_of(cell))
        assert cell["metadata"] == {}
    assert not A_FOLDER_OF_SOMEBODY.search(words_of(NOTEBOOK))
    assert all(output["output_type"] != "error" and output.get("name") != "stderr" for output in outputs_of(NOTEBOOK))
    assert NOTEBOOK.stat().st_size < 200_000
