"""``serve``: answers peers until it is told to stop, or, beside a mount, until that ends."""

from __future__ import annotations

import argparse
import logging
import os
import signal
from functools import partial
from typing import TYPE_CHECKING

import trio

from .. import app
from ..daemon import tell_service_manager
from ..serve.counters import Counters
from .configuration import settings_of
from .metrics import parse_metrics
from .readiness import telling
from .servers import RunningServer, announce
from .terminal import put, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config import Settings
    from ..core.quantities import Address
    from ..daemon import ReadyPipe

_STDIN = 0
_NICENESS = 5
"""Of a server beside a mount: where both want the processor, who reads here comes first."""


def serve(args: argparse.Namespace) -> int:
    with telling(args.ready_fd) as ready:
        metrics = parse_metrics(args.metrics)
        if args.beside is None:
            trio.run(_serve, settings_of(args), metrics)
        else:
            fds = [int(fd) for fd in args.listen_fds.split(",")]
            trio.run(_serve_beside, settings_of(args), args.beside, fds, metrics, ready)
    return 0


async def _serve(settings: Settings, metrics: Address | None) -> None:
    from ..serve import server

    counters = Counters()
    listeners = await server.open_listeners(settings.listen.host, settings.listen.port)
    running = RunningServer(server.url_of(listeners[0]), os.getpid(), str(settings.data_dir))
    # The handler stands before the URL is told: whoever reads it may stop us at once.
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(_answer, settings, listeners, running, counters)
            if metrics is not None:
                await _start_metrics(nursery, settings, metrics, counters)
            put(running.url)
            _say_more(running, settings)
            tell_service_manager()
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


async def _start_metrics(nursery: trio.Nursery, settings: Settings, address: Address, counters: Counters) -> None:
    from ..app.serving import read_cache
    from ..serve import server

    listeners = await server.open_listeners(address.host, address.port)
    await nursery.start(server.serve_metrics, counters, partial(read_cache, settings), listeners)
    say(f"metrics at {server.url_of(listeners[0])}/metrics")


async def _serve_beside(
    settings: Settings, mountpoint: str, fds: Sequence[int], metrics: Address | None, ready: ReadyPipe
) -> None:
    """Serve on sockets of the mount's until our stdin ends, which is when the mount does."""
    from ..serve import server

    os.nice(_NICENESS)
    if settings.sources["log_level"] == "default":  # its log is the mount's, which no peer shall fill
        logging.getLogger("kacheryfs.serve").setLevel(logging.WARNING)
    listeners = server.inherit_listeners(fds)
    running = RunningServer(server.url_of(listeners[0]), os.getpid(), str(settings.data_dir), mountpoint)
    counters = Counters()
    async with trio.open_nursery() as nursery:
        await nursery.start(_answer, settings, listeners, running, counters)
        if metrics is not None:
            await _start_metrics(nursery, settings, metrics, counters)
        ready.tell_ready()
        await trio.lowlevel.wait_readable(_STDIN)
        nursery.cancel_scope.cancel()


async def _answer(
    settings: Settings,
    listeners: Sequence[trio.SocketListener],
    running: RunningServer,
    counters: Counters,
    *,
    task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer peers, and be found by other commands, until cancelled."""
    from ..app.serving import make_access, serve_limits
    from ..serve import server

    try:
        app.make_runtime_folder(settings)
        source, peer_id, access = app.open_source(settings), app.our_peer_id(settings), make_access(settings)
        with announce(running, settings.runtime_dir):
            await server.serve(
                source,
                listeners,
                serve_limits(settings),
                peer_id=peer_id,
                access=access,
                counters=counters,
                task_status=task_status,
            )
    finally:
        for listener in listeners:
            listener.socket.close()


def _say_more(running: RunningServer, settings: Settings) -> None:
    say(f"serving what is shared from {settings.data_dir} and the blocks in {settings.store_dir}; Ctrl-C stops")
    if running.is_loopback:
        say("only this machine can reach it; --listen 0.0.0.0:PORT lets others in")
