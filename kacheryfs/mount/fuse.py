"""pyfuse3 ⇄ Vfs: errno at the edge, nothing else.

Whatever but a FUSEError leaves a handler kills the mount, so that every handler is wrapped by ``answered``. A read's
reply may be a buffer that is reused: pyfuse3 writes it without an await after the handler returns.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec, TypeVar

import pyfuse3
import trio

from ..core.names import MAX_NAME_BYTES
from ..errors import KacheryError
from . import xattrs
from .attributes import FIXED_TIME_NS, PREFERRED_READ_BYTES, Absent, Attributes
from .handshake import improve_reply
from .refusals import ReadOnlyRefusal
from .turnstile import EagerTrio
from .vfs import Vfs

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_XATTR_PREFIX = os.fsencode(xattrs.PREFIX)

MIN_TASKS = 16
MAX_TASKS = 10_000
"""A task for each request that waits; pyfuse3's 99 would freeze the mount with the 99th waiting read."""


def answered(handler: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Turn whatever a handler raises into an errno for the kernel; log it, once."""

    @functools.wraps(handler)
    async def answer(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await handler(*args, **kwargs)
        except KacheryError as exc:
            log.log(exc.log_level, "%s: %s", handler.__name__, exc)
            raise pyfuse3.FUSEError(exc.errno) from exc
        except (
            trio.Cancelled
        ):  # the mount ends: whoever waits is answered first, and pyfuse3's loop then ends by itself
            raise pyfuse3.FUSEError(errno.EIO) from None
        except Exception as exc:  # an outer edge: a fault in one request must not end the mount
            log.exception("%s failed", handler.__name__)
            raise pyfuse3.FUSEError(errno.EIO) from exc

    return answer


class Adapter(pyfuse3.Operations):
    """The kernel's requests, each brought to the Vfs."""

    supports_dot_lookup = False

    def __init__(self, vfs: Vfs) -> None:
        super().__init__()
        self._vfs = vfs
        self._uid = os.getuid()
        self._gid = os.getgid()

    # names and attributes

    @answered
    async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        found = await self._vfs.lookup(parent_inode, name)
        return _absent(found) if isinstance(found, Absent) else self._fill(self._blank(), found)

    @answered
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self._fill(self._blank(), self._vfs.get_attributes(inode))

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for inode, n_lookups in inode_list:
            self._vfs.forget(inode, n_lookups)

    def _blank(self) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_nlink = 1  # for directories too, as btrfs does: find(1) then counts no subdirectories by it
        entry.st_uid, entry.st_gid = self._uid, self._gid
        entry.st_blksize = PREFERRED_READ_BYTES
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = FIXED_TIME_NS
        return entry

    def _fill(self, entry: pyfuse3.EntryAttributes, attributes: Attributes) -> pyfuse3.EntryAttributes:
        entry.st_ino = attributes.inode
        entry.st_mode = attributes.mode
        entry.st_size = attributes.size_bytes
        entry.st_blocks = attributes.n_sectors
        entry.entry_timeout = entry.attr_timeout = attributes.ttl_s
        return entry

    # directories

    @answered
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        return await self._vfs.open_directory(inode)

    @answered
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        entry = self._blank()  # one for all: readdir_reply copies it
        for listed in self._vfs.entries(fh, start_id):
            inode = listed.attributes.inode
            if not pyfuse3.readdir_reply(token, listed.name, self._fill(entry, listed.attributes), listed.next_index):
                self._vfs.forget(inode, 0)
                return
            self._vfs.count_listed(inode)

    @answered
    async def releasedir(self, fh: int) -> None:
        self._vfs.close_directory(fh)

    @answered
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """Answer as a file system without space of its own, which df leaves out and no monitor finds full."""
        stats = pyfuse3.StatvfsData()
        stats.f_bsize = PREFERRED_READ_BYTES
        stats.f_frsize = 4096
        stats.f_namemax = MAX_NAME_BYTES
        return stats

    # files

    @answered
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        opened = await self._vfs.open(inode)
        return pyfuse3.FileInfo(fh=opened.handle, keep_cache=opened.keep_cache)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        # Not through ``answered``: each coroutine between the kernel and the bytes costs 2 % of a sequential read.
        try:
            found: Any = self._vfs.read_now(fh, off, size)
        except Exception:  # an outer edge: ``_read`` meets it again, and gives it its errno
            found = None
        return await self._read(fh, off, size) if found is None else found  # any buffer will do, the stub knows bytes

    @answered
    async def _read(self, fh: int, off: int, size: int) -> bytes:
        data: Any = await self._vfs.read(fh, off, size)
        return data  # type: ignore[no-any-return]

    @answered
    async def release(self, fh: int) -> None:
        self._vfs.close(fh)

    # extended attributes

    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        # "ls -l" asks for an ACL and a security context of every file; told "not supported", it stops after the first.
        # Measured for 10,000 entries: 0.3 s instead of 1.1 s.
        if not name.startswith(b"user."):
            raise pyfuse3.FUSEError(errno.ENOTSUP)
        if not name.startswith(_XATTR_PREFIX):
            raise pyfuse3.FUSEError(errno.ENODATA)
        return await self._get_xattr(inode, os.fsdecode(name))

    @answered
    async def _get_xattr(self, inode: int, name: str) -> bytes:
        return await self._vfs.get_xattr(inode, name)

    @answered
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        return [os.fsencode(name) for name in self._vfs.list_xattrs(inode)]


async def _refuse(*args: object) -> Any:
    raise ReadOnlyRefusal("files of a network of copies can't be changed")


_WRITERS = "setattr mknod mkdir unlink rmdir symlink rename link create write setxattr removexattr"
for _name in _WRITERS.split():
    setattr(Adapter, _name, answered(_refuse))


def _absent(absent: Absent) -> pyfuse3.EntryAttributes:
    """Return the answer "no such name" that the kernel may keep; a raised ENOENT it would ask again at once."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = 0
    entry.entry_timeout = absent.ttl_s
    return entry


INIT_BUFFER_BYTES = 64 * 1024
"""The kernel refuses reads into less than 8 KiB; its first request has about 100 bytes."""


class _LeftReaders(logging.Filter):
    """Keeps pyfuse3 from calling it an error that who waited for an answer was killed meanwhile."""

    def filter(self, record: logging.LogRecord) -> bool:
        return os.strerror(errno.ENOENT) not in record.getMessage()


class Link:
    """The way to the kernel: libfuse at one end, /dev/fuse at the other, made in two steps.

    libfuse first talks to a socket, across which its reply to the kernel's first request is improved (``handshake``).
    Then the device takes the socket's place under the same number, and they talk to each other without us.
    """

    def __init__(self, adapter: Adapter, device: int) -> None:
        """Take over ``device``: it is closed when the link is."""
        logging.getLogger("pyfuse3").addFilter(_LeftReaders())
        self._device = device
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._libfuse_fd = theirs.detach()  # libfuse closes it
        pyfuse3.init(adapter, f"/dev/fd/{self._libfuse_fd}", set())

    async def shake_hands(self) -> None:
        """Agree with the kernel; then requests can be served."""
        await trio.lowlevel.wait_readable(self._device)
        request = os.read(self._device, INIT_BUFFER_BYTES)
        reply = await self._ask_libfuse(request)
        os.write(self._device, improve_reply(request, reply))
        os.dup2(self._device, self._libfuse_fd, inheritable=False)

    async def _ask_libfuse(self, request: bytes) -> bytes:
        with trio.socket.from_stdlib_socket(self._ours) as ours:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pyfuse3.main)
                await ours.send(request)
                reply = await ours.recv(INIT_BUFFER_BYTES)
                nursery.cancel_scope.cancel()
        return reply

    async def serve(self) -> None:
        """Answer the kernel until the file system is unmounted or ``stop_reading`` is called."""
        pyfuse3.trio = EagerTrio()  # type: ignore[attr-defined]
        await pyfuse3.main(min_tasks=MIN_TASKS, max_tasks=MAX_TASKS)

    def close(self) -> None:
        """Let go of the kernel: whoever comes to the mountpoint from now on meets ENOTCONN."""
        os.close(self._device)
        self._ours.close()
        pyfuse3.close(unmount=False)


def stop_reading() -> None:
    """Take no more requests; ``serve`` returns when those at hand are answered."""
    pyfuse3.terminate()


def drop_pages(inode: int) -> None:
    """Make the kernel drop what it keeps of a file; blocks until its reads are answered: never in the event loop."""
    try:
        pyfuse3.invalidate_inode(inode)
    except FileNotFoundError:
        log.debug("inode %d: the kernel knew it no more", inode)
