"""A fork waits for whoever uses SQLite, and leaves its locks free on both sides."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import pytest

from kacheryfs.store import forks
from kacheryfs.store.forks import guarded


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock])
def test_a_fork_waits_for_who_holds_a_guarded_lock(make: type) -> None:
    lock, held, go, order = guarded(make()), threading.Event(), threading.Event(), []

    def hold() -> None:
        with lock:
            held.set()
            go.wait()
            order.append("freed")

    def fork() -> None:
        forks._hold_all()
        order.append("forked")
        forks._release_all()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    forker = threading.Thread(target=fork)
    forker.start()
    go.set()
    for thread in (holder, forker):
        thread.join()
    assert order == ["freed", "forked"]
    with lock:
        pass


def test_the_locks_are_free_after_a_fork_in_parent_and_child() -> None:
    program = """
    import os, threading
    from kacheryfs.store.forks import guarded

    locks = [guarded(threading.Lock()), guarded(threading.RLock())]
    child = os.fork()
    assert all(lock.acquire(timeout=10) for lock in locks)
    guarded(threading.Lock())
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60, env={**os.environ})


def test_a_lock_that_is_gone_is_not_waited_for() -> None:
    guarded(threading.Lock()).acquire()
    forks._hold_all()
    forks._release_all()


def test_a_fork_does_not_wait_for_who_evicts_and_its_child_can_evict() -> None:
    program = """
    import os, sys, tempfile, threading
    from pathlib import Path
    from kacheryfs.store import evictor, forks
    from kacheryfs.store.blocks import Store

    looking, go, look = threading.Event(), threading.Event(), evictor.look

    def look_long(*arguments):
        looking.set()
        go.wait()
        return look(*arguments)

    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        evictor.look = look_long
        thread = threading.Thread(target=store.cache.evict)
        thread.start()
        looking.wait()
        forks.WAIT_S = 3600  # as long as this it would wait
        child = os.fork()
        if not child:
            evictor.look = look
            os._exit(store.cache.evict())
        go.set()
        assert os.waitpid(child, 0)[1] == 0
        thread.join()
        store.close()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60, env={**os.environ})
