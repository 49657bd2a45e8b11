"""The end of a run: what must be left, and what a store may have kept."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from stateful_world import Taker, World
from system_labs import Lab

from kacheryfs.core.model import BLOCK_BYTES
from kacheryfs.store.places import DATA, PRESENT

PROGRAM = Path(__file__).with_name("compare_whole.py")
COMPARE_TIMEOUT_S = 120.0
_FAULTS = ("Traceback", "a fault of kacheryfs")


def compare_whole(taker: Taker, files: list[tuple[str, str]]) -> None:
    """Compare every file whole, in a process of its own: nobody may wait for a mount that hangs."""
    words = [word for name, original in files for word in (f"{taker.path}/{name}", original)]
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *words], capture_output=True, text=True, timeout=COMPARE_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, f"{taker.path}: {done.stdout}{done.stderr}"


def end_all(world: World) -> None:
    """Unmount and end everything; each must end well."""
    for taker in world.takers:
        assert taker.mount
        taker.mount.umount()
        taker.wait_until_unmounted()
    for origin in world.origins:
        assert origin.server
        origin.server.stop()


def find_faults(folder: Path) -> list[str]:
    """Return what the logs tell that no log may tell."""
    logs = {log: log.read_text(errors="replace") for log in folder.glob("*/*.log")}
    return [f"{log}:\n{text[-4000:]}" for log, text in logs.items() if any(fault in text for fault in _FAULTS)]


def find_lost(taker: Taker, world: World) -> list[str]:
    """Return what is pinned, was whole in the taker's store, and isn't read from there alone."""
    whole = [link for link, held in taker.lab_pins.items() if held]
    read = {link: taker.lab.try_run("cat", "--offline", link) for link in whole}
    return [
        f"{taker.lab.store}: {link} was pinned and whole, and isn't read without peers: {done.stderr.decode()}"
        for link, done in read.items()
        if done.stdout != world.original_of(link).read_bytes()
    ]


def find_wrong_blocks(lab: Lab, originals: Path) -> list[str]:
    """Hold what a store calls present against the originals; nobody has it open."""
    by_sha1 = {_sha1(path.read_bytes()): path for path in originals.rglob("*") if path.is_file()}
    wrong = [str(path) for path in lab.store.glob("sha1/*/*/*/*") if _sha1(path.read_bytes()) != path.name]
    for folder in (path.parent for path in lab.store.glob(f"partial/*/*/{DATA}")):
        original = by_sha1[folder.name.split("-")[0]]
        wrong += [f"{folder}: block {block}" for block in _wrong_blocks(folder, original.read_bytes())]
    return wrong


def identity(lab: Lab, original: Path) -> bytes | None:
    """Return what tells a whole file of the store from one that was evicted and fetched anew; None: it isn't whole.

    Readers fetch at once what is evicted, so that being there proves nothing. A rename keeps the inode and the time
    of birth, which only stat(1) tells.
    """
    sha1, size = _sha1(original.read_bytes()), original.stat().st_size
    partial = lab.store.glob(f"partial/*/{sha1}-*/{DATA}")
    whole = [path for path in partial if _count_present(path.with_name(PRESENT), size) * BLOCK_BYTES >= size]
    for path in [*whole, *lab.store.glob(f"sha1/*/*/*/{sha1}")]:
        done = subprocess.run(["stat", "-c", "%i %w", str(path)], capture_output=True, check=False)
        if done.returncode == 0:  # else it was proven, and moved
            return done.stdout
    return None


def _count_present(path: Path, size: int) -> int:
    return path.read_bytes()[: -(-size // BLOCK_BYTES)].count(1) if path.exists() else 0


def _wrong_blocks(folder: Path, original: bytes) -> list[int]:
    present, data = (folder / PRESENT).read_bytes(), (folder / DATA).read_bytes()
    n_blocks = -(-len(original) // BLOCK_BYTES)
    spans = [slice(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES) for block in range(n_blocks)]
    wrong = [block for block, span in enumerate(spans) if data[span] != original[span]]
    return [block for block in wrong if present[block : block + 1] > b"\0"]


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
