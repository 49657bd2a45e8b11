"""``serve``: answers peers until it is told to stop."""

from __future__ import annotations

import argparse
import os
import signal
from typing import TYPE_CHECKING

import trio

from .. import app
from .configuration import settings_of
from .servers import RunningServer, announce
from .terminal import put, say

if TYPE_CHECKING:
    from ..config import Settings


def serve(args: argparse.Namespace) -> int:
    trio.run(_serve, settings_of(args))
    return 0


async def _serve(settings: Settings) -> None:
    from ..serve import server

    app.make_runtime_folder(settings)
    source = app.open_source(settings)
    listeners = await server.open_listeners(settings.listen.host, settings.listen.port)
    running = RunningServer(server.url_of(listeners[0]), os.getpid(), str(settings.data_dir))
    # The handler stands before the URL is told: whoever reads it may stop us at once.
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals, announce(running, settings.runtime_dir):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve, source, listeners)
            put(running.url)
            _say_more(running, settings)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


def _say_more(running: RunningServer, settings: Settings) -> None:
    say(f"serving what is shared from {settings.data_dir} and the blocks in {settings.store_dir}; Ctrl-C stops")
    if running.is_loopback:
        say("only this machine can reach it; --listen 0.0.0.0:PORT lets others in")
