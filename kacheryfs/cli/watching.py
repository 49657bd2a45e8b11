"""``top``: the running mounts, live."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .configuration import settings_of
from .mounts import find_mounts
from .servers import find_servers
from .watching_numbers import Flow, flow_between

if TYPE_CHECKING:
    from ..config import Settings

Json = dict[str, Any]

MIN_INTERVAL_S = 0.1
PIPE_COLUMNS = 200
"""Where there is no terminal nothing is cut."""


def top(args: argparse.Namespace) -> int:
    interval_s = _parse_interval_s(args.interval)
    watch = _Watch(settings_of(args))
    with contextlib.suppress(KeyboardInterrupt):  # the other way to end it
        if args.json:
            _print_json(watch, interval_s, is_once=args.once)
        elif args.once or not _is_live():
            _print_text(watch, interval_s, is_once=args.once)
        else:
            _show_live(watch, interval_s)
    return 0


def _parse_interval_s(text: str) -> float:
    try:
        interval_s = float(text)
    except ValueError:
        interval_s = 0.0
    if not MIN_INTERVAL_S <= interval_s <= 3600:
        raise InputError(f"--interval {text}: give seconds from {MIN_INTERVAL_S:g} to 3600")
    return interval_s


def _is_live() -> bool:
    from rich.console import Console

    console = Console()
    return console.is_terminal and not console.is_dumb_terminal


@dataclass(frozen=True, slots=True)
class _Look:
    """The mounts as they were at one moment."""

    at: float
    mounts: list[Json]


class _Watch:
    """Looks at the mounts again and again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._before = self._look()

    def _look(self) -> _Look:
        return _Look(time.monotonic(), [mount.status for mount in find_mounts(self._settings, "watch")])

    def look(self) -> list[tuple[Json, Flow]]:
        """Return each mount with what happened since the last look; one that is new then is compared with itself."""
        before, now = self._before, self._look()
        known = {(mount["mountpoint"], mount["pid"]): mount for mount in before.mounts}
        self._before = now
        elapsed_s = max(now.at - before.at, 1e-3)
        return [
            (mount, flow_between(known.get((mount["mountpoint"], mount["pid"]), mount), mount, elapsed_s))
            for mount in now.mounts
        ]

    def servers(self) -> list[str]:
        return [server.url for server in find_servers(self._settings.runtime_dir)]


def _print_json(watch: _Watch, interval_s: float, *, is_once: bool) -> None:
    """Print a line of JSON each time."""
    for _ in _ticks(interval_s, is_once=is_once):
        mounts = [{**mount, "flow": flow.as_json()} for mount, flow in watch.look()]
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        print(json.dumps({"at": now, "mounts": mounts, "servers": watch.servers()}), flush=True)


def _print_text(watch: _Watch, interval_s: float, *, is_once: bool) -> None:
    from rich.console import Console

    from .watching_view import draw

    console = Console(highlight=False) if sys.stdout.isatty() else Console(width=PIPE_COLUMNS, highlight=False)
    for _ in _ticks(interval_s, is_once=is_once):
        console.print(draw(watch.look(), watch.servers(), hint=""))
        sys.stdout.flush()


def _ticks(interval_s: float, *, is_once: bool) -> Iterator[None]:
    """Come back after each interval; the first is waited for too: rates are of something."""
    while True:
        time.sleep(interval_s)
        yield
        if is_once:
            return


def _show_live(watch: _Watch, interval_s: float) -> None:
    from rich.live import Live

    from .watching_view import draw

    with Live(screen=True, auto_refresh=False) as live, _keys():
        while True:
            live.update(draw(watch.look(), watch.servers(), hint="q ends"), refresh=True)
            if _is_ended(interval_s):
                return


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Get each key as it is pressed, where a terminal is read."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _is_ended(interval_s: float) -> bool:
    """Wait for the next look; tell whether q was pressed meanwhile."""
    deadline = time.monotonic() + interval_s
    while (left_s := deadline - time.monotonic()) > 0:
        if not sys.stdin.isatty():
            time.sleep(left_s)
        elif select.select([sys.stdin], [], [], left_s)[0] and _is_q(os.read(sys.stdin.fileno(), 64)):
            return True
    return False


def _is_q(typed: bytes) -> bool:
    """Tell whether q was among the keys, or the terminal is gone."""
    return not typed or b"q" in typed.lower()
