"""Choose the rows, measure them, write the table."""

from __future__ import annotations

import argparse
import datetime
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from . import rows_cache, rows_local, rows_others, rows_random, rows_recording, rows_rude, rows_sequential, rows_swarm
from .machine import describe
from .processes import BenchError, run
from .setting import FULL, QUICK, Bench
from .table import Row, render
from .web import need

ROWS: dict[str, Callable[[Bench], Row]] = {
    "cold": rows_sequential.cold,
    "line": rows_sequential.line,
    "present": rows_sequential.present,
    "cached": rows_sequential.cached,
    "traces": rows_random.traces,
    "random": rows_random.random,
    "snippet": rows_random.snippet,
    "first": rows_random.first,
    "recording": rows_recording.recording,
    "tree": rows_local.tree,
    "share": rows_local.share,
    "memory": rows_local.memory,
    "disk": rows_local.disk,
    "swarm4": rows_swarm.swarm4,
    "swarm8": rows_swarm.swarm8,
    "slowpeer": rows_swarm.slowpeer,
    "deadpeer": rows_swarm.deadpeer,
    "liarpeer": rows_swarm.liarpeer,
    "rude": rows_rude.rude,
    "evict": rows_cache.evict,
    "bigstore": rows_cache.bigstore,
    "others": rows_others.others,
}
RESULTS = Path(__file__).parents[1] / "bench-results.md"
_EPILOG = "example: scripts/bench --quick --only cold --only present. Rows: " + ", ".join(ROWS)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, epilog=_EPILOG)
    parser.add_argument("--quick", action="store_true", help="fewer runs and smaller files: to see that it works")
    parser.add_argument(
        "--only", action="append", choices=list(ROWS), metavar="ROW", help="measure this row (again for more)"
    )
    parser.add_argument("--runs", type=int, help="runs of each measure (5; quick: 2)")
    parser.add_argument(
        "--folder", type=Path, default=Path("/var/tmp"), help="where 60 GB are free, on a disk (%(default)s)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help=f"the table's file, written after each row (a full run: {RESULTS.name}; else only stdout)",
    )
    return parser.parse_args()


def _versions() -> str:
    ours = run(["git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty"]).strip()
    nginx = subprocess.run([need("nginx", "nginx-light"), "-v"], capture_output=True, text=True, check=False).stderr
    rclone = run([need("rclone", "rclone"), "version"]).split()[1]
    found = re.search(r"nginx/\S+", nginx)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("pyfuse3", "trio", "spikeinterface"))
    return f"kacheryfs {ours}, {libraries}, {found.group(0) if found else 'nginx'}, rclone {rclone}"


def _head(is_quick: bool, n_runs: int) -> list[str]:
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return [
        f"{'Quick look, no result: ' if is_quick else ''}written by `scripts/bench` on {date}.",
        "",
        f"- Machine: {describe()}. Everything runs on it: servers, proxy, mounts, readers.",
        f"- Versions: {_versions()}.",
        f"- Random data; {n_runs} runs, contenders in turn in each; medians. All page caches are dropped before each "
        "measurement, the server's too, except where a row says otherwise; every mount starts with an empty store.",
        "- 128 and 1024 are `read_ahead_kb` of the mount. The mount over nginx and rclone read the same nginx; links "
        "carry their manifest.",
        "- Proxy: 20 ms of round trip (10 each way; a new connection's handshake takes one), 100 MB/s down for all "
        "connections together, or what a row says. The line is curl through the same proxy. Wire bytes: TCP payload, "
        "both directions.",
        "- Readers are processes of their own: `preadv` of 1 MiB into one buffer, or SpikeInterface's `read_binary`. "
        "Whole reads are timed with their open.",
    ]


def _measure(bench: Bench, names: list[str], write: Callable[[list[Row], list[str]], None]) -> list[str]:
    """Measure row after row, ``write`` what there is after each, return what failed."""
    rows: list[Row] = []
    failures: list[str] = []
    for name in names:
        start = time.monotonic()
        try:
            rows.append(ROWS[name](bench))
            verdicts = "\n".join(map(str, rows[-1].verdicts))
        except (BenchError, subprocess.SubprocessError, OSError) as exc:
            failures.append(f"- Not measured: {name}: {exc}")
            verdicts = failures[-1]
        print(f"{name}: {time.monotonic() - start:.0f} s\n{verdicts}", file=sys.stderr, flush=True)
        write(rows, failures)
    return failures


def main() -> int:
    options = _parse()
    if os.geteuid() != 0:
        print("bench: drop_caches and read_ahead_kb need root; sudo scripts/bench", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that all that was started ends
    scale = QUICK if options.quick else FULL
    scale = replace(scale, n_runs=options.runs or scale.n_runs)
    folder = Path(tempfile.mkdtemp(prefix="kacheryfs-bench-", dir=options.folder))
    output = options.output or (None if options.only or options.quick else RESULTS)
    text = ""

    def write(rows: list[Row], failures: list[str]) -> None:
        nonlocal text
        text = render(rows, [*head, *failures])
        if output:
            output.write_text(text)

    try:
        head = _head(options.quick, scale.n_runs)
        with Bench(folder, scale) as bench:
            failures = _measure(bench, options.only or list(ROWS), write)
    except BenchError as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not output:
        print(text)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
