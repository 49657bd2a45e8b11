"""Errors as fsspec's users expect them, each still a ``KacheryError``."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import InputError, NotFoundError


class MissingError(NotFoundError, FileNotFoundError):
    """There is no such file: a missing key, to zarr."""

    errno = errno.ENOENT


class IsFolderError(InputError, IsADirectoryError):
    """A folder was to be read like a file."""

    errno = errno.EISDIR


class IsFileError(InputError, NotADirectoryError):
    """A file was to be listed like a folder, or has something below it."""

    errno = errno.ENOTDIR


class ReadOnlyError(InputError, PermissionError):
    """Something was to be changed."""

    errno = errno.EROFS


@contextmanager
def missing_as_fsspec() -> Iterator[None]:
    """Turn what is not there into a FileNotFoundError, too."""
    try:
        yield
    except NotFoundError as exc:
        raise as_missing(exc) from exc.__cause__


def as_missing(error: NotFoundError) -> MissingError:
    """Return the error as a FileNotFoundError, too."""
    return error if isinstance(error, MissingError) else MissingError(str(error))
