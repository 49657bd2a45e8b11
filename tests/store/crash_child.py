"""Runs one change of a store again and again, each time killed one step later, and looks at what is left.

Not a test: ``test_store_crash`` starts it as a process of its own, because it forks and kills its children.

    python crash_child.py FOLDER SCENARIO whole|half

Every call of ``os`` that can change the disk, and every statement of the index, counts as a step; ``half`` kills in
the middle of the call (half of the data are written) instead of before it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from store_content import BLOCK_BYTES, Content, check_all, data_path, make_content, put_manifest, read

from kacheryfs.core.manifest import WholeProof
from kacheryfs.core.model import Sha1
from kacheryfs.store import punching
from kacheryfs.store.blocks import Store
from kacheryfs.store.index import Index

STEPS = ("open", "close", "pwrite", "write", "rename", "unlink", "rmdir", "mkdir")
STEPS += ("ftruncate", "posix_fallocate", "fsync")
CONTENT = make_content(2 * BLOCK_BYTES + 100)
SMALL = b"a file of one block"
SMALL_PROOF = WholeProof(Sha1.of(SMALL), len(SMALL))


class Countdown:
    """Kills this process at its n-th step."""

    def __init__(self, n_steps: int, *, is_half: bool) -> None:
        self.n_left = n_steps
        self.is_half = is_half

    def wrap(self, owner: object, name: str) -> None:
        real = getattr(owner, name)

        def step(*arguments: Any, **keywords: Any) -> Any:
            self.n_left -= 1
            if self.n_left == 0:
                self._die(name, real, arguments)
            return real(*arguments, **keywords)

        setattr(owner, name, step)

    def _die(self, name: str, real: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        if self.is_half and name in ("pwrite", "write"):
            fd, data, *offset = arguments
            real(fd, data[: len(data) // 2], *offset)
        os.kill(os.getpid(), signal.SIGKILL)


def put_some(folder: Path, store: Store, content: Content = CONTENT) -> None:
    file = store.open(content.proof())
    for index in (2, 0, 1):
        if not file.is_present(index) or not file.check(index):
            assert file.put(content.verified(index))
    file.close()


def put(folder: Path) -> None:
    store = Store(folder / "store", min_free_fraction=0)
    file = store.open(CONTENT.proof())
    for index in (2, 0, 1):
        assert file.put(CONTENT.verified(index))
        real_close(real_open(folder / f"put-{index}", os.O_CREAT | os.O_WRONLY))
    file.close()


def prove(folder: Path) -> None:
    store = Store(folder / "store", min_free_fraction=0)
    file = store.open(CONTENT.proof())
    assert file.prove()
    file.close()


def put_small(folder: Path) -> None:
    store = Store(folder / "store", min_free_fraction=0)
    file = store.open(SMALL_PROOF)
    assert file.put(SMALL_PROOF.verify(0, SMALL))
    file.close()


def heal(folder: Path) -> None:
    """Find a spoilt block in a proven file: it goes back to ``partial/``, and is put again."""
    store = Store(folder / "store", min_free_fraction=0)
    file = store.open(CONTENT.proof())
    assert check_all(file) == [True, False, True]
    assert file.put(CONTENT.verified(1))
    file.close()


def drop(folder: Path) -> None:
    store = Store(folder / "store", min_free_fraction=0)
    file = store.open(CONTENT.proof())
    file.drop()
    file.close()


def evict(folder: Path) -> None:
    """Take all extents of a file that is open."""
    store = Store(folder / "store", min_free_fraction=0)
    file = store.open(CONTENT.proof())
    assert store.cache.evict([CONTENT.sha1]) >= len(CONTENT.data)
    file.close()


def evict_whole(folder: Path) -> None:
    store = Store(folder / "store", min_free_fraction=0)
    assert store.cache.evict([CONTENT.sha1]) > len(CONTENT.data)


def pin(folder: Path) -> None:
    store = Store(folder / "store", min_free_fraction=0)
    store.pins.pin("a link", [CONTENT.sha1])
    assert store.cache.evict([CONTENT.sha1]) == 0


def prepare_nothing(folder: Path) -> None:
    folder.mkdir()


def prepare_present(folder: Path) -> None:
    folder.mkdir()
    store = Store(folder / "store", min_free_fraction=0)
    put_manifest(store, CONTENT)
    put_some(folder, store)
    store.close()


def prepare_spoilt(folder: Path) -> None:
    prepare_present(folder)
    prove(folder)
    with data_path(folder / "store", CONTENT.binding).open("r+b") as data:
        data.seek(BLOCK_BYTES)
        data.write(b"spoilt")


def prepare_proven(folder: Path) -> None:
    prepare_present(folder)
    prove(folder)


SCENARIOS = {
    "put": (prepare_nothing, put),
    "prove": (prepare_present, prove),
    "put_small": (prepare_nothing, put_small),
    "heal": (prepare_spoilt, heal),
    "drop": (prepare_present, drop),
    "evict": (prepare_present, evict),
    "evict_proven": (prepare_proven, evict),
    "evict_whole": (prepare_present, evict_whole),
    "evict_whole_proven": (prepare_proven, evict_whole),
    "pin": (prepare_present, pin),
}


def look(folder: Path, scenario: str) -> None:
    """Open what a killed process left, and hold it against every promise."""
    store = Store(folder / "store", min_free_fraction=0)
    assert not store.pins.is_pinned(CONTENT.sha1) or scenario == "pin"
    file = store.open(CONTENT.proof())
    present = [file.is_present(index) for index in range(3)]
    right = check_all(file)
    for index in range(3):
        if right[index]:
            assert read(file, index * BLOCK_BYTES, index * BLOCK_BYTES + 100) == CONTENT.block(index)[:100]
        if scenario != "heal" or index != 1:
            assert right[index] == present[index], "killed, not without power: what is present is right"
        if (scenario in ("prove", "heal", "pin") and index != 1) or (folder / f"put-{index}").exists():
            assert right[index], f"block {index} was in the store and is lost"
    complete = store.complete_size(CONTENT.sha1)
    if complete is not None and scenario != "heal":
        assert data_path(folder / "store", CONTENT.binding).read_bytes() == CONTENT.data
    small = store.open(SMALL_PROOF)
    assert small.is_present(0) == small.check(0)
    assert not (folder / "store" / "tmp").exists() or not list((folder / "store" / "tmp").iterdir())
    put_some(folder, store)
    assert file.prove()
    assert data_path(folder / "store", CONTENT.binding).read_bytes() == CONTENT.data
    assert [summary.is_proven for summary in store.files() if summary.sha1 == CONTENT.sha1].count(True) == 1
    info = store.complete_info(CONTENT.sha1)
    assert info is not None
    assert info.manifest == CONTENT.root.digest
    file.close()
    small.close()
    store.pins.unpin("a link")
    store.cache.clear()
    lying = [path for path in (folder / "store").rglob("*") if path.is_file() and path.parent != folder / "store"]
    assert not lying or all("manifest" in path.parts for path in lying), "space that nobody can free"


def in_child(act: Callable[[], None]) -> int:
    """Run ``act`` in a fork; return its status as ``os.waitpid`` does."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


real_open, real_close = os.open, os.close


def run_killed(folder: Path, scenario: str, n_steps: int, *, is_half: bool) -> bool:
    """Kill the scenario at a step, look, and return whether there was such a step."""
    prepare, act = SCENARIOS[scenario]
    assert in_child(lambda: prepare(folder)) == 0

    def act_until_killed() -> None:
        countdown = Countdown(n_steps, is_half=is_half)
        for name in STEPS:
            countdown.wrap(os, name)
        countdown.wrap(Index, "_run")
        countdown.wrap(punching, "_fallocate")
        act(folder)

    status = in_child(act_until_killed)
    assert status in (0, signal.SIGKILL), f"{scenario} failed at step {n_steps}"
    assert in_child(lambda: look(folder, scenario)) == 0, f"{scenario} killed at step {n_steps}"
    return status != 0


def main(folder: Path, scenario: str, how: str) -> None:
    for n_steps in itertools.count(1):
        if not run_killed(folder, scenario, n_steps, is_half=how == "half"):
            break
        shutil.rmtree(folder)
    print(n_steps - 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
