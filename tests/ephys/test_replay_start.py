"""The processes that recordings are opened anew in: each fresh, none left behind, and begun again where one is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kacheryfs.ephys.replay_start import Child, Starter
from kacheryfs.ephys.replaying import Replay
from kacheryfs.errors import InputError


@pytest.fixture
def starter() -> Iterator[Starter]:
    with closing(Starter()) as starter:
        yield starter


def ask(child: Child) -> dict[str, object]:
    """Ask for what can't be opened; the answer names the error."""
    child.stdin.write(json.dumps({"description": {}, "leaves": [{"no": "class"}]}) + "\n")
    child.stdin.flush()
    answer: dict[str, object] = json.loads(child.stdout.readline())
    return answer


def status_of(child: Child) -> dict[str, str]:
    pid = next(
        line.split()[1] for line in Path(f"/proc/self/fdinfo/{child.pidfd}").read_text().splitlines() if "Pid:" in line
    )
    return dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def parent_of(child: Child) -> int:
    return int(status_of(child)["PPid"])


def start(starter: Starter, folder: Path) -> Child:
    with (folder / "errors").open("wb") as errors:
        return starter.start(str(folder), errors.fileno())


def has_ended(pid: int) -> bool:
    try:
        return "(zombie)" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def test_replays_are_children_of_one_program_that_forks(starter: Starter, tmp_path: Path) -> None:
    with closing(start(starter, tmp_path)) as first, closing(start(starter, tmp_path)) as second:
        assert "error" in ask(second)
        assert "error" in ask(first)
        first.stdin.close()
        second.stdin.close()
        assert parent_of(first) == parent_of(second) != os.getpid()


def test_a_program_that_was_killed_is_started_again(starter: Starter, tmp_path: Path) -> None:
    with closing(start(starter, tmp_path)) as child:
        killed = parent_of(child)
        os.kill(killed, signal.SIGKILL)
        assert "error" in ask(child), "what is under way goes on"
    with closing(start(starter, tmp_path)) as child:
        assert "error" in ask(child)
        assert has_ended(killed)


def test_another_environment_is_met_by_another_program(
    starter: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(start(starter, tmp_path)) as child:
        first = parent_of(child)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with closing(start(starter, tmp_path)) as child:
        assert parent_of(child) != first
    assert has_ended(first)


def test_the_program_that_can_not_run_is_an_error_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise RuntimeError('numpy is broken, said the test')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(InputError, match=r"a recording could not be opened anew: .*numpy is broken, said the test"):
        Replay("a recording")


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "sys.exit()"])
def test_nothing_is_left_of_a_process_that_ends(tmp_path: Path, end: str) -> None:
    program = f"""
import os, sys
from kacheryfs.ephys.replaying import Replay, _starter
replay = Replay("x")
print(_starter._program.process.pid, flush=True)
{end}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    until = time.monotonic() + 30
    while not has_ended(pid):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_forked_process_has_a_program_of_its_own_and_leaves_its_parents(tmp_path: Path) -> None:
    program = """
import os, sys
from kacheryfs.ephys.replaying import Replay, _starter
with Replay("x"):
    pass
ours = _starter._program.process.pid
child = os.fork()
with Replay("y"):
    assert (_starter._program.process.pid == ours) == bool(child)
if child:
    assert os.waitpid(child, 0)[1] == 0
    os.kill(ours, 0)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
