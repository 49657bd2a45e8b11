"""Plain nginx over the static layout, curl, and the proxy in front of either."""

from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from urllib.parse import urlsplit

from .counters import Counters
from .processes import BenchError, first_line, module_argv, run, running, wait_until

DELAY_MS = 10.0
ROUND_TRIP_S = 2 * DELAY_MS / 1e3
RATE_BYTES_PER_S = 100e6

_NGINX = """
daemon off;
worker_processes 2;
{user}
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 1000000;
    default_type application/octet-stream;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root};
        autoindex on;
    }}
}}
"""
"""``autoindex`` is for rclone, which finds files by listing; two workers for the two cores of the usual machine."""


def need(program: str, package: str) -> str:
    """Return where a program is; BenchError names the package that brings it."""
    found = shutil.which(program)
    if not found:
        raise BenchError(f"{program} is not installed; apt-get install {package}")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def is_listening(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def nginx(root: Path, folder: Path) -> Iterator[str]:
    """Serve ``root``; yield the URL."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / "nginx.conf"
    # The workers stay who they are: a temporary folder is for its owner only.
    config.write_text(_NGINX.format(folder=folder, port=port, root=root, user="user root;"))
    argv = [need("nginx", "nginx-light"), "-c", str(config), "-p", str(folder), "-e", str(folder / "nginx-error.log")]
    with running(argv, folder / "nginx.log"):
        wait_until(lambda: is_listening(port), "nginx listening")
        yield f"http://127.0.0.1:{port}"


@dataclass(frozen=True, slots=True)
class Proxied:
    """A server behind the proxy."""

    url: str
    counters: Counters
    process: Popen[str]

    def set_rate(self, rate_bytes_per_s: float) -> None:
        self.counters.set("rate_bytes_per_s", int(rate_bytes_per_s))

    def lie(self) -> None:
        """Falsify every block that comes down from now on."""
        self.counters.set("is_lying", 1)

    def freeze(self) -> None:
        """Take connections and answer nothing, as a machine that hangs."""
        self.process.send_signal(signal.SIGSTOP)

    def die(self) -> None:
        """Break every connection and take no more."""
        self.process.kill()
        self.process.wait()


@contextmanager
def proxied(url: str, folder: Path, rate: float = RATE_BYTES_PER_S) -> Iterator[Proxied]:
    """Put the proxy before a server; yield its URL there and what is counted."""
    folder.mkdir(parents=True, exist_ok=True)
    target = urlsplit(url).netloc
    counters_path = folder / f"counters-{target.rsplit(':', 1)[1]}"
    counters_path.unlink(missing_ok=True)  # a port may come again, and a server before it may have lied
    counters = Counters(counters_path)
    counters.set("rate_bytes_per_s", int(rate))
    arguments = ["--target", target, "--counters", str(counters_path), "--delay-ms", str(DELAY_MS)]
    log = folder / "proxy.log"
    with running(module_argv("proxy", *arguments), log) as process:
        yield Proxied(f"http://127.0.0.1:{first_line(process, log)}", counters, process)


@dataclass(frozen=True, slots=True)
class Download:
    """What curl says of one download."""

    n_bytes: int
    seconds: float


def curl(url: str, span: str | None = None) -> Download:
    """Download to /dev/null; ``span`` is "first-last" as in a Range header."""
    argv = [need("curl", "curl"), "-sS", "--fail", "-o", "/dev/null", "-w", "%{size_download} %{time_total}"]
    size, seconds = run([*argv, *(["-r", span] if span else []), url]).split()
    return Download(int(size), float(seconds))
