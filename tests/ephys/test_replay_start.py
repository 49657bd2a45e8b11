"""The processes that recordings are opened anew in: each fresh, none left behind, and begun again where one is gone."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from kacheryfs.ephys.replay_start import Child, Forked, Starter, end
from kacheryfs.ephys.replaying import Replay
from kacheryfs.errors import InputError


@pytest.fixture
def starter() -> Iterator[Starter]:
    with closing(Starter()) as starter:
        yield starter


@contextmanager
def started(starter: Starter, folder: Path) -> Iterator[Child]:
    with (folder / "errors").open("wb") as errors:
        child = starter.start(str(folder), errors.fileno())
    try:
        yield child
    finally:
        end(child)


def ask(child: Child) -> dict[str, object]:
    """Ask for what can't be opened; the answer names the error."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps({"description": {}, "leaves": [{"no": "class"}]}) + "\n")
    child.stdin.flush()
    answer: dict[str, object] = json.loads(child.stdout.readline())
    return answer


def status_of(child: Child) -> dict[str, str]:
    assert isinstance(child, Forked)
    pid = next(
        line.split()[1] for line in Path(f"/proc/self/fdinfo/{child.pidfd}").read_text().splitlines() if "Pid:" in line
    )
    return dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def parent_of(child: Child) -> int:
    return int(status_of(child)["PPid"])


def has_ended(pid: int) -> bool:
    try:
        return "(zombie)" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def test_replays_are_children_of_one_program_that_forks(starter: Starter, tmp_path: Path) -> None:
    with started(starter, tmp_path) as first, started(starter, tmp_path) as second:
        assert "error" in ask(second)
        assert "error" in ask(first)
        assert parent_of(first) == parent_of(second) != os.getpid()


def test_a_program_that_was_killed_is_started_again(starter: Starter, tmp_path: Path) -> None:
    with started(starter, tmp_path) as child:
        killed = parent_of(child)
        os.kill(killed, signal.SIGKILL)
        assert "error" in ask(child), "what is under way goes on"
    with started(starter, tmp_path) as child:
        assert "error" in ask(child)
        assert has_ended(killed)


def environment_of(child: Child) -> dict[str, str]:
    """Return what a child shows of its environment, by the class that it is asked to open."""
    (Path.cwd() / "shows.py").write_text(
        "import json, os\n\n\nclass Shows:\n    def __init__(self):\n"
        "        raise ValueError(json.dumps(dict(os.environ)))\n"
    )
    leaf = {"class": "shows.Shows", "module": "shows", "kwargs": {}, "version": "0", "relative_paths": False}
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps({"description": {}, "leaves": [leaf]}) + "\n")
    child.stdin.flush()
    error = str(json.loads(child.stdout.readline())["error"])
    return dict(json.loads(error.removeprefix("ValueError: ")))


def test_each_child_has_the_environment_of_its_start(
    starter: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("A_LABS_OWN", "first")
    with started(starter, tmp_path) as child:
        first = parent_of(child)
        assert environment_of(child)["A_LABS_OWN"] == "first"
    monkeypatch.setenv("A_LABS_OWN", "second \udc80")
    monkeypatch.setenv("ANOTHER", "x" * 100_000)
    with started(starter, tmp_path) as child:
        assert parent_of(child) == first
        assert environment_of(child)["A_LABS_OWN"] == "second \udc80"
    monkeypatch.delenv("A_LABS_OWN")
    with started(starter, tmp_path) as child:
        assert "A_LABS_OWN" not in environment_of(child)


@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "LC_ALL", "TZ", "HDF5_PLUGIN_PATH"])
def test_what_is_read_once_is_met_by_another_program(
    starter: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with started(starter, tmp_path) as child:
        first = parent_of(child)
    monkeypatch.setenv(name, "1")
    with started(starter, tmp_path) as child:
        assert parent_of(child) != first
    assert has_ended(first)


def test_where_modules_are_is_met_by_another_program(
    starter: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(starter, tmp_path) as child:
        first = parent_of(child)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with started(starter, tmp_path) as child:
        assert parent_of(child) != first


def test_a_child_that_ends_before_it_has_read_its_environment_holds_nobody_up() -> None:
    program = """
import os, tempfile
from kacheryfs.ephys.replay_start import Starter, end
os.environ["LARGE"] = "x" * 100_000  # more than a pipe takes
n_descriptors = len(os.listdir("/proc/self/fd"))
starter = Starter()
with tempfile.TemporaryFile() as errors:
    end(starter.start("/nonexistent", errors.fileno()))
    starter.close()
assert len(os.listdir("/proc/self/fd")) == n_descriptors
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_program_that_can_not_run_is_an_error_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise RuntimeError('numpy is broken, said the test')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(InputError, match=r"a recording could not be opened anew: .*numpy is broken, said the test"):
        Replay("a recording")


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "sys.exit()"])
def test_nothing_is_left_of_a_process_that_ends(tmp_path: Path, end: str) -> None:
    # An end without a word leaves the replay's folder behind: in one of ours.
    program = f"""
import os, sys
from kacheryfs.ephys.replaying import Replay, _starter
replay = Replay("x")
print(_starter._program.process.pid, flush=True)
{end}
"""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    until = time.monotonic() + 30
    while not has_ended(pid):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_forked_process_has_a_program_of_its_own_and_leaves_its_parents() -> None:
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
    assert _starter._program.process.poll() is None
"""
    done = subprocess.run([sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True, check=True)
    assert "ResourceWarning" not in done.stderr


def test_a_program_that_is_gone_ends_no_script_that_a_broken_pipe_ends() -> None:
    program = """
import os, signal
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
from kacheryfs.ephys.replaying import Replay, _starter
with Replay("x"):
    pass
os.kill(_starter._program.process.pid, signal.SIGKILL)
with Replay("y"):
    pass
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("missing", ["pidfd_open", "pidfd_send_signal", "the call"])
def test_where_children_have_no_descriptors_each_replay_is_a_process_of_ours(
    starter: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def refuse(pid: int) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    if missing == "the call":
        monkeypatch.setattr(os, "pidfd_open", refuse)
    else:
        monkeypatch.delattr(os if missing == "pidfd_open" else signal, missing)
    with started(starter, tmp_path) as child:
        assert isinstance(child, subprocess.Popen)
        assert "error" in ask(child)
