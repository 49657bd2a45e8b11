"""A server beside the mount: answers peers from the same store, in a process of its own.

A process, and not a task of the mount's event loop, since both want the interpreter: a peer that asks much would slow
the reader. It runs at a lower priority for the same reason. The listening sockets are made here and inherited, so
that a port in use is told before anything is mounted, and the URL stays when the server is started anew. It holds the
reading end of a pipe (its stdin) of which only the mount has the other: however the mount ends, the server sees it.
"""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import trio

from ..core.secret import Secret, parse_secrets
from ..daemon import HOME, MAX_WORD_BYTES, absolute_environment, command_of, read_word
from ..errors import ConfigError, KacheryError, StoreError
from ..serve.access import Access, Everybody, KnownSecret, OwnNetwork
from ..serve.limits import ServeLimits
from ..serve.server import open_listeners, url_of
from . import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from ..config import Settings
    from ..core.quantities import Address
    from ..store.cache import CacheStats

log = logging.getLogger(__name__)

_MAX_SECRETS_BYTES = 64 * 1024
_START_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 5.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0
_LONG_RUN_S = 60.0
"""Who has run so long is started anew without much ado."""


async def run_server(
    settings: Settings,
    mountpoint: str,
    metrics: Address | None = None,
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep a server running until cancelled; started, with its URL, once it answers.

    ListenError where it can't listen; BackgroundError with its own words, OSError or TooSlowError where it can't start.
    """
    listeners = await open_listeners(settings.listen.host, settings.listen.port)
    try:
        server = _Server(settings, mountpoint, [listener.socket.fileno() for listener in listeners], metrics)
        await server.keep_running(lambda: task_status.started(url_of(listeners[0])))
    finally:
        for listener in listeners:
            listener.socket.close()


def serve_limits(settings: Settings) -> ServeLimits:
    """Return the settings that bound what peers cost us."""
    return ServeLimits(
        max_connections=settings.max_connections,
        max_connections_per_address=-(-settings.max_connections // 2),
        upload_bytes_per_s=settings.upload_limit.bytes_per_s,
    )


def make_access(settings: Settings) -> Access:
    """Return whom we answer; ConfigError where that takes a secret, and there is none that only its owner reads."""
    match settings.access:
        case "local":
            return OwnNetwork()
        case "secret":
            return KnownSecret(_read_secrets(settings.secret_file))
    return Everybody()


def read_cache(settings: Settings) -> CacheStats | None:
    """Return what the cache takes and has given back, None where the store can't be read; blocking."""
    try:
        store = open_store(settings)
        try:
            return store.cache.stats()
        finally:
            store.close()
    except (StoreError, OSError):  # told by whoever reads or writes there
        return None


def _read_secrets(path: Path) -> list[Secret]:
    try:
        with path.open(encoding="ascii") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigError(f"{path} can be read by others, and is to be a secret: chmod 600 {path}")
            return parse_secrets(file.read(_MAX_SECRETS_BYTES))
    except OSError as exc:
        raise ConfigError(
            f"access is by secret, and {path} can't be read ({exc.strerror}); make it, for example by "
            f"(umask 077; openssl rand -hex 32 > {path}), and give it to those who may ask"
        ) from exc
    except ValueError as exc:
        raise ConfigError(f"{path} is not a file of secrets: {exc}") from exc


class _Server:
    """Runs the process, and runs it again."""

    def __init__(self, settings: Settings, mountpoint: str, listen_fds: Sequence[int], metrics: Address | None) -> None:
        self._arguments = ["serve", "--beside", mountpoint, "--listen-fds", ",".join(map(str, listen_fds))]
        self._arguments += [] if metrics is None else ["--metrics", str(metrics)]
        self._listen_fds = listen_fds
        self._environment = absolute_environment(os.environ | settings.flags_as_variables())
        self._environment.pop("NOTIFY_SOCKET", None)  # it is the mount that systemd waits for
        self._has_answered = False

    async def keep_running(self, on_first_answer: Callable[[], None]) -> None:
        """Run until cancelled; what goes wrong before the first answer is raised, later it is logged."""
        pause_s = _FIRST_PAUSE_S
        while True:
            started_at = trio.current_time()
            try:
                await self._run(on_first_answer)
            except (KacheryError, OSError, trio.TooSlowError) as exc:
                if not self._has_answered:
                    raise
                log.warning("the server can't be started: %s", exc)
            if trio.current_time() - started_at > _LONG_RUN_S:
                pause_s = _FIRST_PAUSE_S
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _run(self, on_first_answer: Callable[[], None]) -> None:
        """Run one process to its end; BackgroundError, OSError, TooSlowError where it doesn't come to answer peers."""
        read_fd, write_fd = os.pipe()
        async with trio.lowlevel.FdStream(read_fd) as word:
            try:
                process = await self._spawn(write_fd)
            finally:
                os.close(write_fd)
            try:
                with trio.fail_after(_START_TIMEOUT_S):
                    read_word(await _read_all(word), "the server ended before it could say why; the mount's log may")
                if not self._has_answered:
                    self._has_answered = True
                    on_first_answer()
                code = await process.wait()
                log.warning("the server, pid %d, ended with %d; another one is started", process.pid, code)
            finally:
                await _end(process)

    async def _spawn(self, ready_fd: int) -> trio.Process:
        return await trio.lowlevel.open_process(
            command_of([*self._arguments, "--ready-fd", str(ready_fd)]),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=(ready_fd, *self._listen_fds),
            start_new_session=True,  # Ctrl-C is the mount's
            cwd=HOME,
            env=self._environment,
        )


async def _read_all(stream: trio.lowlevel.FdStream) -> bytes:
    word = b""
    while len(word) < MAX_WORD_BYTES and (part := await stream.receive_some(MAX_WORD_BYTES)):
        word += part
    return word


async def _end(process: trio.Process) -> None:
    """End the process, cancelled or not: by the end of its stdin, else by force."""
    assert process.stdin is not None
    with trio.CancelScope(shield=True):
        await process.stdin.aclose()
        with trio.move_on_after(_END_TIMEOUT_S):
            await process.wait()
            return
        process.kill()
        await process.wait()
