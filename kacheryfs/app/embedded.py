"""Reading links inside a Python program, without a mount: an engine in a thread, a plain interface before it.

``get_fetcher`` returns the one ``Fetcher`` of this process and these settings. Its engine starts at the first use, in a
thread of its own (``embedded_thread``), so that it goes on fetching between two calls, and ends with the interpreter.
What is here already is read in the caller's thread (``embedded_open``). A forked child has no threads: there the engine
starts anew, and the files that were open are opened again (``embedded_file``).
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..config import Settings, load_settings
from ..core.link import FileLink, TreeLink, parse_link
from ..core.model import Sha1
from ..core.request import FileRequest, request_of
from ..core.tree import FileEntry, Tree
from ..errors import InputError, KacheryError, NotFoundError, ProofError
from .embedded_file import RemoteFile
from .embedded_many import Part, read_parts
from .embedded_open import open_request
from .embedded_thread import EngineThread

if TYPE_CHECKING:
    from ..fetch.engine import Engine
    from .embedded_open import Opened

__all__ = ["Fetcher", "Part", "RemoteFile", "get_fetcher", "request_of"]


class Fetcher:
    """Reads files and trees behind links; any thread may use it, inside a running event loop too.

    Every error is a ``KacheryError``. A wait for a peer ends at Ctrl-C, or after the setting ``read_timeout``. Peers
    are those of ``kacheryfs peer add``, also while it runs.
    """

    def __init__(self, settings: Settings) -> None:
        """Take ``get_fetcher`` instead: one engine is enough for a process."""
        self.settings = settings
        self._lock = threading.Lock()
        self._thread: EngineThread | None = None
        self._inherited: list[EngineThread] = []  # of parents: never touched, never collected

    def open_file(self, request: FileRequest) -> RemoteFile:
        """Open a file; NotFoundError, UnreachableError, ProofError, ClaimError, TrustRefusedError."""
        return RemoteFile(self, request)

    def open_link(self, link: str | FileLink | TreeLink) -> RemoteFile | Tree:
        """Open the file that a link names, or return the folder; a path inside a tree is followed."""
        found = self.find_link(link)
        return found if isinstance(found, Tree) else self.open_file(found)

    def find_link(self, link: str | FileLink | TreeLink) -> FileRequest | Tree:
        """Return what a link names, a file unopened; NotFoundError where a tree has nothing at its path."""
        parsed = parse_link(link) if isinstance(link, str) else link
        if isinstance(parsed, FileLink):
            return FileRequest(parsed.sha1, parsed.manifest)
        found = self.get_tree(parsed.sha1).find(parsed.path)
        if found is None:
            raise NotFoundError(f"{'/'.join(parsed.path)}: not in the folder sha1 {parsed.sha1.short}")
        return request_of(found) if isinstance(found, FileEntry) else found

    def get_tree(self, sha1: Sha1) -> Tree:
        """Return a folder, proven by its SHA-1."""
        thread = self._engine_thread()

        async def get(engine: Engine) -> Tree:
            await thread.follow_peers()
            return await engine.get_tree(sha1)

        return thread.ask(get)

    def read_small(self, request: FileRequest, max_bytes: int) -> bytes:
        """Return all of a file, proven by its SHA-1; InputError where it has more than ``max_bytes``."""
        with self.open_file(request) as file:
            if file.size_bytes > max_bytes:
                raise InputError(
                    f"sha1 {request.sha1.short}: it has {file.size_bytes} bytes, at most {max_bytes} are read here"
                )
            data = file.pread(0, file.size_bytes)
        if Sha1.of(data) != request.sha1:
            raise ProofError(f"sha1 {request.sha1.short}: the manifest that came with it is another file's")
        return data

    def read_parts(self, parts: Sequence[Part]) -> list[bytes | KacheryError]:
        """Return the bytes of parts of files, many at once; where one can't be had, its error is in its place."""
        thread = self._engine_thread()

        async def read(engine: Engine) -> list[bytes | KacheryError]:
            await thread.follow_peers()
            return await read_parts(engine, parts)

        return thread.ask(read)

    def close(self) -> None:
        """End the engine: reads that wait fail with CancelledError; the next use starts it again."""
        thread = self._thread
        if thread is not None:
            thread.stop()

    def open_request(self, request: FileRequest) -> Opened:
        """Open a file for a ``RemoteFile``."""
        return open_request(self._engine_thread(), request)

    def forget_parent(self) -> None:
        """Start anew in a forked child."""
        self._lock = threading.Lock()
        if self._thread is not None:
            self._inherited.append(self._thread)
            self._thread = None

    def _engine_thread(self) -> EngineThread:
        """Return the running engine, started where it isn't; one that could not be started is tried again."""
        with self._lock:
            if self._thread is None or not self._thread.is_usable:
                self._thread = EngineThread(self.settings)
                self._thread.start()
            return self._thread

    def __reduce__(self) -> tuple[object, ...]:
        return get_fetcher, (self.settings,)


_fetchers: dict[Settings, Fetcher] = {}


def get_fetcher(settings: Settings | None = None) -> Fetcher:
    """Return the fetcher of this process for these settings, by default those that the commands would use here.

    ConfigError where a setting is wrong. Whether the store can be used is seen at the first read.
    """
    settings = load_settings({}, os.environ) if settings is None else settings
    return _fetchers.setdefault(settings, Fetcher(settings))


def open_again(settings: Settings, request: FileRequest) -> RemoteFile:
    """Unpickle a ``RemoteFile``."""
    return get_fetcher(settings).open_file(request)


def _close_all() -> None:
    for fetcher in list(_fetchers.values()):
        fetcher.close()


def _forget_parent() -> None:
    for fetcher in list(_fetchers.values()):
        fetcher.forget_parent()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_parent)
