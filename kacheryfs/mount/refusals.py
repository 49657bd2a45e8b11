"""What the kernel is told where nothing failed: the asker wanted what isn't there, or isn't allowed."""

from __future__ import annotations

import errno
import logging

from ..errors import KacheryError


class Refusal(KacheryError):
    """Base of the answers that belong to ordinary use: nobody needs to read of them in a log."""

    log_level = logging.DEBUG


class StaleRefusal(Refusal):
    """This inode stands for nothing that can be opened any more; Linux looks the name up again and retries."""

    errno = errno.ESTALE


class NotDirectoryRefusal(Refusal):
    """A file was entered."""

    errno = errno.ENOTDIR


class DirectoryRefusal(Refusal):
    """A directory was opened as a file."""

    errno = errno.EISDIR


class BadHandleRefusal(Refusal):
    """No such handle is open."""

    errno = errno.EBADF


class NoAttributeRefusal(Refusal):
    """The node has no extended attribute of this name."""

    errno = errno.ENODATA


class ReadOnlyRefusal(Refusal):
    """Somebody tried to write."""

    errno = errno.EROFS
