"""A trio engine in a thread of its own, asked from any other thread by calls that can be interrupted."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from ..errors import CancelledError, KacheryError
from . import open_engine

if TYPE_CHECKING:
    from ..config import Settings
    from ..core.model import Sha1
    from ..core.request import FileRequest
    from ..core.tree import Tree
    from ..fetch.engine import Engine
    from ..fetch.located import Located, Reader

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 10.0

T = TypeVar("T")


class _Call(Generic[T]):
    """One question to the engine."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self.ask = ask
        self.scope = trio.CancelScope()
        self.future: Future[T] = Future()

    async def run(self) -> None:
        try:
            with self.scope:
                self.future.set_result(await self.ask())
        except KacheryError as exc:
            self.future.set_exception(exc)
        except Exception as exc:  # an outer edge: a fault of ours must end neither the engine nor the asker's wait
            log.exception("a read failed in a way that it should not")
            error = KacheryError(f"a fault of kacheryfs, please report it: {type(exc).__name__}: {exc}")
            error.__cause__ = exc
            self.future.set_exception(error)
        finally:
            self.fail()

    def fail(self) -> None:
        """End the wait of whoever asked, where it has no answer."""
        if not self.future.done():
            self.future.set_exception(CancelledError("the read was cancelled: its fetcher was closed"))


@dataclass(frozen=True, slots=True)
class _Up:
    """A running engine, and how its thread is reached."""

    token: trio.lowlevel.TrioToken
    nursery: trio.Nursery
    engine: Engine


class EngineThread:
    """One run of an engine; over for good after ``stop``."""

    def __init__(self, settings: Settings) -> None:
        """Start an engine and return when it can be asked; KacheryError where it can't be started."""
        self._settings = settings
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._calls: set[_Call[Any]] = set()  # Invariant: none is added once the run is over
        self._is_over = False
        self._starting: Future[_Up] = Future()
        self._stopping = trio.Event()
        self._thread = threading.Thread(target=self._run, name="kacheryfs engine", daemon=True)
        self._thread.start()
        self._up = self._starting.result()

    @property
    def is_usable(self) -> bool:
        return not self._is_over and self._pid == os.getpid()

    def locate(self, request: FileRequest) -> Located:
        return self.ask(lambda: self._up.engine.locate(request))

    def get_tree(self, sha1: Sha1) -> Tree:
        return self.ask(lambda: self._up.engine.get_tree(sha1))

    def read(self, reader: Reader, offset: int, n_bytes: int) -> bytes:
        async def read() -> bytes:
            return bytes(await reader.read(offset, n_bytes))

        return self.ask(read)

    def ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Run ``ask`` in the engine's thread and return its answer; an exception here (Ctrl-C) cancels it there."""
        call = _Call(ask)
        with self._lock:
            if self._is_over:
                raise CancelledError("the fetcher was closed")
            self._calls.add(call)
        call.future.add_done_callback(lambda _: self._calls.discard(call))
        self.run_soon(lambda: self._up.nursery.start_soon(call.run))
        try:
            return call.future.result()
        finally:
            if not call.future.done():
                self.run_soon(call.scope.cancel)

    def run_soon(self, act: Callable[[], object]) -> None:
        """Run ``act`` in the engine's thread, unless that is over."""
        with suppress(trio.RunFinishedError):
            self._up.token.run_sync_soon(act)

    def stop(self) -> None:
        self.run_soon(self._stopping.set)
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as exc:
            if self._starting.done():
                raise
            self._starting.set_exception(exc)
        finally:
            with self._lock:
                self._is_over = True
                calls = list(self._calls)
            for call in calls:
                call.fail()

    async def _main(self) -> None:
        async with open_engine(self._settings) as engine, trio.open_nursery() as nursery:
            self._starting.set_result(_Up(trio.lowlevel.current_trio_token(), nursery, engine))
            await self._stopping.wait()
            nursery.cancel_scope.cancel()
