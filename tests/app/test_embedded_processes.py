"""The embedded fetcher in programs of its own: forks, Ctrl-C and the end of the interpreter."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from embedded_labs import Labs, random_bytes
from running_peers import TIMEOUT_S

DATA = random_bytes(3_000_000)
HEAD = """
import gc, multiprocessing, os, signal, sys, threading, time
from kacheryfs import KacheryError
from kacheryfs.app.embedded import get_fetcher
link, expected = sys.argv[1], os.open(sys.argv[2], os.O_RDONLY)

def check(file, start):
    assert file.pread(start, 300_000) == os.pread(expected, 300_000, start)
"""


@pytest.fixture
def link(labs: Labs) -> str:
    link = labs.share("x.dat", DATA)
    labs.serve()
    return link


def run(labs: Labs, link: str, program: str, *, expected_code: int = 0, **variables: str) -> str:
    """Run a program in Python's development mode; returns what it printed. It must say nothing on stderr."""
    path = labs.folder / "program.py"
    path.write_text(HEAD + textwrap.dedent(program))
    done = subprocess.run(
        # That a process with threads forks is what is tested.
        [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", path, link, str(labs.folder / "x.dat")],
        env={**labs.ours.environment, **variables},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert not done.stderr, done.stderr
    assert done.returncode == expected_code
    return done.stdout


def test_a_program_ends_without_closing_anything(labs: Labs, link: str) -> None:
    run(labs, link, "file = get_fetcher().open_link(link); check(file, 0)")


def test_a_program_ends_while_threads_read(labs: Labs, link: str) -> None:
    program = """
    file = get_fetcher().open_link(link)
    file.pread(0, 100)

    def read():
        for _ in range(10**9):
            try:
                file.pread(0, 1000)
                get_fetcher().open_link(link)
            except KacheryError:
                pass

    for _ in range(3):
        threading.Thread(target=read, daemon=True).start()
    check(file, 0)
    """
    run(labs, link, program)


def test_a_program_ends_while_a_read_waits(labs: Labs, link: str) -> None:
    program = """
    file = get_fetcher().open_link(link)
    file.pread(0, 100)
    os.kill(int(os.environ["SERVER"]), signal.SIGSTOP)

    def read():
        try:
            file.pread(2_000_000, 1000)
        except KacheryError as exc:
            print(exc)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    while not get_fetcher()._thread._calls:
        pass
    """
    run(labs, link, program, SERVER=str(labs.servers[0].process.pid))


def test_ctrl_c_ends_a_read_that_waits_and_nothing_else(labs: Labs, link: str) -> None:
    program = """
    server = int(os.environ["SERVER"])
    file = get_fetcher().open_link(link)
    file.pread(0, 100)
    os.kill(server, signal.SIGSTOP)

    def interrupt():
        while not get_fetcher()._thread._calls:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    try:
        file.pread(2_000_000, 1000)
    except KeyboardInterrupt:
        print("interrupted")
    os.kill(server, signal.SIGCONT)
    check(file, 2_000_000)
    check(get_fetcher().open_link(link), 1_000_000)
    """
    assert run(labs, link, program, SERVER=str(labs.servers[0].process.pid)) == "interrupted\n"


def test_ctrl_c_ends_an_open_that_waits(labs: Labs, link: str) -> None:
    program = """
    server = int(os.environ["SERVER"])
    fetcher = get_fetcher()
    os.kill(server, signal.SIGSTOP)

    def interrupt():
        while not (fetcher._thread and fetcher._thread._calls):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    try:
        fetcher.open_link(link)
    except KeyboardInterrupt:
        print("interrupted")
    os.kill(server, signal.SIGCONT)
    check(fetcher.open_link(link), 1_000_000)
    """
    assert run(labs, link, program, SERVER=str(labs.servers[0].process.pid)) == "interrupted\n"


def test_a_forked_child_reads_what_its_parent_had_open(labs: Labs, link: str) -> None:
    program = """
    fetcher = get_fetcher()
    file = fetcher.open_link(link)
    check(file, 0)
    for start in (0, 1_000_000, 2_000_000):
        child = os.fork()
        if not child:
            signal.alarm(50)
            gc.collect()
            assert get_fetcher() is fetcher
            check(file, start)
            gc.collect()
            sys.exit(0)  # through everything that runs at an interpreter's end
        assert os.waitpid(child, 0)[1] == 0
    check(file, 2_500_000)
    """
    run(labs, link, program)


def test_a_fork_in_the_middle_of_reading_and_opening_hangs_nobody(labs: Labs, link: str) -> None:
    program = """
    file = get_fetcher().open_link(link)
    is_over = threading.Event()

    def read():
        start = 0
        while not is_over.is_set():
            check(get_fetcher().open_link(link), start)
            start = (start + 100_000) % 2_700_000

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for start in range(10):
        child = os.fork()
        if not child:
            signal.alarm(50)
            check(file, start)
            check(get_fetcher().open_link(link), start * 200_000)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    is_over.set()
    for reader in readers:
        reader.join()
    """
    run(labs, link, program)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_multiprocessing_read(labs: Labs, link: str, method: str) -> None:
    program = """
    if __name__ == "__main__":
        file = get_fetcher().open_link(link)
        check(file, 0)
        with multiprocessing.get_context("METHOD").Pool(3) as pool:
            pool.starmap(check, [(file, start) for start in range(0, 3_000_000, 250_000)])
            pool.close()
            pool.join()
    """
    run(labs, link, program.replace("METHOD", method))


def test_a_child_of_a_child_reads(labs: Labs, link: str) -> None:
    program = """
    file = get_fetcher().open_link(link)
    check(file, 0)
    child = os.fork()
    if not child:
        check(file, 1_000_000)
        child = os.fork()
        if not child:
            check(file, 2_000_000)
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    check(file, 2_000_000)
    """
    run(labs, link, program)


def test_a_child_that_never_reads_starts_nothing(labs: Labs, link: str) -> None:
    program = """
    file = get_fetcher().open_link(link)
    check(file, 0)
    child = os.fork()
    if not child:
        del file
        gc.collect()
        assert threading.active_count() == 1
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    check(file, 2_000_000)
    """
    run(labs, link, program)


def test_nothing_is_started_before_something_is_read(labs: Labs, link: str) -> None:
    assert run(labs, link, "get_fetcher(); print(threading.active_count())") == "1\n"
    assert not (labs.ours.folder / "store").exists()


def test_a_forked_childs_file_descriptors_hold_no_lock_of_its_parent(tmp_path: Path) -> None:
    program = """
    import os, sys
    from pathlib import Path
    from kacheryfs.store.locks import Locks

    locks, reading, writing = Locks(Path(sys.argv[1])), *os.pipe()
    with locks.hold("name"):
        child = os.fork()
        if not child:
            os.close(writing)
            os.read(reading, 1)  # until its parent is done
            os._exit(0)
    with locks.hold("name", timeout_s=0.0):
        os.close(writing)
    assert os.waitpid(child, 0)[1] == 0
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "lock")]
    subprocess.run(command, check=True, timeout=TIMEOUT_S)
