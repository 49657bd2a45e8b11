"""Runs one command, and turns whatever goes wrong into one line for people and an exit code for programs."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from ..errors import KacheryError
from .parser import parse

if TYPE_CHECKING:
    import argparse

INTERRUPTED = 130
PIPE_CLOSED = 141
"""As a shell reports a command that SIGPIPE ended."""

_log = logging.getLogger("kacheryfs")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` (else the process's arguments) names; returns its exit code."""
    verbosity = 0
    try:
        _prepare_streams()
        args = _parse(argv)
        verbosity = args.verbosity
        _set_up_logging(verbosity, in_file=args.ready_fd is not None)
        code = _find_command(args)(args)
        sys.stdout.flush()
        return code
    except SystemExit:  # argparse has said what there is to say
        raise
    except BaseException as exc:  # the outermost edge: every error ends as one line and a code
        code = report(exc, verbosity)
        _drop_unwritten()
        return code


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    try:
        return parse(argv)
    finally:
        sys.stdout.flush()  # a help text that can't be written is an error like any other


def _find_command(args: argparse.Namespace) -> Callable[[argparse.Namespace], int]:
    module, _, function = args.run.partition(":")
    return cast(
        "Callable[[argparse.Namespace], int]", getattr(importlib.import_module(f"{__package__}.{module}"), function)
    )


def _prepare_streams() -> None:
    """Let names that aren't UTF-8 pass through stdout as the bytes that they are."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="surrogateescape" if stream is sys.stdout else "backslashreplace")


def _set_up_logging(verbosity: int, *, in_file: bool) -> None:
    """Log to stderr; a background mount's stderr is its log file, and there each line has its time.

    The setting ``log_level`` comes on top, once the settings are known (``configuration.settings_of``).
    """
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)]
    line = "%(asctime)s %(levelname)s %(name)s: %(message)s" if in_file else "kacheryfs: %(message)s"
    logging.basicConfig(level=level, format=line, stream=sys.stderr)


def report(exc: BaseException, verbosity: int) -> int:
    """Say on stderr what went wrong, in one line; returns the exit code."""
    cause = sole_cause(exc)
    if isinstance(cause, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(cause, BrokenPipeError):
        _silence_stdout()
        return PIPE_CLOSED
    if isinstance(cause, KacheryError):
        _say(str(cause))
        _log.debug("where it came from", exc_info=exc)
        return cause.exit_code
    if isinstance(cause, OSError):
        _say(_words_of(cause))
        _log.debug("where it came from", exc_info=exc)
        return 1
    return _report_unexpected(exc, verbosity)


def sole_cause(exc: BaseException) -> BaseException:
    """Return what a person should hear of an exception group: an interrupt, else an error of ours, else the first."""
    members: Sequence[BaseException] = getattr(exc, "exceptions", ())
    if not members:
        return exc
    causes = [sole_cause(member) for member in members]
    for kind in (KeyboardInterrupt, KacheryError):
        for cause in causes:
            if isinstance(cause, kind):
                return cause
    return causes[0]


def _report_unexpected(exc: BaseException, verbosity: int) -> int:
    cause = sole_cause(exc)
    words = " ".join(str(cause).split())[:300]
    _say(f"an unexpected {type(cause).__name__}: {words}; a fault in kacheryfs: please report it with what -v adds")
    if verbosity or _log.isEnabledFor(logging.INFO):
        _log.error("traceback of the unexpected error", exc_info=exc)
    return 1


def _words_of(exc: OSError) -> str:
    reason = exc.strerror or str(exc)
    return f"{os.fsdecode(exc.filename)}: {reason}" if isinstance(exc.filename, (str, bytes)) else reason


def _say(line: str) -> None:
    print(f"kacheryfs: {' '.join(line.splitlines())}", file=sys.stderr)


def _drop_unwritten() -> None:
    """Drop what stdout did not take: the interpreter would try once more at its end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        _silence_stdout()


def _silence_stdout() -> None:
    """Give the interpreter's last flush somewhere to go, so that it doesn't complain about the closed pipe."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
