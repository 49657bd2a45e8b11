"""BitTorrent on loopback: seeders with a tracker, and a reader by python-libtorrent. Programs of their own.

``seed FILE TORRENT`` writes a torrent of the file, seeds it at ``SEEDS`` and announces ``LINES``, where the bench puts
its proxies; it prints "ready". ``first``, ``whole`` and ``random`` read as ``reader``'s do, and print the same JSON;
``magnet`` is ``first`` without the torrent in hand.

Everything runs in a network namespace that has a loopback and nothing else (``unshare --net``): clients such as btfs
talk to the world's DHT, UPnP and local discovery without being asked.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import libtorrent as lt
import numpy as np

from .reader import wait_for_start
from .torrent_ends import LINES, N_PEERS, SEEDS, TRACKER

PIECE_BYTES = 256 * 1024
"""As our blocks: what one byte costs is the same for both."""
WAIT_S = 30.0
_QUIET = {"enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False}
_TCP = {"enable_outgoing_utp": False, "enable_incoming_utp": False}
"""The proxies carry TCP."""
_KEPT = {"close_redundant_connections": False}
"""Else a seeder hangs up on who wants nothing yet, and a reader starts by connecting."""


class Tracker(BaseHTTPRequestHandler):
    """Tells everybody who asks of the proxies (BEP 3, compact as in BEP 23)."""

    def do_GET(self) -> None:
        peers = b"".join(socket.inet_aton(host) + port.to_bytes(2, "big") for host, port in LINES)
        body: bytes = lt.bencode({b"interval": 1800, b"peers": peers})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing to the terminal."""


def _write_torrent(path: Path, torrent_path: Path) -> None:
    torrent = lt.create_torrent(lt.list_files(str(path)), PIECE_BYTES, lt.create_torrent.v1_only)
    torrent.add_tracker(f"http://{TRACKER[0]}:{TRACKER[1]}/announce")
    lt.set_piece_hashes(torrent, str(path.parent))
    torrent_path.write_bytes(lt.bencode(torrent.generate()))


def _session(listen: str, **settings: object) -> Any:
    mask = lt.alert.category_t.status_notification | lt.alert.category_t.error_notification
    return lt.session({"listen_interfaces": listen, "alert_mask": mask, **_QUIET, **_TCP, **_KEPT, **settings})


