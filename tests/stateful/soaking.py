"""Hours of the machine, and what the processes that last have gathered: behind ``scripts/soak``."""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stateful_machine import Machine, MachineError
from stateful_world import Tied, World

WARM_UP_S = 60.0
"""Before the start's numbers are taken: what is imported and opened once isn't a leak."""
REPORT_S = 600.0


@dataclass(frozen=True)
class Size:
    """What a process holds."""

    anon_kib: int
    n_descriptors: int
    n_threads: int

    def __str__(self) -> str:
        return f"{self.anon_kib / 1024:7.1f} MiB {self.n_descriptors:5} descriptors {self.n_threads:4} threads"


def size_of(pid: int) -> Size:
    status = Path(f"/proc/{pid}/status").read_text()
    anon, threads = (re.search(rf"{name}:\s+(\d+)", status) for name in ("RssAnon", "Threads"))
    assert anon
    assert threads
    return Size(int(anon.group(1)), len(os.listdir(f"/proc/{pid}/fd")), int(threads.group(1)))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lasting(world: World) -> dict[str, int]:
    """Return the processes that are never disturbed: an origin's server, a mount, and what serves for it."""
    server, mount = world.origins[0].server, world.takers[0].mount
    assert server
    assert mount
    found = {"serve (alice)": server.process.pid, "mount (carol, one)": mount.process.pid}
    return found | {f"its child {pid}": pid for pid in children(mount.process.pid)}


def measure(pids: Mapping[str, int]) -> dict[str, Size]:
    return {name: size_of(pid) for name, pid in pids.items()}


def tell(title: str, machine: Machine, sizes: Mapping[str, Size]) -> None:
    n_readings = sum(reader.n_readings for reader in machine.readers)
    print(f"{title}: {n_readings} readings, {len(machine.moves)} moves")
    for name, size in sizes.items():
        print(f"  {name:24} {size}", flush=True)


def soak(machine: Machine, hours: float) -> None:
    machine.run(min(WARM_UP_S, 1800 * hours))
    pids = lasting(machine.world)
    tell("start", machine, measure(pids))
    end = time.monotonic() + 3600 * hours
    while (left_s := end - time.monotonic()) > 0:
        machine.run(min(REPORT_S, left_s))
        tell(f"{left_s / 60:.0f} min before the end", machine, measure(pids))
    tell("end", machine, measure(pids))
    machine.finish()


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="where a GB is free (%(default)s)")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is ended then, too
    folder, running = Path(tempfile.mkdtemp(prefix="kacheryfs-soak-", dir=options.folder)), Tied()
    try:
        soak(Machine(folder, options.seed, running, are_some_lasting=True), options.hours)
    except MachineError as exc:
        print(f"soak: {exc}", file=sys.stderr)
        return 1
    finally:
        running.kill()
        shutil.rmtree(folder, ignore_errors=True)
    print("soak: everything held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
