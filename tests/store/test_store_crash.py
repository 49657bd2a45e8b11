"""``kill -9`` at every step of a change: what is present is right, and nothing that was there is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("crash_child.py")


@pytest.mark.parametrize("how", ["whole", "half"])
@pytest.mark.parametrize(
    ("scenario", "at_least"),
    [
        ("put", 15),
        ("prove", 8),
        ("put_small", 8),
        ("heal", 15),
        ("drop", 5),
        ("evict", 15),
        ("evict_proven", 15),
        ("evict_whole", 12),
        ("evict_whole_proven", 12),
        ("pin", 5),
    ],
)
def test_a_kill_at_any_step_leaves_a_right_store(tmp_path: Path, scenario: str, at_least: int, how: str) -> None:
    command = [sys.executable, str(CHILD), str(tmp_path / "folder"), scenario, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) >= at_least, "it was killed at each step"
