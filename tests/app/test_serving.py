"""The server beside a mount: it answers, comes back, and ends with whoever started it, however that ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from kacheryfs.app.serving import run_server
from kacheryfs.cli.servers import RunningServer, find_servers
from kacheryfs.config import Settings, load_settings
from kacheryfs.core.quantities import Address
from kacheryfs.daemon import BackgroundError
from kacheryfs.errors import ListenError, PeerUnreachableError
from kacheryfs.peers.client import HttpPeer
from kacheryfs.peers.identity import keep_peer_id

BOUND_S = 60
"""Against hanging."""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("KACHERYFS_DIR", str(tmp_path))
    return load_settings({"listen": "127.0.0.1:0"}, os.environ)


def the_server(settings: Settings) -> RunningServer:
    (server,) = find_servers(settings.runtime_dir)
    return server


async def peer_id_of(url: str) -> bytes | None:
    peer = HttpPeer(url)
    try:
        await peer.connect()
        return peer.peer_id
    finally:
        await peer.aclose()


async def gone(pid: int) -> None:
    """Return when no process has this pid."""
    while await trio.Path(f"/proc/{pid}/stat").exists():
        await trio.sleep(0.01)


async def test_it_answers_with_our_id_until_it_is_cancelled(settings: Settings) -> None:
    with trio.fail_after(BOUND_S):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(run_server, settings, "/mnt")
            server = the_server(settings)
            assert (server.url, server.mountpoint) == (url, "/mnt")
            assert server.pid != os.getpid()
            assert await peer_id_of(url) == keep_peer_id(settings.data_dir)
            assert os.getpriority(os.PRIO_PROCESS, server.pid) > os.getpriority(os.PRIO_PROCESS, 0)
            nursery.cancel_scope.cancel()
        with pytest.raises(PeerUnreachableError):
            await peer_id_of(url)
        await gone(server.pid)
    assert find_servers(settings.runtime_dir) == []


async def test_it_counts_for_prometheus_where_it_is_told_to(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with trio.fail_after(BOUND_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(run_server, settings, "/mnt", Address("127.0.0.1", port))
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = b"".join([part async for part in stream])
            assert b"kacheryfs_connections" in answer
            nursery.cancel_scope.cancel()


@pytest.mark.expects_warnings
async def test_one_that_is_killed_is_replaced_at_the_same_url(settings: Settings) -> None:
    with trio.fail_after(BOUND_S):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(run_server, settings, "/mnt")
            first = the_server(settings)
            os.kill(first.pid, signal.SIGKILL)
            assert await peer_id_of(url) is not None  # waits in the socket's queue until the next one accepts
            assert the_server(settings).pid != first.pid
            nursery.cancel_scope.cancel()


async def test_a_stopped_one_ends_all_the_same(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kacheryfs.app.serving._END_TIMEOUT_S", 0.1)
    with trio.fail_after(BOUND_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(run_server, settings, "/mnt")
            pid = the_server(settings).pid
            os.kill(pid, signal.SIGSTOP)
            nursery.cancel_scope.cancel()
        await gone(pid)


async def test_a_port_in_use_is_told_before_anything_runs(settings: Settings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        taken_settings = load_settings({"listen": f"127.0.0.1:{port}"}, os.environ)
        with pytest.RaisesGroup(pytest.RaisesExc(ListenError, match="in use")):
            async with trio.open_nursery() as nursery:
                await nursery.start(run_server, taken_settings, "/mnt")
    assert not settings.runtime_dir.exists()


async def test_one_that_cannot_start_says_why_in_its_own_words(settings: Settings) -> None:
    settings.data_dir.parent.mkdir(parents=True, exist_ok=True)
    settings.data_dir.write_text("not a folder")
    with pytest.RaisesGroup(pytest.RaisesExc(BackgroundError, match="data")):
        async with trio.open_nursery() as nursery:
            await nursery.start(run_server, settings, "/mnt")


async def test_flags_of_the_mount_hold_for_it(settings: Settings, tmp_path: Path) -> None:
    store = tmp_path / "another store"
    flagged = load_settings({"listen": "127.0.0.1:0", "store_dir": str(store)}, os.environ)
    with trio.fail_after(BOUND_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(run_server, flagged, "/mnt")
            nursery.cancel_scope.cancel()
    assert store.is_dir()
    assert not settings.store_dir.exists()


MOUNT = """
import os, sys, trio
from kacheryfs.app.serving import run_server
from kacheryfs.config import load_settings

async def main():
    async with trio.open_nursery() as nursery:
        print(await nursery.start(run_server, load_settings({"listen": "127.0.0.1:0"}, os.environ), "/mnt"), flush=True)

trio.run(main)
"""


async def test_it_ends_when_the_mount_is_killed(settings: Settings) -> None:
    with trio.fail_after(BOUND_S):
        mount = await trio.lowlevel.open_process([sys.executable, "-c", MOUNT], stdout=subprocess.PIPE)
        try:
            assert mount.stdout is not None
            url = await mount.stdout.receive_some()
            server = the_server(settings)
            assert server.url == url.decode().strip()
        finally:
            mount.kill()
            await mount.wait()
        await gone(server.pid)
