"""The one tree of errors: each knows its errno, its exit code, whether trying again helps, and its log level."""

from __future__ import annotations

import errno
import logging


class KacheryError(Exception):
    """Base of every error that a user of kacheryfs can meet; the message is one line for people."""

    errno: int = errno.EIO
    exit_code: int = 1
    is_retryable: bool = False
    log_level: int = logging.WARNING


class InputError(KacheryError):
    """What the user typed, or a file that the user names, is not what the command needs."""

    errno = errno.EINVAL
    exit_code = 2
    log_level = logging.INFO


class LinkError(InputError):
    """A link or a path of the mount is not well formed."""

    errno = errno.ENOENT


class ConfigError(InputError):
    """A setting is unknown or has a value of the wrong kind."""


class NotFoundError(KacheryError):
    """Every peer answered, and none has it."""

    errno = errno.ENOENT
    exit_code = 3
    log_level = logging.INFO


class UnreachableError(KacheryError):
    """Nobody who answered has it, and some peer did not answer."""

    errno = errno.EHOSTUNREACH
    exit_code = 4
    is_retryable = True


class OfflineError(UnreachableError):
    """It is not here, and nobody is asked: ``offline`` is set."""

    log_level = logging.INFO


class TimedOutError(KacheryError):
    """No peer could serve a read within its deadline."""

    errno = errno.EIO
    exit_code = 4
    is_retryable = True


class CancelledError(KacheryError):
    """Somebody ended this waiting read on purpose."""

    errno = errno.EIO
    exit_code = 4
    log_level = logging.INFO


class ProofError(KacheryError):
    """Bytes, a manifest or a tree are not what their digest says."""

    errno = errno.EIO
    exit_code = 5


class ClaimError(ProofError):
    """Peers disagree about a file, or a claim about it was proven false."""


class TrustRefusedError(KacheryError):
    """The name carries no manifest, and ``--require-manifest`` refuses claims."""

    errno = errno.EACCES
    exit_code = 5


class PeerError(KacheryError):
    """One peer did not serve one request; another may."""

    is_retryable = True
    log_level = logging.DEBUG


class PeerUnreachableError(PeerError):
    """No connection, or it broke or fell silent."""


class PeerRefusedError(PeerError):
    """The peer answered that it will not or can not (404, 416, 5xx)."""


class PeerLacksError(PeerRefusedError):
    """The peer answered that it does not have this (404)."""


class PeerLackedGroupError(PeerError):
    """No provider could give a part of the manifest; the provider of the bytes is not to blame."""


class PeerLiedError(PeerError):
    """The peer sent what its protocol, or a digest, says it can't be."""

    log_level = logging.WARNING


class StoreError(KacheryError):
    """The store's folder can't be used."""

    exit_code = 6


class CatalogError(KacheryError):
    """The catalog can't be used, or does not hold what was asked."""

    exit_code = 6


class ChangedError(KacheryError):
    """A shared original is not the file that was hashed any more."""

    errno = errno.ESTALE
    exit_code = 7


class MountError(KacheryError):
    """The mount could not be made, reached or removed."""

    exit_code = 8


class ServiceError(KacheryError):
    """systemd is missing, or refused."""

    exit_code = 9


class ListenError(KacheryError):
    """Peers can't be answered at an address, now: a port is given back, a network comes up after us."""

    errno = errno.EADDRNOTAVAIL
    exit_code = 10
    is_retryable = True
