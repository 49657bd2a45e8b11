"""Servers that know nothing of kacheryfs: the real nginx, as Debian packs it, and an S3 server (moto)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from system_labs import free_port, wait_until

CONFIG = """
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 64; }}
http {{
    access_log {folder}/access.log;
    default_type application/octet-stream;
    sendfile on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root};
    }}
}}
"""

S3_KEYS = {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def nginx(root: Path, folder: Path) -> Iterator[str]:
    """Serve ``root``; yields the URL. Its log is ``folder``/access.log."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        pytest.skip("nginx is not installed (apt-get install nginx-light)")
    port, config = free_port(), folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # its workers read a folder that is ours alone
    config.write_text(CONFIG.format(folder=folder, port=port, root=root, user=user))
    with _listening([program, "-c", str(config), "-p", str(folder), "-e", str(folder / "error.log")], port, folder):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """Run an S3 server without a bucket; yields its endpoint."""
    port = free_port()
    with _listening([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, folder):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _listening(argv: Sequence[str], port: int, folder: Path) -> Iterator[None]:
    with open(folder / "server.log", "ab") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(lambda: _is_listening(port), argv[0])
        yield
    finally:
        process.terminate()  # nginx's master ends its workers
        process.wait(30)


def _is_listening(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