def seed(path: Path, torrent_path: Path) -> None:
    """Seed until SIGTERM."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    _write_torrent(path, torrent_path)
    sessions = [_session(f"{host}:{port}", allow_multiple_connections_per_ip=True) for host, port in SEEDS]
    for session in sessions:
        parameters = _parameters(torrent_path, path.parent)
        parameters.flags |= lt.torrent_flags.seed_mode
        session.add_torrent(parameters)
    tracker = ThreadingHTTPServer(TRACKER, Tracker)
    threading.Thread(target=tracker.serve_forever, daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


def _parameters(torrent_path: Path, folder: Path) -> Any:
    parameters = lt.add_torrent_params()
    parameters.ti = lt.torrent_info(str(torrent_path))
    parameters.save_path = str(folder)
    parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    return parameters


class Download:
    """A torrent in a session of its own."""

    def __init__(self) -> None:
        self._session = _session("127.0.0.1:0")

    def connect(self, torrent_path: Path, folder: Path) -> None:
        """Ask for nothing yet, and connect to every peer that the tracker tells."""
        parameters = _parameters(torrent_path, folder)
        self.size_bytes: int = parameters.ti.total_size()
        self.n_pieces: int = parameters.ti.num_pieces()
        parameters.piece_priorities = [0] * self.n_pieces
        self.handle = self._session.add_torrent(parameters)
        self._wait_until(lambda: self.handle.status().num_seeds == N_PEERS, f"{N_PEERS} seeders")

    def follow(self, magnet: str, folder: Path) -> None:
        """Add a magnet link, and return when its metadata came."""
        parameters = lt.parse_magnet_uri(magnet)
        parameters.save_path = str(folder)
        parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
        parameters.flags |= lt.torrent_flags.default_dont_download
        self.handle = self._session.add_torrent(parameters)
        self._wait_until(lambda: self.handle.status().has_metadata, "metadata")

    def _wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not is_so():
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {what} within {WAIT_S:.0f} s: {self.handle.status().num_peers} peers")
            time.sleep(0.001)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes: their pieces are asked for at once, as a player asks for what it needs next."""
        pieces = range(start // PIECE_BYTES, (stop - 1) // PIECE_BYTES + 1)
        for piece in pieces:
            self.handle.set_piece_deadline(piece, 0, lt.deadline_flags_t.alert_when_available)
        found: dict[int, bytes] = {}
        deadline = time.monotonic() + WAIT_S
        while len(found) < len(pieces):
            if time.monotonic() > deadline:
                raise TimeoutError(f"pieces {pieces} did not come within {WAIT_S:.0f} s")
            self._session.wait_for_alert(1000)
            for alert in self._session.pop_alerts():
                if isinstance(alert, lt.read_piece_alert) and alert.piece in pieces:
                    found[alert.piece] = alert.buffer
        data = b"".join(found[piece] for piece in pieces)
        return data[start - pieces.start * PIECE_BYTES :][: stop - start]

    def read_all(self) -> None:
        """Return when every piece was verified, in the order of the file as far as it can choose."""
        self.handle.set_flags(lt.torrent_flags.sequential_download)
        self.handle.prioritize_pieces([4] * self.n_pieces)
        self._wait_until(lambda: self.handle.status().is_finished, "end of the download")


def magnet(torrent_path: Path, folder: Path, offset: int) -> dict[str, object]:
    """Read the first byte as who has nothing but a link."""
    link, download = lt.make_magnet_uri(lt.torrent_info(str(torrent_path))), Download()
    wait_for_start()
    start = time.perf_counter()
    download.follow(link, folder)
    assert len(download.read(offset, offset + 1)) == 1
    return {"seconds": [time.perf_counter() - start], "n_bytes": 1}


def first(torrent_path: Path, folder: Path, offset: int) -> dict[str, object]:
    download = Download()
    download.connect(torrent_path, folder)
    wait_for_start()
    start = time.perf_counter()
    assert len(download.read(offset, offset + 1)) == 1
    return {"seconds": [time.perf_counter() - start], "n_bytes": 1}


def whole(torrent_path: Path, folder: Path) -> dict[str, object]:
    download = Download()
    download.connect(torrent_path, folder)
    wait_for_start()
    start = time.perf_counter()
    download.read_all()
    return {"seconds": [time.perf_counter() - start], "n_bytes": download.size_bytes}


def random(torrent_path: Path, folder: Path, seed_: int, n_reads: int, n_bytes: int) -> dict[str, object]:
    download = Download()
    download.connect(torrent_path, folder)
    offsets = np.random.default_rng(seed_).integers(0, download.size_bytes - n_bytes, n_reads).tolist()
    wait_for_start()
    seconds = []
    for offset in offsets:
        start = time.perf_counter()
        assert len(download.read(offset, offset + n_bytes)) == n_bytes
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "n_bytes": n_reads * n_bytes}


_HOW: dict[str, Callable[..., dict[str, object]]] = {"magnet": magnet, "first": first, "whole": whole, "random": random}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("how", choices=["seed", *_HOW])
    parser.add_argument("paths", type=Path, nargs=2)
    parser.add_argument("numbers", type=int, nargs="*")
    options = parser.parse_args()
    if options.how == "seed":
        seed(*options.paths)
    else:
        print(json.dumps(_HOW[options.how](*options.paths, *options.numbers)), flush=True)
        sys.stdin.readline()  # the bench has its numbers; a session's own end takes seconds


if __name__ == "__main__":
    main()
