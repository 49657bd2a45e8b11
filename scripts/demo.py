"""Shares a recording from one peer, mounts it on another on this machine, and reads it there with SpikeInterface."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo_recording import RawFormat, find_spikes, guess_channels, make_recording, open_recording, plot, shared_path_of

PNG = "kacheryfs-demo.png"
_KACHERYFS = (sys.executable, "-m", "kacheryfs")


@dataclass(frozen=True, slots=True)
class Lab:
    """One of the two peers: it keeps everything under a folder of its own."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith("KACHERYFS_")}
        return {**others, "KACHERYFS_DIR": str(self.folder)}

    def run(self, *arguments: str) -> str:
        """Run a command of kacheryfs; its words go to the terminal, its result is returned."""
        command = [*_KACHERYFS, *arguments]
        done = subprocess.run(command, env=self.environment, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.strip()

    def typed(self, *arguments: str) -> str:
        """Return the command as a person would type it."""
        return f"KACHERYFS_DIR={self.folder} {_KACHERYFS[0]} -m kacheryfs " + " ".join(arguments)


def main() -> int:
    args = _parse()
    work = Path(tempfile.mkdtemp(prefix="kacheryfs-demo-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        try:
            _show(args, work, stack)
        except subprocess.CalledProcessError as exc:
            print(f"demo: `kacheryfs {' '.join(exc.cmd[3:])}` ended with exit code {exc.returncode}", file=sys.stderr)
            return 1
        except (ValueError, OSError, ImportError) as exc:
            print(f"demo: {exc}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        if args.keep:
            stack.pop_all()  # nothing is stopped or removed
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="a recording of yours instead of a generated one")
    parser.add_argument("--keep", action="store_true", help="leave both peers running, and say how to stop them")
    parser.add_argument("--channels", type=int, help="of a raw binary FILE; a usual number that fits when not given")
    parser.add_argument("--rate", type=float, default=30_000.0, metavar="HZ", help="of a raw binary FILE (30000)")
    parser.add_argument("--dtype", default="int16", help="of a raw binary FILE (int16)")
    args = parser.parse_args()
    if args.file and not args.file.exists():
        parser.error(f"{args.file} is not there")
    return args


def _show(args: argparse.Namespace, work: Path, stack: contextlib.ExitStack) -> None:
    sharing, reading = Lab(work / "lab1"), Lab(work / "lab2")
    if args.file:
        local = shared_path_of(args.file)
    else:
        print("making 20 s of a Neuropixels-like recording with known spikes ...", flush=True)
        local = make_recording(work)
    raw = _raw_format(args, local)
    url = _serve(sharing, stack)
    print(f"sharing {local} from the first peer ...", flush=True)
    link = sharing.run("share", str(local))
    reason = None if Path("/dev/fuse").exists() else "/dev/fuse is absent here"
    if reason is None:
        path = _mount(reading, url, work / "kachery", stack, link)
    else:
        print(f"no mount: {reason}; `kacheryfs get` and `kacheryfs cat` do without FUSE:", flush=True)
        path = _get(reading, url, link, work)
    _read(path, raw, Path(PNG).absolute(), local)
    _tell(reading, link, path, url, local, is_mounted=reason is None)
    if args.keep:
        _tell_how_to_stop(reading, work, url)


def _raw_format(args: argparse.Namespace, local: Path) -> RawFormat:
    """Return how to read a file without a header, and say so, since only its owner knows."""
    raw = RawFormat(args.channels, args.rate, args.dtype)
    if local.is_dir() or ".nwb" in local.name:
        return raw
    raw = RawFormat(raw.n_channels or guess_channels(local, raw), raw.rate_hz, raw.dtype)
    words = f"{raw.n_channels} channels of {raw.dtype} at {raw.rate_hz:,.0f} Hz"
    print(f"{local.name} is taken for {words}; --channels, --dtype and --rate tell otherwise", flush=True)
    return raw


def _serve(lab: Lab, stack: contextlib.ExitStack) -> str:
    """Serve what ``lab`` shares until the stack is left; returns its URL."""
    lab.folder.mkdir(exist_ok=True)
    with open(lab.folder / "serve.log", "ab") as log:
        command = [*_KACHERYFS, "serve", "--listen", "127.0.0.1:0"]
        server = subprocess.Popen(
            command,
            env=lab.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    stack.callback(server.wait)
    stack.callback(server.terminate)
    assert server.stdout is not None
    url = server.stdout.readline().decode().strip()
    if not url:
        raise ValueError((lab.folder / "serve.log").read_text().strip())
    (lab.folder / "serve.pid").write_text(str(server.pid))
    return url


def _mount(lab: Lab, url: str, mountpoint: Path, stack: contextlib.ExitStack, link: str) -> Path:
    print("mounting it on the second peer ...", flush=True)
    lab.run("mount", str(mountpoint), "--peer", url)
    stack.callback(lab.run, "umount", "--force", str(mountpoint))
    return Path(lab.run("path", link))


def _get(lab: Lab, url: str, link: str, work: Path) -> Path:
    dest = work / "copy"
    dest.mkdir()
    print(f"  kacheryfs get '{link}' --peer {url}", flush=True)
    if link.startswith("sha1dir:"):
        dest = dest / "recording"
    copy = Path(lab.run("get", link, str(dest), "--peer", url))
    if copy.is_file():
        print(f"  kacheryfs cat --range 0:16 '{link}' --peer {url} | xxd", flush=True)
        command = [*_KACHERYFS, "cat", "--range", "0:16", link, "--peer", url]
        head = subprocess.run(command, env=lab.environment, stdout=subprocess.PIPE, check=True).stdout
        print(f"  {head.hex(' ', 2)}", flush=True)
    return copy


def _read(path: Path, raw: RawFormat, png: Path, local: Path) -> None:
    """Open the recording by its path, plot a second from its middle, and compare it with the original."""
    started_at = time.monotonic()
    recording = open_recording(path, raw)
    rate_hz = int(recording.sampling_frequency)
    n_frames = recording.get_num_samples(segment_index=0)
    start = max(0, min(n_frames // 2, n_frames - rate_hz))
    stop = min(start + rate_hz, n_frames)
    span = {"segment_index": 0, "start_frame": start, "end_frame": stop}
    recording.get_traces(**{**span, "end_frame": min(start + 30, stop)})
    first_s = time.monotonic() - started_at
    traces = recording.get_traces(**span)
    all_s = time.monotonic() - started_at
    plot(recording, traces, start, find_spikes(path, start, stop), png)
    is_same = bool((open_recording(local, raw).get_traces(**span) == traces).all())
    print(f"recording     {recording}".split("\n")[0])
    print(f"first trace   {first_s:.2f} s after opening began; a second of all channels after {all_s:.2f} s")
    print(f"as shared     {'yes, bit for bit' if is_same else 'NO: the traces differ'}")
    print(f"plot          {png}")


def _tell(lab: Lab, link: str, path: Path, url: str, local: Path, *, is_mounted: bool) -> None:
    files = [local] if local.is_file() else [file for file in local.rglob("*") if file.is_file()]
    print(f"link          {link}")
    print(f"path          {path}")
    print(f"size          {sum(file.stat().st_size for file in files):,} bytes")
    if is_mounted:
        print(f"fetched       {_fetched_bytes(json.loads(lab.run('status', '--json'))):,} bytes over the wire")
    print("look further  kacheryfs --help; on another machine:")
    print(f"                kacheryfs mount ~/kachery --peer {url.replace('127.0.0.1', 'HOST')}")
    print(f"                kacheryfs path '{link}'")


def _fetched_bytes(status: Mapping[str, Any]) -> int:
    return sum(peer["bytes_received"] for mount in status["mounts"] for peer in mount["peers"])


def _tell_how_to_stop(lab: Lab, work: Path, url: str) -> None:
    pid = (work / "lab1" / "serve.pid").read_text()
    print(f"\nBoth peers are left running ({url}, {work / 'kachery'}). To stop and remove them:")
    if (work / "kachery").exists():
        print("  " + lab.typed("umount", str(work / "kachery")))
    print(f"  kill {pid}")
    print(f"  rm -rf {work}")


if __name__ == "__main__":
    sys.exit(main())
