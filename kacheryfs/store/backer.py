"""What a ``StoredFile`` has open on disk, and every change of it: found, made, promoted, left, removed."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from ..core.model import BLOCK_BYTES, Binding, Layout
from .backing import Backing
from .folder import LOCK_TIMEOUT_S, StoreFolder, lock_name
from .index import Index, Row
from .partial import find_partial, is_removed, make_partial, remove_partial
from .promotion import demote, find_complete, find_own_complete, is_at, promote


class Backer:
    """The current backing of one binding.

    Who reads takes ``backing`` once and stays with it; those that were replaced are closed with the file.
    """

    def __init__(self, folder: StoreFolder, index: Index, binding: Binding, layout: Layout) -> None:
        self._folder = folder
        self._index = index
        self._binding = binding
        self._layout = layout
        self._lock = threading.Lock()  # Invariant: whoever replaces ``backing`` holds it
        self.backing = Backing.nothing(layout)
        self._retired: list[Backing] = []
        self._is_attached = False
        self._shuns_complete = False  # the complete file isn't what this binding's manifest says

    def attach(self) -> None:
        """Open what is on disk, once."""
        with self._lock, self._folder.trouble.reported():
            if not self._is_attached:
                self._is_attached = True
                self._replace(self._find_locked())

    def _find_locked(self) -> Backing | None:
        if self._binding.manifest is not None and self._folder.is_writable:
            try:
                with self._hold():
                    return self._find(is_held=True)
            except OSError:  # read-only or gone since: read what can be read; the next put tries to write again
                self._folder.is_writable = False
        return self._find() or self._find()  # a promotion may have come between its two looks

    def _find(self, *, is_held: bool = False) -> Backing | None:
        """Open the complete file first: another process may have promoted the partial one at any time before.

        ``is_held``: the locks of the file are.
        """
        if not self._shuns_complete:
            complete = self._find_complete(is_held)
            if complete is not None:
                return complete
        return None if self._binding.manifest is None else find_partial(self._folder, self._binding, self._layout)

    def _find_complete(self, is_held: bool) -> Backing | None:
        if is_held and self._binding.manifest is not None and self.was_proven():
            return find_own_complete(self._folder, self._binding, self._layout)
        return find_complete(self._folder, self._binding.sha1, self._layout)

    def was_proven(self) -> bool:
        """Return whether the last file of this SHA-1 that was proven, was so with this binding's manifest.

        That holds for the complete file, if there is one. Where there is none, parts of it were evicted, or spoilt.
        """
        proven = self._index.find_proven(self._binding.sha1)
        return proven is not None and proven.binding == self._binding

    def make_writable(self) -> Backing:
        """Return a backing that takes blocks, or has them all; OSError where neither can be."""
        backing = self.backing
        if backing.is_writable and not (backing.is_cut() or self._is_removed(backing)):
            return backing
        if backing.is_complete:
            if backing.is_full():
                return backing
            self.leave_complete(backing)
        with self._changing():
            if self.backing is backing or not self.backing.is_writable:
                self._replace(self._find(is_held=True) or make_partial(self._folder, self._binding, self._layout))
            return self.backing

    def is_on_disk(self) -> bool:
        """Return whether a data file is open that wasn't removed."""
        backing = self.backing
        return backing.fd >= 0 and not self._is_removed(backing)

    def _is_removed(self, backing: Backing) -> bool:
        return is_removed(self._folder, self._binding, backing.fd)

    def leave_complete(self, backing: Backing) -> None:
        """Stop using a complete file that isn't what the manifest says.

        The disk spoilt it, then it is partial again; or some of it was evicted, then it is so already; or the manifest
        is another's, then it stays where it is.
        """
        with self._changing():
            if self.backing is not backing or backing.is_full():
                return
            if is_at(self._folder, self._binding.sha1, backing.fd):
                if self.was_proven():
                    demote(self._folder, self._index, self._binding, backing)
                else:
                    self._shuns_complete = True
            self._go_on_with(backing, self._find(is_held=True))

    def _go_on_with(self, backing: Backing, found: Backing | None) -> None:
        """Leave ``backing`` for what was found, but not its descriptors where these are the same files.

        Else each eviction from an open file would leave some open until the file is closed.
        """
        if found is not None and found.is_writable and backing.has_open(found):
            found.close()
            self.backing = backing.as_partial()
            return
        if found is not None:
            found.inherit_checked(backing)
        self._replace(found)

    def write_complete(self, data: bytes | memoryview) -> Backing:
        """Write a whole file, just proven by its SHA-1, in one step."""
        with self._changing():
            place = self._folder.places.complete(self._binding.sha1)
            # The power may fail: one block is read and hashed at every first use, more of it is not.
            self._folder.write_object(place, data, is_synced=len(data) > BLOCK_BYTES)
            self._index.enter(Row(self._binding, self._layout, is_proven=True))
            self._replace(find_complete(self._folder, self._binding.sha1, self._layout))
            return self.backing

    def adopt_promoted(self) -> bool:
        """Take the file for proven where another process has promoted the one that is open here."""
        with self._lock:
            if not self.backing.is_complete and is_at(self._folder, self._binding.sha1, self.backing.fd):
                self.backing = self.backing.as_complete()
            return self.backing.is_complete

    def promote(self, backing: Backing) -> None:
        """Take the file for proven, and move it to its place; where that can't be it stays partial on disk."""
        if backing.fd >= 0:
            with self._folder.trouble.reported(), self._changing():
                promote(self._folder, self._index, self._binding, backing)
        with self._lock:
            if self.backing is backing:
                self.backing = backing.as_complete()

    def drop(self) -> None:
        """Remove presence and data, for every process that has them open."""
        with self._folder.trouble.reported(), self._changing():
            places, backing = self._folder.places, self.backing
            if backing.presence is not None and backing.presence.is_writable:
                backing.presence.clear_all()
            if is_at(self._folder, self._binding.sha1, backing.fd):
                os.unlink(places.complete(self._binding.sha1))
            if self._binding.manifest is not None:
                remove_partial(places.partial(self._binding))
            self._index.forget(self._binding)
        with self._lock:
            self._replace(None)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let one process at a time prove this file; the others wait, and find it proven."""
        with contextlib.ExitStack() as stack:
            if self._folder.is_writable:
                with self._folder.trouble.reported():
                    stack.enter_context(self._folder.locks.hold(lock_name(self._binding) + " prove"))
            yield

    def _replace(self, backing: Backing | None) -> None:
        self._retired.append(self.backing)
        self.backing = Backing.nothing(self._layout) if backing is None else backing

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold what it takes to change what is on disk; the folder is made again if somebody removed it."""
        with self._lock:
            self._folder.make_ready()
            with self._hold():
                yield

    def _hold(self) -> contextlib.AbstractContextManager[None]:
        return self._folder.hold_file(self._binding, timeout_s=LOCK_TIMEOUT_S)

    def close(self) -> None:
        with self._lock:
            for backing in (*self._retired, self.backing):
                backing.close()
            self._retired.clear()
            self.backing = Backing.nothing(self._layout)
