"""A trio engine in a thread of its own, asked from any other thread by calls that can be interrupted.

Invariants
----------
1. Whoever asks gets an answer: a call that the engine can't answer any more fails, whatever ended the engine.
2. An exception in the asker's thread (Ctrl-C, at any instruction) cancels the call. What the call has opened closes
   itself when nobody refers to it; it is made in the engine's thread, where no Ctrl-C comes in between.
3. No descriptor is closed under somebody who reads in a thread of their own (``reading``).
4. A forked child has this object, but not its thread: it is not ``is_usable`` there, and nothing of it is touched.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from ..errors import CancelledError, ConfigError, KacheryError
from . import make_peer, open_parts, open_peer_list
from .embedded_peers import KeptPeers
from .embedded_waits import WaitTeller

if TYPE_CHECKING:
    from ..config import Settings
    from ..fetch.engine import Engine
    from ..fetch.openfile import OpenFile

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 10.0
READS_TIMEOUT_S = 2.0
"""How long an engine that ends waits for reads in other threads; they wait for a local disk alone."""
READS_POLL_S = 0.005
WATCH_S = 1.0
"""How often the list of peers, and what is waited for, are looked at while somebody waits."""

T = TypeVar("T")


class _Call(Generic[T]):
    """One question to the engine; all but ``future`` belongs to the engine's thread."""

    def __init__(self, ask: Callable[[Engine], Awaitable[T]]) -> None:
        self.future: Future[T] = Future()
        self._ask = ask
        self._scope = trio.CancelScope()

    async def run(self, engine: Engine) -> None:
        try:
            with self._scope:
                answer = await self._ask(engine)
                if not self.future.done():  # abandoned
                    self.future.set_result(answer)
        except KacheryError as exc:
            self._tell(exc)
        except Exception as exc:  # an outer edge: a fault of ours must end neither the engine nor the asker's wait
            log.exception("a call of the embedded fetcher failed in a way that it should not")
            error = KacheryError(f"a fault of kacheryfs, please report it: {type(exc).__name__}: {exc}")
            error.__cause__ = exc
            self._tell(error)
        finally:
            self.fail()

    def abandon(self) -> None:
        """Forget the call: whoever asked is gone."""
        self._scope.cancel()
        self.fail()

    def fail(self) -> None:
        """End the wait of whoever asked, where it has no answer."""
        self._tell(_closed())

    def _tell(self, error: KacheryError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


def _closed() -> CancelledError:
    return CancelledError("the fetcher of this process was closed while something was read")


@dataclass(frozen=True, slots=True)
class _Up:
    """A running engine, and how its thread is reached."""

    token: trio.lowlevel.TrioToken
    nursery: trio.Nursery
    engine: Engine
    kept_peers: KeptPeers


class EngineThread:
    """One run of an engine: ``start`` it once; it is over for good after ``stop``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._calls: set[_Call[Any]] = set()  # Invariant: none is added once it is ending
        self._n_reading = 0
        self._is_up = False
        self._is_ending = False
        self._has_calls = trio.Event()
        self._stopping = trio.Event()
        self._starting: Future[_Up] = Future()
        self._thread = threading.Thread(target=self._run, name="kacheryfs engine", daemon=True)

    def start(self) -> None:
        """Start the engine and return when it can be asked; KacheryError where it can't be started."""
        try:
            self._thread.start()
            self._up = self._starting.result()
            self._is_up = True
        except BaseException:
            self._is_ending = True  # Ctrl-C: nobody waits for it any more
            if self._starting.done() and not self._starting.exception():
                self._up = self._starting.result()
                self.run_soon(self._stopping.set)
            raise

    @property
    def is_usable(self) -> bool:
        """Whether it runs, and in this very process."""
        return self._is_up and not self._is_ending and self._pid == os.getpid()

    def ask(self, ask: Callable[[Engine], Awaitable[T]]) -> T:
        """Run ``ask`` in the engine's thread and return its answer."""
        call = _Call(ask)
        call.future.add_done_callback(lambda _: self._calls.discard(call))
        try:
            self._enter(call)
            self.run_soon(lambda: self._spawn(call))
            return call.future.result()
        except KacheryError:
            raise
        except BaseException:
            self.run_soon(call.abandon)
            raise

    def _enter(self, call: _Call[Any]) -> None:
        with self._lock:
            if self._is_ending:
                raise _closed()
            self._calls.add(call)

    async def follow_peers(self) -> None:
        """Add and remove peers as the user's list says now, in the engine's thread; ConfigError."""
        await self._up.kept_peers.follow()

    def run_soon(self, act: Callable[[], object]) -> None:
        """Run ``act`` in the engine's thread without waiting for it, unless that is over, or the parent's."""
        if self._pid == os.getpid():
            with suppress(trio.RunFinishedError):
                self._up.token.run_sync_soon(_guarded, act)

    def hint(self, file: OpenFile, blocks: Collection[int]) -> None:
        """Have blocks fetched ahead of a reader, without waiting."""
        self.run_soon(lambda: self._up.engine.scheduler.hint(file, blocks))

    @property
    def readahead_bytes(self) -> int:
        return self._settings.readahead_bytes

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep the engine's files open for as long as this thread reads them."""
        with self._lock:
            if self._is_ending:
                raise _closed()
            self._n_reading += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_reading -= 1

    def stop(self) -> None:
        """End the engine and what waits for it; returns when everything is closed."""
        if self._is_up:
            self.run_soon(self._stopping.set)
            self._thread.join(STOP_TIMEOUT_S)

    # -- the engine's thread -----------------------------------------------------------------------------------------

    def _spawn(self, call: _Call[Any]) -> None:
        self._has_calls.set()
        try:
            self._up.nursery.start_soon(call.run, self._up.engine)
        except RuntimeError:  # the nursery is closed: it ends
            call.fail()

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as exc:  # an outer edge: whoever started it, or asks next, is told
            if not self._starting.done():
                self._starting.set_exception(_as_kachery_error(exc))
            else:
                log.exception("the embedded fetcher ends by a fault; the next read starts it anew")
        finally:
            with self._lock:
                self._is_ending = True
            for call in list(self._calls):
                call.fail()

    async def _main(self) -> None:
        # Cancelled at the end: a proof that is under way is not waited for. What is complete is proven at its next use.
        with trio.CancelScope() as whole:
            async with open_parts(self._settings) as parts, trio.open_nursery() as nursery:
                kept_peers = KeptPeers(
                    open_peer_list(self._settings), parts.engine.peers, partial(make_peer, self._settings)
                )
                nursery.start_soon(self._watch, kept_peers, WaitTeller(parts.engine))
                self._starting.set_result(_Up(trio.lowlevel.current_trio_token(), nursery, parts.engine, kept_peers))
                if not self._is_ending:
                    await self._stopping.wait()
                with self._lock:
                    self._is_ending = True
                nursery.cancel_scope.cancel()
                await self._let_reads_end(parts.engine)
                whole.cancel()

    async def _let_reads_end(self, engine: Engine) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + READS_TIMEOUT_S):
            while self._n_reading:  # noqa: ASYNC110 -- other threads count it down
                await trio.sleep(READS_POLL_S)
            return
        for file in engine.files:
            file.is_left_open = True

    async def _watch(self, kept_peers: KeptPeers, teller: WaitTeller) -> None:
        """While somebody waits, say for what, and follow the list of peers: one that is added now may have it."""
        while True:
            await self._has_calls.wait()
            await trio.sleep(WATCH_S)
            if not self._calls:
                self._has_calls = trio.Event()
                continue
            teller.tell()
            with suppress(ConfigError):  # said to whoever opens something next
                await kept_peers.follow()


def _guarded(act: Callable[[], object]) -> None:
    try:
        act()
    except Exception:  # an outer edge: it would end trio
        log.exception("the embedded fetcher failed in a way that it should not")


def _as_kachery_error(exc: BaseException) -> KacheryError:
    if isinstance(exc, KacheryError):
        return exc
    error = KacheryError(f"the embedded fetcher can't be started: {type(exc).__name__}: {exc}")
    error.__cause__ = exc
    return error
