"""Questions that several ask at once are asked once: a hundred lookups of one name cost the peers one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import trio

from ..errors import CancelledError, KacheryError
from .tasks import Tasks

T = TypeVar("T")


class _Question(Generic[T]):
    def __init__(self) -> None:
        self.done = trio.Event()
        self.scope = trio.CancelScope()
        self.n_askers = 0
        self.answers: list[T] = []
        self.error: KacheryError = CancelledError("the engine was closed, or has a fault (see the log)")

    def result(self) -> T:
        if self.answers:
            return self.answers[0]
        raise type(self.error)(*self.error.args) from self.error  # a fresh one for each asker


class OnceAsked(Generic[T]):
    """Asks in the engine's nursery; an asker that is cancelled takes the question along only if it was the last."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._questions: dict[Hashable, _Question[T]] = {}

    def __len__(self) -> int:
        return len(self._questions)

    async def get(self, name: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what ``ask`` returns, or what whoever asked for ``name`` a moment before gets."""
        question = self._questions.get(name)
        if question is None:
            question = self._questions[name] = _Question()
            self._tasks.start_soon(self._ask, name, question, ask)
        question.n_askers += 1
        try:
            await question.done.wait()
        finally:
            question.n_askers -= 1
            if not question.n_askers:
                self._forget(name, question)
                question.scope.cancel()
        return question.result()

    async def _ask(self, name: Hashable, question: _Question[T], ask: Callable[[], Awaitable[T]]) -> None:
        try:
            with question.scope:
                question.answers.append(await ask())
        except KacheryError as exc:
            question.error = exc
        finally:
            self._forget(name, question)
            question.done.set()

    def _forget(self, name: Hashable, question: _Question[T]) -> None:
        if self._questions.get(name) is question:
            del self._questions[name]
