"""Reading links inside a Python program, without a mount: an engine in a thread, a plain interface before it.

``get_fetcher`` returns the one ``Fetcher`` of this process and these settings. Its engine starts at the first use, in a
thread of its own (``embedded_thread``), so that it goes on fetching between two calls, and ends with the interpreter.
A forked child has no threads: there the engine starts anew, and the files that were open are opened again
(``embedded_file``).
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from ..config import load_settings
from ..core.link import FileLink, TreeLink, parse_link
from ..core.model import Sha1
from ..core.request import FileRequest
from ..core.tree import FileEntry, Tree
from ..errors import InputError, NotFoundError, ProofError
from .embedded_file import RemoteFile
from .embedded_thread import EngineThread

if TYPE_CHECKING:
    from ..config import Settings

__all__ = ["Fetcher", "RemoteFile", "get_fetcher"]


class Fetcher:
    """Reads files and trees behind links; any thread may use it, inside a running event loop too.

    Every error is a ``KacheryError``. A wait for a peer ends at Ctrl-C, or after the setting ``read_timeout``.
    """

    def __init__(self, settings: Settings) -> None:
        """Take ``get_fetcher`` instead: one engine is enough for a process."""
        self.settings = settings
        self._lock = threading.Lock()
        self._thread: EngineThread | None = None

    def open_file(self, request: FileRequest) -> RemoteFile:
        """Open a file by its digest; NotFoundError, UnreachableError, ProofError, …"""
        return RemoteFile(self.engine_thread, request)

    def open_link(self, link: str | FileLink | TreeLink) -> RemoteFile | Tree:
        """Open the file that a link names, or return the folder; a path inside a tree is followed."""
        parsed = parse_link(link) if isinstance(link, str) else link
        if isinstance(parsed, FileLink):
            return self.open_file(FileRequest(parsed.sha1, parsed.manifest))
        found = self.get_tree(parsed.sha1).find(parsed.path)
        if found is None:
            raise NotFoundError(f"{'/'.join(parsed.path)}: not in the folder sha1 {parsed.sha1.short}")
        return self.open_file(request_of(found)) if isinstance(found, FileEntry) else found

    def get_tree(self, sha1: Sha1) -> Tree:
        """Return a directory, proven by its SHA-1."""
        return self.engine_thread().get_tree(sha1)

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

    def close(self) -> None:
        """End the engine: reads that wait fail; the next use starts it again."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()

    def engine_thread(self) -> EngineThread:
        """Return the running engine, started where it isn't."""
        with self._lock:
            if self._thread is None or not self._thread.is_usable:
                self._thread = EngineThread(self.settings)
            return self._thread


def request_of(entry: FileEntry) -> FileRequest:
    """Return what to ask for a file of a tree."""
    return FileRequest(entry.sha1, entry.manifest, entry.size_bytes)


_fetchers: dict[Settings, Fetcher] = {}


def get_fetcher(settings: Settings | None = None) -> Fetcher:
    """Return the fetcher of this process for these settings, those of the environment where none are given."""
    settings = load_settings({}, os.environ) if settings is None else settings
    return _fetchers.setdefault(settings, Fetcher(settings))
