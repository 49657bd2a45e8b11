"""Several processes on one store at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from opening_child import CONTENT as OPENED
from process_child import CONTENT, SMALL
from store_content import check_all, data_path, partial_path, put_all, put_manifest, read

from kacheryfs.core.wire import FileInfo
from kacheryfs.store.backing import Backing
from kacheryfs.store.blocks import Store
from kacheryfs.store.folder import lock_name
from kacheryfs.store.locks import Locks

HERE = Path(__file__).parent


def start(name: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / name), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_processes_that_put_and_prove_one_file_agree(tmp_path: Path) -> None:
    root = tmp_path / "store"
    children = [start("process_child.py", root, seed) for seed in range(4)]
    for child in children:
        out, err = child.communicate(timeout=100)
        assert (child.returncode, out) == (0, "proven\n"), err[-3000:]
    assert data_path(root, CONTENT.binding).read_bytes() == CONTENT.data
    assert not (partial_path(root, CONTENT.binding) / "data").exists()
    store = Store(root)
    assert store.complete_info(CONTENT.sha1) == FileInfo(len(CONTENT.data), CONTENT.root.digest)
    assert sum(summary.is_proven for summary in store.files()) == 1 + len(SMALL)
    store.close()


def test_who_opens_a_file_while_it_is_promoted_sees_all_of_it(tmp_path: Path) -> None:
    root = tmp_path / "store"
    store = Store(root, min_free_fraction=0)
    file = store.open(OPENED.proof())
    put_all(file, OPENED)
    child = start("opening_child.py", root)
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n", child.communicate()[1][-3000:]
    for _ in range(40):
        assert file.prove()
        file.close()
        move_back(root)
        file = store.open(OPENED.proof())
        assert check_all(file) == [True] * 3
    out, err = child.communicate(timeout=100)
    assert child.returncode == 0, err[-3000:]
    assert int(out) > 1
    file.close()
    store.close()


def move_back(root: Path) -> None:
    """Make the file partial again, each block present, as a demotion does: its presence has stayed."""
    partial = partial_path(root, OPENED.binding)
    with Locks(root / "lock").hold(lock_name(OPENED.binding)):
        os.rename(data_path(root, OPENED.binding), partial / "data")


def test_what_a_killed_process_had_put_is_there(tmp_path: Path) -> None:
    root = tmp_path / "store"
    for seed in range(3):
        child = start("process_child.py", root, seed)
        while child.poll() is None and not partial_path(root, CONTENT.binding).exists():
            os.sched_yield()
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=100)
    store = Store(root, min_free_fraction=0)
    file = store.open(CONTENT.proof())
    present = [file.is_present(index) for index in range(CONTENT.n_blocks)]
    assert check_all(file) == present
    put_all(file, CONTENT)
    assert file.prove()
    file.close()
    store.close()


def test_threads_put_check_and_read_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", min_free_fraction=0)
    file = store.open(OPENED.proof())
    failures: list[BaseException] = []

    def work() -> None:
        try:
            mine = store.open(OPENED.proof())
            put_all(mine, OPENED)
            assert check_all(mine) == [True] * 3
            assert read(mine, 0, len(OPENED.data)) == OPENED.data
            assert mine.prove()
            mine.close()
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert file.is_proven
    put_manifest(store, OPENED)
    assert data_path(tmp_path / "store", OPENED.binding).read_bytes() == OPENED.data
    file.close()
    store.close()


def test_only_one_process_proves_while_the_others_wait(tmp_path: Path) -> None:
    root = tmp_path / "store"
    hashed: list[int] = []
    stores = [Store(root, min_free_fraction=0) for _ in range(3)]
    files = [store.open(OPENED.proof()) for store in stores]
    put_all(files[0], OPENED)
    for file in files[1:]:
        put_all(file, OPENED, range(1))

    def prove(number: int) -> None:
        real = files[number]._prove

        def counted(backing: Backing) -> bool:
            hashed.append(number)
            return real(backing)

        files[number]._prove = counted  # type: ignore[method-assign]
        assert files[number].prove()

    threads = [threading.Thread(target=prove, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hashed) == 1
    assert all(file.is_proven for file in files)
    for file in files:
        file.close()
    for store in stores:
        store.close()
